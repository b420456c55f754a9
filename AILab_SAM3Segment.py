"""The node "SAM3 Segmentation V3": find what a text names, return cut-out and mask per frame.

Node id, input names, their order and defaults are a contract with saved workflows: new inputs go
last and are optional.
"""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor

from .nodes import host, loading
from .sam3.errors import InputError
from .sam3.pipeline.colors import ALLOWED_FORMS, RGBA, parse_color
from .sam3.pipeline.compose import compose_alpha, compose_color
from .sam3.pipeline.frames import check_images, clean_rgb, to_pil
from .sam3.pipeline.mask_edit import edit_mask
from .sam3.pipeline.phrases import prepare_phrases
from .sam3.pipeline.segment import FrameResult, segment_frame

log = logging.getLogger(__name__)

BACKGROUNDS = ("Alpha", "Color")

TOOLTIPS = {
    "image": "Pictures to segment, one or a batch. Grey and RGBA are taken too; alpha is dropped.",
    "prompt": (
        "What to find, in English. Separate several things by commas or lines; they are found one "
        'by one and united. At most 32 tokens (about 20 words) each. Left empty it means "object".'
    ),
    "sam3_model": (
        "sam3 and sam3.1 are downloaded on first use unless the file is in models/sam3 or "
        "models/checkpoints. sam3-tiny comes with the pack: simple coloured shapes, for trying out."
    ),
    "device": "Auto uses the device ComfyUI works on. GPU is an error where there is none.",
    "confidence_threshold": "Objects scoring lower are left out. A lower value finds more.",
    "mask_blur": "Softens the mask's edge: standard deviation in pixels. After the offset.",
    "mask_offset": "Grows (positive) or shrinks (negative) the mask by this many pixels.",
    "invert_output": "Select everything but the objects. After offset and blur.",
    "unload_model": "Free the model's memory after the run. The next run loads it again.",
    "background": "Alpha: cut-out with transparency (RGBA). Color: on a background colour (RGB).",
    "background_color": f"Used when background is Color. {ALLOWED_FORMS}.",
}


