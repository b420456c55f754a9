"""What one step on a frame gives, with the frame's worth as a memory."""

from __future__ import annotations

from torch import Tensor

from .memory_select import mem_score
from .types import Items, SamHeadsOutput, StepOutput


def step_output(
    heads: SamHeadsOutput,
    point_inputs: Items | None,
    mask_inputs: Tensor | None,
    with_scores: bool,
) -> StepOutput:
    """The record of a step before its memory is encoded; ``with_scores`` for memory selection."""
    out = StepOutput(
        point_inputs=point_inputs,
        mask_inputs=mask_inputs,
        pred_masks=heads.low_res_masks,
        pred_masks_high_res=heads.high_res_masks,
        obj_ptr=heads.obj_ptr,
        object_score_logits=heads.object_score_logits,
        multimasks=heads.low_res_multimasks,
        multimask_ious=heads.ious,
    )
    if with_scores:
        out.iou_score = heads.ious.amax(dim=-1)
        score = mem_score(out.object_score_logits, out.iou_score)
        out.eff_iou_score = score.detach().float().cpu()
    return out
