"""The image model stage by stage: what each stage gives, and each stage alone as a call to time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sam3.model.data_misc import FindStage
from sam3.model.grounding_results import joint_scores

from .common import Action

BOX = (0.45, 0.55, 0.4, 0.3)
"""One box, normalised cxcywh, so that the geometry encoder takes part in the comparison."""


class Staged:
    """A model with one picture and some phrases, run once; keeps every stage's result.

    pixels: [1, 3, S, S]. Attributes: ``features``, ``text``, ``prompt``, ``encoded``, ``hs``,
    ``out`` as in ``Sam3Image.forward_grounding``.
    """

    def __init__(
        self, model: Any, pixels: Tensor, phrases: Sequence[str], with_box: bool = False
    ) -> None:
        self.model = model
        self.pixels = pixels.to(model.device, model.dtype)
        self.phrases = list(phrases)
        ids = torch.arange(len(self.phrases), device=model.device)
        self.stage = FindStage.for_texts(img_ids=torch.zeros_like(ids), text_ids=ids)
        self.geometry = model._get_dummy_prompt(len(self.phrases))
        if with_box:
            box = torch.tensor(BOX, device=model.device).view(1, 1, 4)
            box = box.expand(1, len(self.phrases), 4)
            self.geometry.append_boxes(box, torch.ones_like(box[..., 0], dtype=torch.bool))
        self.run()

    def run(self) -> dict[str, Any]:
        """All stages in order; returns the detector's outputs."""
        model = self.model
        self.trunk = model.backbone.vision_backbone.trunk(self.pixels)[-1]
        self.features = model.backbone.forward_image(self.pixels)
        self.text = model.backbone.forward_text(self.phrases, device=model.device)
        self.features |= self.text
        self.prompt, self.mask = model._encode_prompt(self.features, self.stage, self.geometry)
        self.encoded = self._fuse()
        self.out: dict[str, Any] = {"encoder_hidden_states": self.encoded["memory"]}
        self.hs = self._decode()
        self._segment()
        return self.out

    def _fuse(self) -> dict[str, Any]:
        return self.model._run_encoder(self.features, self.stage, self.prompt, self.mask)

    def _decode(self) -> Tensor:
        return self.model._run_decoder(self.out, self.encoded, self.prompt, self.mask)

    def _segment(self) -> None:
        self.model._run_segmentation_heads(
            self.out, self.features, self.stage, self.hs, self.prompt, self.mask
        )

    def prompt_again(self) -> dict[str, Any]:
        """The grounding part alone: picture and text are known."""
        return self.model.forward_grounding(self.features, self.stage, None, self.geometry)

    def whole(self) -> dict[str, Any]:
        """Picture and phrases to outputs, as a user's first prompt runs (text cached)."""
        features = self.model.backbone.forward_image(self.pixels)
        features |= self.model.backbone.forward_text(self.phrases, device=self.model.device)
        return self.model.forward_grounding(features, self.stage, None, self.geometry)

    def actions(self) -> dict[str, Action]:
        """Each stage alone on kept inputs, by name."""
        backbone = self.model.backbone
        neck, text = backbone.vision_backbone, backbone.language_backbone
        tokens = text.tokenizer(self.phrases, context_length=text.context_length)
        tokens = tokens.to(self.model.device)
        return {
            "trunk": lambda: neck.trunk(self.pixels),
            "neck": lambda: neck._pyramid(neck.convs, self.trunk),
            "text": lambda: text._encode(tokens),
            "prompt encoding": lambda: self.model._encode_prompt(
                self.features, self.stage, self.geometry
            ),
            "fusion encoder": self._fuse,
            "decoder": self._decode,
            "segmentation head": self._segment,
            "prompt on known picture": self.prompt_again,
            "picture + prompt": self.whole,
        }

    def results(self) -> dict[str, Tensor]:
        """What is compared between precisions, by stage, in float32 on the CPU."""
        valid = ~self.features["language_mask"].T
        found = {
            "trunk": self.trunk,
            **{f"pyramid {i}": f for i, f in enumerate(self.features["backbone_fpn"])},
            "text": self.features["language_features"][valid],
            "geometry": self.prompt[len(valid) :],
            "fusion encoder": self.encoded["memory"],
            "decoder": self.hs[-1],
            "class logits": self.out["pred_logits"],
            "masks": self.out["pred_masks"],
            "semantic": self.out["semantic_seg"],
        }
        return {name: tensor.float().cpu() for name, tensor in found.items()}

    def detections(self) -> tuple[Tensor, Tensor, Tensor]:
        """Joint scores [B, Q], boxes xyxy [B, Q, 4] in input pixels, mask logits, on the CPU."""
        scores = joint_scores(self.out["pred_logits"], self.out["presence_logit_dec"])
        boxes = self.out["pred_boxes_xyxy"].float() * self.pixels.shape[-1]
        return scores.cpu(), boxes.cpu(), self.out["pred_masks"].float().cpu()