class SAM3SegmentV3:
    """Segment pictures by text with SAM 3."""

    CATEGORY = "🧪AILab/🧽RMBG"
    FUNCTION = "segment"
    RETURN_TYPES = ("IMAGE", "MASK", "IMAGE")
    RETURN_NAMES = ("IMAGE", "MASK", "MASK_IMAGE")
    OUTPUT_TOOLTIPS = (
        "The objects, cut out (RGBA) or on the background colour (RGB).",
        "The mask, 1 on the objects; one per frame.",
        "The mask as a picture.",
    )
    DESCRIPTION = "Finds everything a text names and returns it as mask and cut-out."
    SEARCH_ALIASES = ("sam3", "segment anything", "text mask", "remove background")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """The inputs, in the order saved workflows rely on."""
        pixels = {"min": 0, "max": 64, "step": 1}
        confidence = {"default": 0.5, "min": 0.05, "max": 0.95, "step": 0.01}
        required: dict[str, tuple[Any, dict[str, Any]]] = {
            "image": ("IMAGE", {}),
            "prompt": ("STRING", {"default": "", "multiline": True}),
            "sam3_model": (loading.model_choices(), {"default": "sam3"}),
            "device": (list(host.DEVICE_CHOICES), {"default": "Auto"}),
            "confidence_threshold": ("FLOAT", confidence),
        }
        optional: dict[str, tuple[Any, dict[str, Any]]] = {
            "mask_blur": ("INT", {"default": 0, **pixels}),
            "mask_offset": ("INT", {"default": 0, **pixels, "min": -64}),
            "invert_output": ("BOOLEAN", {"default": False}),
            "unload_model": ("BOOLEAN", {"default": False}),
            "background": (list(BACKGROUNDS), {"default": "Alpha"}),
            "background_color": ("COLORCODE", {"default": "#222222"}),
        }
        for name, (_, options) in (required | optional).items():
            options["tooltip"] = TOOLTIPS[name]
        return {"required": required, "optional": optional}

    @classmethod
    def VALIDATE_INPUTS(cls, sam3_model: str | None = None) -> bool | str:
        """Refuse an unknown model before the run; a linked name (None) is checked in the run."""
        if sam3_model is None:
            return True
        return loading.check_model_name(sam3_model) or True

    def segment(
        self,
        image: Tensor,
        prompt: str,
        sam3_model: str,
        device: str,
        confidence_threshold: float,
        mask_blur: int = 0,
        mask_offset: int = 0,
        invert_output: bool = False,
        unload_model: bool = False,
        background: str = "Alpha",
        background_color: str = "#222222",
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Segment every frame.

        Args:
            image: ``[B, H, W, C]`` float, C = 1, 3 or 4; B may be 0.
            prompt, sam3_model, ...: see ``TOOLTIPS``.

        Returns:
            IMAGE ``[B, H, W, 4]`` (Alpha) or ``[B, H, W, 3]`` (Color), MASK ``[B, H, W]`` in 0..1
            and MASK_IMAGE ``[B, H, W, 3]``, on ComfyUI's intermediate device.

        Raises:
            Sam3Error: bad input, missing device, unusable or unreachable weights.
        """
        check_images(image)
        color = _background(background, background_color)
        edits = (mask_offset, mask_blur, invert_output)
        if image.shape[0] == 0:
            log.warning("SAM3: the image batch is empty, so the results are empty too.")
            return _segment_batch(None, image, [], color, edits)
        shared = loading.shared_model(sam3_model, device)
        try:
            phrases = prepare_phrases(prompt, shared.tokenizer)
            processor = loading.make_processor(shared, confidence_threshold)
            return _segment_batch(processor, image, phrases, color, edits)
        finally:
            if unload_model:
                loading.release(shared)


def _background(background: str, background_color: str) -> RGBA | None:
    """The colour behind the objects, or None for transparency."""
    if background not in BACKGROUNDS:
        raise InputError(f"Unknown background {background!r}. Allowed: {', '.join(BACKGROUNDS)}.")
    return parse_color(background_color) if background == "Color" else None


def _segment_batch(
    processor: Any,
    images: Tensor,
    phrases: list[str],
    color: RGBA | None,
    edits: tuple[int, int, bool],
) -> tuple[Tensor, Tensor, Tensor]:
    """Segment frame by frame into the three outputs; row i always belongs to frame i."""
    count, height, width = images.shape[:3]
    target = host.intermediate_device()
    masks = torch.zeros(count, height, width, device=target)
    pictures = torch.zeros(count, height, width, 4 if color is None else 3, device=target)
    bar = host.progress_bar(count)
    for index in range(count):
        host.stop_if_cancelled()
        result = segment_frame(processor, to_pil(images[index]), phrases)
        if not len(result.scores):
            _tell_nothing_found(index, count, phrases, result, processor.confidence_threshold)
        mask = edit_mask(result.mask.to(target), *edits)
        kept = clean_rgb(images[index].to(target))
        masks[index] = mask
        pictures[index] = (
            compose_alpha(kept, mask) if color is None else compose_color(kept, mask, color)
        )
        bar.update(1)
    return pictures, masks, masks.unsqueeze(-1).repeat(1, 1, 1, 3)


def _tell_nothing_found(
    index: int, count: int, phrases: list[str], result: FrameResult, threshold: float
) -> None:
    """Tell "nothing found" from "broken" in the log."""
    log.warning(
        'SAM3: nothing found for "%s" in frame %d of %d. The best candidate ("%s") scored %.2f, '
        "below the confidence_threshold of %.2f; lower it or use other words.",
        ", ".join(phrases),
        index + 1,
        count,
        result.best_phrase,
        result.best_score,
        threshold,
    )


NODE_CLASS_MAPPINGS = {"SAM3SegmentV3": SAM3SegmentV3}
NODE_DISPLAY_NAME_MAPPINGS = {"SAM3SegmentV3": "SAM3 Segmentation V3"}
