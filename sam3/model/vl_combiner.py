"""Vision and language backbones side by side, returning one dict of features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..layers.basic import check_fixed

BackboneOut = dict[str, Any]


class SAM3VLBackbone(nn.Module):
    """``vision_backbone`` (neck with trunk) and ``language_backbone`` (or None).

    ``scalp`` drops that many of the coarsest pyramid levels after they are computed.
    """

    def __init__(
        self,
        visual: nn.Module,
        text: nn.Module | None,
        scalp: int = 0,
        **fixed: Any,
    ) -> None:
        super().__init__()
        check_fixed(
            "SAM3VLBackbone",
            fixed,
            {
                "compile_visual": False,
                "act_ckpt_whole_vision_backbone": False,
                "act_ckpt_whole_language_backbone": False,
            },
        )
        self.vision_backbone = visual
        self.language_backbone = text
        self.scalp = scalp

    def forward(
        self,
        samples: Tensor,
        captions: Sequence[str],
        input_boxes: Tensor | None = None,
        additional_text: Sequence[str] | None = None,
    ) -> BackboneOut:
        """Image and text outputs merged; see :meth:`forward_image` and :meth:`forward_text`."""
        out = self.forward_image(samples)
        return out | self.forward_text(captions, input_boxes, additional_text)

    def forward_image(self, samples: Tensor) -> BackboneOut:
        """Pictures [B, 3, S, S] -> ``backbone_fpn`` and ``vision_pos_enc`` (lists, finest first),
        ``vision_features`` (the coarsest kept) and ``sam2_backbone_out`` (the same three of the
        second pyramid, or None)."""
        features, positions, features2, positions2 = self.vision_backbone(samples)
        out = self._kept(features, positions)
        out["sam2_backbone_out"] = None if features2 is None else self._kept(features2, positions2)
        return out

    def _kept(self, features: list[Tensor], positions: list[Tensor]) -> BackboneOut:
        keep = len(features) - self.scalp
        return {
            "vision_features": features[keep - 1],
            "vision_pos_enc": positions[:keep],
            "backbone_fpn": features[:keep],
        }

    def forward_text(
        self,
        captions: Sequence[str],
        input_boxes: Tensor | None = None,
        additional_text: Sequence[str] | None = None,
        device: torch.device | str | None = None,
    ) -> BackboneOut:
        """n captions -> ``language_features`` [L, n, C], ``language_mask`` [n, L] (True = padding),
        ``language_embeds`` [L, n, W]. ``additional_text`` is encoded in the same call and returned
        as ``additional_text_features`` / ``additional_text_mask``."""
        if self.language_backbone is None:
            raise RuntimeError("this backbone was built without a language model")
        texts = list(captions) + list(additional_text or ())
        mask, features, embeds = self.language_backbone(texts, input_boxes, device=device)
        n = len(captions)
        out: BackboneOut = {
            "language_features": features[:, :n],
            "language_mask": mask[:n],
            "language_embeds": embeds[:, :n],
        }
        if additional_text is not None:
            out["additional_text_features"] = features[:, n:]
            out["additional_text_mask"] = mask[n:]
        return out
