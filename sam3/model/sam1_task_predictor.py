"""Points, boxes and masks on pictures: the interactive predictor of Segment Anything.

    predictor.set_image(picture)
    masks, ious, low_res = predictor.predict(point_coords=[[120, 80]], point_labels=[1])
    masks, ious, low_res = predictor.predict(..., mask_input=low_res[ious.argmax()][None])

:class:`EncodedImages` holds what is known of the pictures; the predictor keeps the last ones it was
given, and :meth:`SAM3InteractiveImagePredictor.predict_on` works on any, from several threads.
Segment Anything (https://arxiv.org/abs/2304.02643), SAM 2 (https://arxiv.org/abs/2408.00714).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL.Image
import torch
from torch import Tensor, nn

from ..errors import InputError, SessionError
from .prompts.interactive import InteractivePrompt, check_prompt
from .utils.sam1_utils import InteractiveTransforms, read_picture

LOGIT_LIMIT = 32.0  # of the low-resolution masks that are handed out

Prediction = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class EncodedImages:
    """Features of B pictures, as the mask decoder takes them.

    image_embed: [B, C, h, w], with the "no memory" embedding added. high_res_feats: the finer
    levels, finest first, through ``conv_s0`` / ``conv_s1``. orig_hw: (height, width) of each
    picture. is_batch: given as a batch, so that prompts come as lists.
    """

    image_embed: Tensor
    high_res_feats: tuple[Tensor, ...]
    orig_hw: tuple[tuple[int, int], ...]
    is_batch: bool = False

    def pick(self, index: int) -> EncodedImages:
        """The picture ``index`` alone."""
        one = slice(index, index + 1)
        levels = tuple(level[one] for level in self.high_res_feats)
        return EncodedImages(self.image_embed[one], levels, self.orig_hw[one])


class SAM3InteractiveImagePredictor(nn.Module):
    """Masks for points, boxes and earlier masks, with the SAM heads of a tracker (``model``).

    mask_threshold: a mask is where logits are greater. max_hole_area, max_sprinkle_area: holes and
    specks up to so many low-resolution pixels are removed from masks; 0 leaves them.
    """

    def __init__(
        self,
        sam_model: nn.Module,
        mask_threshold: float = 0.0,
        max_hole_area: float = 256.0,
        max_sprinkle_area: float = 0.0,
    ) -> None:
        super().__init__()
        self.model = sam_model
        self._transforms = InteractiveTransforms(
            sam_model.image_size, mask_threshold, max_hole_area, max_sprinkle_area
        )
        self._images: EncodedImages | None = None

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.model.sam_prompt_encoder.no_mask_embed.weight.device

    @property
    def mask_threshold(self) -> float:
        """A mask is where logits are greater than this."""
        return self._transforms.mask_threshold

    # ---- pictures ---------------------------------------------------------------------------

    @torch.inference_mode()
    def set_image(self, image: np.ndarray | PIL.Image.Image) -> None:
        """Encode one picture, a PIL image or an RGB array [H, W, 3] (uint8, or float in 0..1).

        Replaces pictures set before. UnsupportedInputError for another type, InputError for an
        unusable picture: then the former pictures stay.
        """
        self._images = self._encode([image], is_batch=False)

    @torch.inference_mode()
    def set_image_batch(self, image_list: Sequence[np.ndarray | PIL.Image.Image]) -> None:
        """Encode several pictures of any sizes at once, for :meth:`predict_batch`."""
        if isinstance(image_list, (np.ndarray, PIL.Image.Image)) or not len(image_list):
            raise InputError("set_image_batch needs a non-empty list of pictures")
        self._images = self._encode(image_list, is_batch=True)

    def _encode(self, images: Sequence[Any], is_batch: bool) -> EncodedImages:
        if getattr(self.model, "backbone", None) is None:
            raise SessionError(
                "this predictor has no image encoder of its own: encode the picture with"
                " Sam3Processor.set_image and call predict_inst of the image model"
            )
        pictures = [read_picture(image) for image in images]
        pixels = [self._transforms.normalize_pixels(p.to(self.device)) for p in pictures]
        sizes = [(p.shape[-2], p.shape[-1]) for p in pictures]
        out = self.model.forward_image(torch.stack(pixels))
        return self.encoded_images(out, sizes, is_batch)

    def encoded_images(
        self,
        backbone_out: dict[str, Any],
        orig_hw: Sequence[tuple[int, int]],
        is_batch: bool = False,
    ) -> EncodedImages:
        """From the tracker neck's output, ``conv_s0`` / ``conv_s1`` applied, to what predict needs.

        backbone_out: ``backbone_fpn`` with three levels, finest first. orig_hw: (height, width) of
        the pictures.
        """
        dtype = self.model.no_mem_embed.dtype
        *fine, coarse = (level.to(dtype) for level in backbone_out["backbone_fpn"][-3:])
        embed = coarse + self.model.no_mem_embed.reshape(1, -1, 1, 1)
        return EncodedImages(
            embed, tuple(fine), tuple((int(h), int(w)) for h, w in orig_hw), is_batch
        )

    def get_image_embedding(self) -> Tensor:
        """Features of the pictures set last: [B, C, h, w]. SessionError without one."""
        return self._need_images().image_embed

    def reset_predictor(self) -> None:
        """Forget the pictures."""
        self._images = None

    @property
    def _features(self) -> dict[str, Any] | None:
        """``image_embed`` and ``high_res_feats`` of the pictures, None without one."""
        if self._images is None:
            return None
        return {
            "image_embed": self._images.image_embed,
            "high_res_feats": list(self._images.high_res_feats),
        }

    @property
    def _orig_hw(self) -> list[tuple[int, int]] | None:
        """(height, width) of the pictures, None without one."""
        return None if self._images is None else list(self._images.orig_hw)

    # ---- prompts ----------------------------------------------------------------------------

    def predict(
        self,
        point_coords: Any = None,
        point_labels: Any = None,
        box: Any = None,
        mask_input: Any = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        normalize_coords: bool = True,
    ) -> Prediction:
        """Masks for the prompts on the picture of :meth:`set_image`.

        point_coords: [P, 2] or [N, P, 2] (x, y); point_labels: [P] or [N, P], 1 foreground, 0
        background. box: [4] or [N, 4] (x0, y0, x1, y1). mask_input: [1, h, w] or [N, 1, h, w]
        logits, the third output of an earlier call. Coordinates are pixels of the picture, or with
        ``normalize_coords=False`` fractions of it. multimask_output: three masks for an ambiguous
        prompt, otherwise one. return_logits: masks as logits instead of 0 and 1.

        Returns float32 arrays: masks [M, H, W], predicted IoU [M], low-resolution logits [M, h, w]
        clamped to +-32 (not cleaned up); for N > 1 prompts with a leading axis N. M is 3 or 1.
        Raises SessionError before set_image or after set_image_batch, InputError for a bad prompt.
        """
        images = self._need_images()
        if images.is_batch:
            raise SessionError(
                "the pictures were set with set_image_batch: use predict_batch, or set_image"
            )
        return self.predict_on(
            images,
            point_coords,
            point_labels,
            box,
            mask_input,
            multimask_output=multimask_output,
            return_logits=return_logits,
            normalize_coords=normalize_coords,
        )

    def predict_batch(
        self,
        point_coords_batch: Sequence[Any] | None = None,
        point_labels_batch: Sequence[Any] | None = None,
        box_batch: Sequence[Any] | None = None,
        mask_input_batch: Sequence[Any] | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        normalize_coords: bool = True,
    ) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
        """As :meth:`predict` for every picture of :meth:`set_image_batch`: lists in, lists out."""
        return self.predict_batch_on(
            self._need_images(),
            point_coords_batch,
            point_labels_batch,
            box_batch,
            mask_input_batch,
            multimask_output=multimask_output,
            return_logits=return_logits,
            normalize_coords=normalize_coords,
        )

    def predict_batch_on(
        self,
        images: EncodedImages,
        point_coords_batch: Sequence[Any] | None = None,
        point_labels_batch: Sequence[Any] | None = None,
        box_batch: Sequence[Any] | None = None,
        mask_input_batch: Sequence[Any] | None = None,
        **options: bool,
    ) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
        """:meth:`predict_batch` on ``images`` instead of the pictures set last."""
        if not images.is_batch:
            raise SessionError("predict_batch needs pictures set with set_image_batch; use predict")
        count = len(images.orig_hw)
        columns = [
            _column(name, values, count)
            for name, values in (
                ("point_coords_batch", point_coords_batch),
                ("point_labels_batch", point_labels_batch),
                ("box_batch", box_batch),
                ("mask_input_batch", mask_input_batch),
            )
        ]
        results = [
            self.predict_on(images.pick(i), *(column[i] for column in columns), **options)
            for i in range(count)
        ]
        masks, ious, low_res = (list(column) for column in zip(*results, strict=True))
        return masks, ious, low_res

    @torch.inference_mode()
    def predict_on(
        self,
        images: EncodedImages,
        point_coords: Any = None,
        point_labels: Any = None,
        box: Any = None,
        mask_input: Any = None,
        *,
        multimask_output: bool = True,
        return_logits: bool = False,
        normalize_coords: bool = True,
    ) -> Prediction:
        """:meth:`predict` on ``images`` (one picture) instead of the picture set last."""
        height, width = images.orig_hw[0]
        prompt = check_prompt(
            point_coords,
            point_labels,
            box,
            mask_input,
            extent=(width, height) if normalize_coords else (1.0, 1.0),
            mask_size=self.model.sam_prompt_encoder.mask_input_size,
        )
        low_res, ious = self._decode(images, prompt, multimask_output, normalize_coords)
        masks = self._transforms.postprocess_masks(low_res, (height, width))
        if not return_logits:
            masks = (masks > self.mask_threshold).float()
        low_res = low_res.clamp(-LOGIT_LIMIT, LOGIT_LIMIT)
        found = (masks, ious, low_res)
        masks_, ious_, low_res_ = (t.squeeze(0).cpu().numpy() for t in found)
        return masks_, ious_, low_res_

    def _decode(
        self, images: EncodedImages, prompt: InteractivePrompt, multimask: bool, normalize: bool
    ) -> tuple[Tensor, Tensor]:
        """Mask logits [N, M, h, w] and IoU [N, M], float32."""
        points = None
        if prompt.points is not None and prompt.labels is not None:
            coords = self._transforms.transform_coords(prompt.points, normalize, images.orig_hw[0])
            points = (coords.to(self.device), prompt.labels.to(self.device))
        masks = None if prompt.masks is None else prompt.masks.to(self.device)
        encoder = self.model.sam_prompt_encoder
        sparse, dense = encoder(points=points, boxes=None, masks=masks)
        low_res, ious, _, _ = self.model.sam_mask_decoder(
            image_embeddings=images.image_embed,
            image_pe=encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=multimask,
            repeat_image=True,  # N prompts on one picture
            high_res_features=images.high_res_feats,
        )
        return low_res.float(), ious.float()

    def _need_images(self) -> EncodedImages:
        if self._images is None:
            raise SessionError("no picture yet: call set_image (or set_image_batch) first")
        return self._images


def _column(name: str, values: Sequence[Any] | None, count: int) -> Sequence[Any]:
    if values is None:
        return [None] * count
    if len(values) != count:
        raise InputError(
            f"{name} has {len(values)} entries for {count} pictures; give one per picture, None"
            " where there is none"
        )
    return values
