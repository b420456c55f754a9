"""Prompts on one picture, driven by a state dict: the front door of the image model.

    processor = Sam3Processor(model)
    state = processor.set_image(picture)
    state = processor.set_text_prompt("red circle", state)
    state["masks"], state["boxes"], state["scores"]

The picture is encoded once per ``set_image``; every prompt re-runs only the grounding part. The
processor holds no picture: states can be used side by side, from several threads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import PIL.Image
import torch
from torch import Tensor

from ..errors import InputError
from .data_misc import FindStage
from .frames import preprocess, to_uint8_rgb
from .grounding_results import LAZY_KEYS, LOW_RES, MASK_THRESHOLD, Sam3State, select, store
from .sam3_image import Sam3Image

State = dict[str, Any]
VISUAL_TEXT = "visual"
"""Caption that stands for "what the boxes and points show" when there is no phrase."""

_TEXT_KEYS = ("language_features", "language_mask", "language_embeds")
_RESULT_KEYS = ("scores", "boxes", "best_score", LOW_RES, *LAZY_KEYS, "grounding_outputs")


class Sam3Processor:
    """Text, box, point and mask prompts against pictures, on a :class:`Sam3Image`.

    resolution: side the picture is resized to, by default the model's. device: where pictures go,
    by default wherever the model is at the time. confidence_threshold: results need a higher
    joint score, in [0, 1].
    """

    def __init__(
        self,
        model: Sam3Image,
        resolution: int | None = None,
        device: torch.device | str | None = None,
        confidence_threshold: float = 0.5,
    ) -> None:
        self.model = model
        size = 1008 if model.config is None else model.config.vision.img_size
        self.resolution = size if resolution is None else resolution
        self._device = None if device is None else torch.device(device)
        self.confidence_threshold = _checked_threshold(confidence_threshold)

    @property
    def device(self) -> torch.device:
        """Where pictures and prompts are put."""
        return self.model.device if self._device is None else self._device

    # ---- pictures ---------------------------------------------------------------------------

    @torch.inference_mode()
    def set_image(self, image: Any, state: State | None = None) -> State:
        """Encode a picture: PIL image, [C, H, W] tensor, [H, W, C] array (uint8, or float in 0..1).

        Writes ``original_height``, ``original_width``, ``backbone_out`` into ``state`` (a new one
        by default) and returns it. Results of a former picture are dropped; prompts in the state
        stay and are used by the next prompt call (``reset_all_prompts`` removes them).
        """
        pixels = to_uint8_rgb(image)
        state = Sam3State() if state is None else state
        old = state.get("backbone_out", {})
        self._drop_results(state)
        for key in ("original_heights", "original_widths"):
            state.pop(key, None)
        state["original_height"], state["original_width"] = pixels.shape[-2:]
        state["backbone_out"] = self._encode([pixels]) | {k: old[k] for k in _TEXT_KEYS if k in old}
        return state

    @torch.inference_mode()
    def set_image_batch(self, images: Sequence[Any], state: State | None = None) -> State:
        """Encode several pictures at once, for batched interactive prediction.

        Writes ``original_heights``, ``original_widths`` and a batched ``backbone_out``. Text and
        box prompts need a single picture (``set_image``).
        """
        if isinstance(images, (PIL.Image.Image, Tensor)) or not len(images):
            raise InputError("set_image_batch needs a non-empty list of pictures")
        pixels = [to_uint8_rgb(image) for image in images]
        state = Sam3State() if state is None else state
        self._drop_results(state)
        for key in ("original_height", "original_width", "geometric_prompt"):
            state.pop(key, None)
        state["original_heights"] = [p.shape[-2] for p in pixels]
        state["original_widths"] = [p.shape[-1] for p in pixels]
        state["backbone_out"] = self._encode(pixels)
        return state

    def _encode(self, pixels: list[Tensor]) -> State:
        batch = preprocess(pixels, self.resolution, self.device, self.model.dtype)
        return self.model.encode_image(batch)

    # ---- prompts ----------------------------------------------------------------------------

    @torch.inference_mode()
    def set_text_prompt(self, prompt: str, state: State) -> State:
        """Find every instance of the phrase ``prompt``; replaces an earlier phrase, keeps boxes."""
        self._need_image(state)
        if not isinstance(prompt, str):
            raise InputError(f"a text prompt must be a string, got {type(prompt).__name__}")
        state["backbone_out"].update(self._encode_text([prompt]))
        return self._forward_grounding(state)

    @torch.inference_mode()
    def add_geometric_prompt(
        self, box: Sequence[float], label: bool, state: State, *, run: bool = True
    ) -> State:
        """Add a box as an example (``label`` True) or counter-example of what to find.

        box: [cx, cy, w, h], fractions of the picture's width and height. Without a phrase the
        boxes alone say what to find. ``run`` False only collects the box for the next prompt call.
        """
        values = _numbers(box, 4, "a box is [cx, cy, w, h] in fractions of the picture")
        if values[2] < 0 or values[3] < 0:
            raise InputError(f"a box needs a width and height of at least 0, got {list(box)}")
        prompt = self._prompt_of(state)
        prompt.append_boxes(self._tensor(values), self._label(label))
        return self._forward_grounding(state) if run else state

    @torch.inference_mode()
    def add_point_prompt(
        self, point: Sequence[float], label: bool, state: State, *, run: bool = True
    ) -> State:
        """Add a point [x, y] (fractions of the picture) on what to find, or on what not to.

        ``run`` False only collects the point for the next prompt call.
        """
        values = _numbers(point, 2, "a point is [x, y] in fractions of the picture")
        if not all(0 <= v <= 1 for v in values):
            raise InputError(f"point {list(point)} lies outside the picture; allowed is 0 to 1")
        if not self.model.supports_points:
            raise InputError(
                "this checkpoint has no weights for point prompts (Hugging Face layout);"
                " use a box, or the original sam3.pt"
            )
        prompt = self._prompt_of(state)
        prompt.append_points(self._tensor(values), self._label(label))
        return self._forward_grounding(state) if run else state

    @torch.inference_mode()
    def add_mask_prompt(self, mask: Any, label: bool, state: State) -> State:
        """Add a mask [H, W] (array or tensor, > 0.5 is inside) as an example or counter-example.

        The released detector has no mask encoder: the mask's bounding box is the prompt.
        """
        self._need_image(state)
        inside = torch.as_tensor(mask)
        size = (state["original_height"], state["original_width"])
        if tuple(inside.shape) != size:
            raise InputError(
                f"a mask prompt must have the picture's size {size}, got {tuple(inside.shape)}"
            )
        inside = inside > MASK_THRESHOLD if inside.dtype != torch.bool else inside
        rows, cols = inside.any(1).nonzero().flatten(), inside.any(0).nonzero().flatten()
        if not len(rows):
            raise InputError("the mask prompt is empty: mark at least one pixel")
        y0, y1 = rows[0].item() / size[0], (rows[-1].item() + 1) / size[0]
        x0, x1 = cols[0].item() / size[1], (cols[-1].item() + 1) / size[1]
        return self.add_geometric_prompt(
            [(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0], label, state
        )

    @torch.inference_mode()
    def segment_phrases(self, phrases: Sequence[str], state: State) -> list[State]:
        """Find several phrases on the picture of ``state`` in one pass, each on its own.

        Geometric prompts of the state apply to every phrase. ``state`` is not changed. Returns per
        phrase a state-like dict: ``phrase``, ``masks``, ``masks_logits``, ``boxes``, ``scores``
        and ``best_score`` (the highest joint score, kept or not).
        """
        self._need_image(state)
        if isinstance(phrases, str) or not len(phrases):
            raise InputError("segment_phrases needs a non-empty list of phrases")
        features = state["backbone_out"] | self._encode_text(phrases)
        outputs = self._ground(features, state.get("geometric_prompt"), len(phrases))
        size = (state["original_height"], state["original_width"])
        results: list[State] = []
        for i, phrase in enumerate(phrases):
            result = Sam3State(phrase=phrase, original_height=size[0], original_width=size[1])
            store(result, select(outputs, i, size, self.confidence_threshold))
            results.append(result)
        return results

    def reset_all_prompts(self, state: State) -> None:
        """Remove phrase, boxes, points and results; the encoded picture stays."""
        for key in _TEXT_KEYS:
            state.get("backbone_out", {}).pop(key, None)
        state.pop("geometric_prompt", None)
        self._drop_results(state)

    @torch.inference_mode()
    def set_confidence_threshold(
        self, threshold: float, state: State | None = None
    ) -> State | None:
        """Change the threshold; results in ``state`` are filtered anew, the model does not run."""
        self.confidence_threshold = _checked_threshold(threshold)
        if state is not None and "grounding_outputs" in state:
            self._store_results(state)
        return state

    # ---- grounding --------------------------------------------------------------------------

    def _forward_grounding(self, state: State) -> State:
        """Run the detector on the prompts of ``state`` and store what passes the threshold."""
        if "language_features" not in state["backbone_out"]:
            state["backbone_out"].update(self._encode_text([VISUAL_TEXT]))
        prompt = state.setdefault("geometric_prompt", self.model._get_dummy_prompt())
        outputs = self._ground(state["backbone_out"], prompt, 1)
        state["grounding_outputs"] = {
            k: outputs[k]
            for k in ("pred_logits", "presence_logit_dec", "pred_boxes", "pred_masks")
            if k in outputs
        }
        self._store_results(state)
        return state

    def _store_results(self, state: State) -> None:
        size = (state["original_height"], state["original_width"])
        store(state, select(state["grounding_outputs"], 0, size, self.confidence_threshold))

    def _ground(self, features: State, prompt: Any, n: int) -> State:
        """Detector outputs of n captions on image 0; ``prompt`` (one entry or None) is shared."""
        ids = torch.arange(n, device=self.device)
        stage = FindStage.for_texts(img_ids=torch.zeros_like(ids), text_ids=ids)
        if prompt is None:
            prompt = self.model._get_dummy_prompt(n)
        elif n > 1:
            prompt = prompt.repeat(n)
        return self.model.forward_grounding(features, stage, None, prompt)

    def _encode_text(self, phrases: Sequence[str]) -> State:
        return self.model.backbone.forward_text(list(phrases), device=self.device)

    def _prompt_of(self, state: State) -> Any:
        self._need_image(state)
        return state.setdefault("geometric_prompt", self.model._get_dummy_prompt())

    def _tensor(self, values: list[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=self.device).view(1, 1, -1)

    def _label(self, label: bool) -> Tensor:
        return torch.tensor([[bool(label)]], device=self.device)

    @staticmethod
    def _drop_results(state: State) -> None:
        for key in _RESULT_KEYS:
            dict.pop(state, key, None)

    @staticmethod
    def _need_image(state: State) -> None:
        if "backbone_out" not in state:
            raise InputError("no picture yet: call set_image before giving prompts")
        if "original_height" not in state:
            raise InputError(
                "this state holds a batch of pictures: use set_image for prompts on one"
            )


def _checked_threshold(value: float) -> float:
    if not 0 <= value <= 1:
        raise InputError(f"confidence_threshold must lie in 0 to 1, got {value}")
    return float(value)


def _numbers(values: Sequence[float], n: int, what: str) -> list[float]:
    try:
        numbers = [float(v) for v in values]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) != n or not all(math.isfinite(v) for v in numbers):
        raise InputError(f"{what}: {n} finite numbers, got {values!r}")
    return numbers
