"""The tracker as it is trained: a frozen trunk, the second neck, and ``track_step`` over a window.

Every prediction of the mask decoder is kept, with the logits it had before the presence score
erased them: a mask that the tracker takes for absent would not learn otherwise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ....model.necks import Sam3DualViTDetNeck
from ....model.sam3_tracker_base import Sam3TrackerBase
from ....model.tracker.image_features import as_map, encode_image, prepare
from ....model.tracker.mask_heads import resize
from ....model.tracker.memory_write import encode_memory
from ....model.tracker.types import StepOutput
from ....sam.mask_decoder import MaskDecoderOutput
from ..centres import ANSWERS
from .batches import ClipBatch
from .corruption import corrupt_masks
from .prompts import Points, add_correction, first_points
from .recipe import TrackingRecipe

LOGIT_LIMIT = 32.0  # of masks that are handed back to be corrected, as everywhere


@dataclass(frozen=True)
class Prediction:
    """What the mask decoder said about N objects on a frame.

    masks [N, M, h, w] logits of M candidates; ious [N, M]; presence [N, 1] logits; answer
    [N, 1, h, w], the mask that the tracker goes on with (NO_OBJ_SCORE where absent).
    """

    frame: int
    masks: Tensor
    ious: Tensor
    presence: Tensor
    answer: Tensor


@dataclass(frozen=True)
class WindowOutputs:
    """All predictions, in order, and what the mask decoder reads of the pictures [C * T, ...].

    fine_levels: the two finest levels; grouping: what was read from the coarsest (grouping.py).
    """

    predictions: list[Prediction]
    fine_levels: list[Tensor]
    grouping: Tensor


class TrackerFeatures(nn.Module):
    """Frozen trunk and trained second neck, as the backbone of ``encode_image``.

    The finest level is the costliest part of a step backwards. So the neck learns from the first
    ``share`` of the pictures only, which are as random as the others.
    """

    def __init__(self, neck: Sam3DualViTDetNeck, share: float) -> None:
        super().__init__()
        self.neck = neck
        self.share = share
        neck.requires_grad_(False)
        assert neck.sam2_convs is not None  # the caller builds the model with it
        neck.sam2_convs.requires_grad_(True)

    def train(self, mode: bool = True) -> TrackerFeatures:
        """The trunk stays in evaluation mode."""
        super().train(mode)
        self.neck.trunk.eval()
        return self

    def forward_image(self, pictures: Tensor) -> dict[str, Any]:
        """[B, 3, S, S] -> the features for the tracker, under ``sam2_backbone_out``."""
        with torch.no_grad():
            trunk = self.neck.trunk(pictures)[-1]
        learning = math.ceil(self.share * len(trunk))
        levels = [self._level(conv, trunk, learning) for conv in self.neck.sam2_convs]
        codes = [self.neck.position_encoding(level) for level in levels]
        return {"sam2_backbone_out": {"backbone_fpn": levels, "vision_pos_enc": codes}}

    def _level(self, conv: nn.Module, trunk: Tensor, learning: int) -> Tensor:
        if not torch.is_grad_enabled() or learning == len(trunk):
            return conv(trunk)
        first = conv(trunk[:learning])
        with torch.no_grad():
            rest = conv(trunk[learning:])
        return torch.cat([first, rest])


@dataclass
class _Bank:
    """Outputs of earlier frames by the names that ``track_step`` reads."""

    cond: dict[int, StepOutput] = field(default_factory=dict)
    others: dict[int, StepOutput] = field(default_factory=dict)

    def __getitem__(self, key: str) -> dict[int, StepOutput]:
        return {"cond_frame_outputs": self.cond, "non_cond_frame_outputs": self.others}[key]

    def detach(self) -> None:
        """Cut gradients to what happened so far."""
        for out in (*self.cond.values(), *self.others.values()):
            out.obj_ptr = out.obj_ptr.detach()
            if out.maskmem_features is not None:
                out.maskmem_features = out.maskmem_features.detach()


class WindowTracker(nn.Module):
    """Runs a tracker over batches of windows."""

    def __init__(
        self, neck: Sam3DualViTDetNeck, tracker: Sam3TrackerBase, recipe: TrackingRecipe
    ) -> None:
        super().__init__()
        self.features = TrackerFeatures(neck, recipe.neck_share)
        self.tracker = tracker
        self.recipe = recipe
        self.grouping = nn.Conv2d(tracker.hidden_dim, ANSWERS, 1)  # not exported
        self._decoded: list[MaskDecoderOutput] = []
        tracker.sam_mask_decoder.register_forward_hook(lambda *call: self._keep(call[-1]))

    def _keep(self, decoded: MaskDecoderOutput) -> None:
        self._decoded = [decoded]

    def take_decoded(self) -> MaskDecoderOutput:
        """What the mask decoder gave last."""
        return self._decoded.pop()

    def forward(self, batch: ClipBatch) -> WindowOutputs:
        """One pass; the first frame has a prediction per prompt and correction."""
        encoded = encode_image(
            self.features,
            self.tracker.sam_mask_decoder,
            batch.images.flatten(0, 1),
            batch.images.dtype,
        )
        run = _Run(self, batch, encoded)
        predictions = run.prompted_frame()
        for frame in range(1, batch.frames):
            if frame % self.recipe.truncate == 0:
                run.bank.detach()
            predictions.append(run.tracked_frame(frame))
        fine, middle, coarse = encoded["backbone_fpn"]
        return WindowOutputs(predictions, [fine, middle], self.grouping(coarse))


class _Run:
    """One pass over a batch."""

    def __init__(self, model: WindowTracker, batch: ClipBatch, encoded: dict[str, Any]) -> None:
        self.model, self.batch, self.encoded = model, batch, encoded
        self.bank = _Bank()
        self.generator = torch.Generator().manual_seed(batch.seed)
        self.clicks = torch.Generator(batch.masks.device).manual_seed(batch.seed)

    def prompted_frame(self) -> list[Prediction]:
        """Frame 0: its prompt and the corrections; the last answer is remembered."""
        masks = self.batch.masks[:, :1]
        if self.batch.prompt == "mask":
            side = self.model.tracker.input_mask_size
            given = resize(masks.float(), (side, side), antialias=True)
            out, prediction = self._step(0, mask_inputs=given)
            found = [prediction]
        else:
            out, found = self._clicks(masks)
        # sessions remember a prompted frame as a mask, not as chances
        self._remember(0, out, self.bank.cond, out.pred_masks_high_res, binarize=True)
        return found

    def _clicks(self, masks: Tensor) -> tuple[StepOutput, list[Prediction]]:
        batch, previous = self.batch, None
        points: Points = first_points(batch.prompt, masks, batch.centred, self.clicks)
        found: list[Prediction] = []
        for left in range(batch.corrections, -1, -1):
            out, prediction = self._step(0, point_inputs=points, prev_sam_mask_logits=previous)
            found.append(prediction)
            if left:
                wrong = out.pred_masks_high_res > 0
                points = add_correction(points, masks, wrong, batch.centred, self.clicks)
                previous = out.pred_masks.detach().clamp(-LOGIT_LIMIT, LOGIT_LIMIT)
        return out, found

    def tracked_frame(self, frame: int) -> Prediction:
        """A later frame, from memory; what it remembers may be corrupted."""
        out, prediction = self._step(frame)
        masks, share = out.pred_masks_high_res, self.model.recipe.corruption
        if self.model.training and share > 0:
            if torch.rand(1, generator=self.generator) < share / 3:
                return prediction  # dropped
            masks = corrupt_masks(masks, 2 * share / 3, self.generator)
        self._remember(frame, out, self.bank.others, masks, binarize=False)
        return prediction

    def _step(self, frame: int, **prompts: Any) -> tuple[StepOutput, Prediction]:
        features, positions, sizes = self._inputs(frame)
        out = self.model.tracker.track_step(
            frame_idx=frame,
            is_init_cond_frame=frame == 0,
            current_vision_feats=features,
            current_vision_pos_embeds=positions,
            feat_sizes=sizes,
            output_dict=self.bank,
            num_frames=self.batch.num_frames,
            run_mem_encoder=False,
            **prompts,
        )
        masks, ious, _, presence = self.model.take_decoded()
        return out, Prediction(frame, masks, ious, presence, out.pred_masks)

    def _inputs(self, frame: int) -> tuple[list[Tensor], list[Tensor], list[tuple[int, int]]]:
        """Features, positions and sizes of a frame, one row per object."""
        rows = self.batch.clips * self.batch.frames + frame
        picked = {
            name: [level[rows] for level in self.encoded[name]]
            for name in ("backbone_fpn", "vision_pos_enc")
        }
        _, features, positions, sizes = prepare(picked, self.batch.images.dtype)
        return features, positions, sizes

    def _remember(
        self,
        frame: int,
        out: StepOutput,
        bank: dict[int, StepOutput],
        masks: Tensor,
        *,
        binarize: bool,
    ) -> None:
        """Encode ``masks`` [N, 1, H, W] and put them into the bank, if a frame is left to read."""
        if frame + 1 == self.batch.frames:
            return
        tracker = self.model.tracker
        features, _, sizes = self._inputs(frame)
        out.maskmem_features, out.maskmem_pos_enc = encode_memory(
            tracker.maskmem_backbone,
            tracker.no_obj_embed_spatial,
            as_map(features[-1], sizes[-1]),
            resize(masks, (tracker.image_size, tracker.image_size)),
            out.object_score_logits,
            binarize,
        )
        bank[frame] = out
