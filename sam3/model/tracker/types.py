"""Typed records that pass through one step of the tracker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from torch import Tensor

from .records import ItemAccess


class Items(Protocol):
    """Anything read by name: a plain dict, or a record with item access."""

    def __getitem__(self, key: str, /) -> Any: ...

    def get(self, key: str, /) -> Any:
        """The value, or None where there is none."""


@dataclass(frozen=True)
class SamHeadsOutput:
    """What the mask decoder makes of B prompts; sizes follow the model (here the released ones).

    low_res_multimasks [B, M, 288, 288]: logits of all candidates; ious [B, M]; low_res_masks
    [B, 1, 288, 288], high_res_masks [B, 1, 1008, 1008]: the best candidate; obj_ptr [B, C];
    object_score_logits [B, 1]. All masks float32.
    """

    low_res_multimasks: Tensor
    ious: Tensor
    low_res_masks: Tensor
    high_res_masks: Tensor
    obj_ptr: Tensor
    object_score_logits: Tensor


@dataclass
class StepOutput(ItemAccess):
    """What ``track_step`` gives for B objects on a frame.

    point_inputs, mask_inputs: the prompts as given. pred_masks [B, 1, h, w] and
    pred_masks_high_res [B, 1, H, W]: float32 logits. obj_ptr [B, C]; object_score_logits [B, 1].
    maskmem_features [B, mem_dim, h', w'] and maskmem_pos_enc, a list of one tensor of that shape:
    None without memory encoding. iou_score [B] and eff_iou_score (0-d, on the CPU): only with
    memory selection. multimasks: all candidates, [B, M, h, w], and multimask_ious [B, M], for
    training.
    """

    OPTIONAL: ClassVar[frozenset[str]] = frozenset(("iou_score", "eff_iou_score"))

    point_inputs: Any
    mask_inputs: Tensor | None
    pred_masks: Tensor
    pred_masks_high_res: Tensor
    obj_ptr: Tensor
    object_score_logits: Tensor
    multimasks: Tensor
    multimask_ious: Tensor
    maskmem_features: Tensor | None = None
    maskmem_pos_enc: list[Tensor] | None = None
    iou_score: Tensor | None = None
    eff_iou_score: Tensor | None = None


@dataclass(frozen=True)
class MemoryRules:
    """Which memories a frame may look at.

    num_maskmem: spatial memories, one slot of conditioning frames included. max_cond_frames: -1
    for all. stride: every r-th earlier frame. max_obj_ptrs: object pointers. score_threshold: with
    memory selection, frames at or below this score are passed over; None without selection.
    """

    num_maskmem: int
    max_cond_frames: int
    keep_first_cond_frame: bool
    stride: int
    max_obj_ptrs: int
    score_threshold: float | None = None


@dataclass(frozen=True)
class SpatialMemory:
    """A memory map to look at. t_pos: 0 for conditioning frames, else its slot, oldest first."""

    frame_idx: int
    t_pos: int


@dataclass(frozen=True)
class PointerMemory:
    """An object pointer to look at. position: its distance or rank in time."""

    frame_idx: int
    position: int
    is_cond: bool


@dataclass(frozen=True)
class MemoryChoice:
    """The memories a frame looks at, in the order of their tokens."""

    spatial: tuple[SpatialMemory, ...]
    pointers: tuple[PointerMemory, ...]
