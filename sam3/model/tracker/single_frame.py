"""One frame through the model for a batch of objects, and what the session keeps of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..sam3_tracker_utils import fill_holes_in_mask_scores
from .frame_features import frame_features
from .state import FrameOutput, InferenceState, PointInputs

if TYPE_CHECKING:
    from ..sam3_tracker_base import Sam3TrackerBase

POS_ENC = "maskmem_pos_enc"
"""Entry of ``state.constants`` with the one copy of the memory's position encoding."""


def track_one_frame(
    model: Sam3TrackerBase,
    state: InferenceState,
    frame_idx: int,
    output_dict: Any,
    batch_size: int,
    *,
    is_init_cond_frame: bool,
    reverse: bool,
    run_mem_encoder: bool,
    point_inputs: PointInputs | None = None,
    mask_inputs: Tensor | None = None,
    prev_sam_mask_logits: Tensor | None = None,
    use_prev_mem_frame: bool = True,
    fill_hole_area: int = 0,
) -> tuple[FrameOutput, Tensor]:
    """Run ``track_step`` on a frame for all ``batch_size`` objects at once.

    Args:
        output_dict: bank of earlier outputs of these objects.
        fill_hole_area: holes and specks of at most so many pixels are cleaned up.

    Returns:
        What to keep, and mask logits ``[B, 1, h, w]`` on the model's device.
    """
    image, feats, pos, sizes = frame_features(model, state, frame_idx)
    out = model.track_step(
        frame_idx=frame_idx,
        is_init_cond_frame=is_init_cond_frame,
        current_vision_feats=feats,
        current_vision_pos_embeds=pos,
        feat_sizes=sizes,
        image=image,
        point_inputs=point_inputs,
        mask_inputs=mask_inputs,
        output_dict=output_dict,
        num_frames=state.num_frames,
        track_in_reverse=reverse,
        run_mem_encoder=run_mem_encoder,
        prev_sam_mask_logits=prev_sam_mask_logits,
        use_prev_mem_frame=use_prev_mem_frame,
    )
    masks = out["pred_masks"]
    if fill_hole_area > 0:
        masks = fill_holes_in_mask_scores(
            masks, fill_hole_area, fill_holes=True, remove_sprinkles=True
        )
    memory, pos_enc = stored_memory(
        state, out["maskmem_features"], out["maskmem_pos_enc"], batch_size
    )
    score = out.get("eff_iou_score")
    kept = FrameOutput(
        maskmem_features=memory,
        maskmem_pos_enc=pos_enc,
        pred_masks=masks.to(state.storage_device),
        obj_ptr=out["obj_ptr"],
        object_score_logits=out["object_score_logits"],
        iou_score=out.get("iou_score"),
        eff_iou_score=None if score is None else torch.as_tensor(score).detach().cpu(),
    )
    return kept, masks


def encode_memory(
    model: Sam3TrackerBase,
    state: InferenceState,
    frame_idx: int,
    batch_size: int,
    high_res_masks: Tensor,
    object_score_logits: Tensor,
    is_mask_from_pts: bool,
) -> tuple[Tensor | None, list[Tensor] | None]:
    """Memory of given masks: (features, position encoding) as the session keeps them.

    Args:
        high_res_masks: ``[B, 1, H, W]`` logits. object_score_logits: ``[B, 1]``.
        is_mask_from_pts: the masks are binarised before they are encoded.
    """
    image, feats, _, sizes = frame_features(model, state, frame_idx)
    features, pos_enc = model._encode_new_memory(
        image=image,
        current_vision_feats=feats,
        feat_sizes=sizes,
        pred_masks_high_res=high_res_masks,
        object_score_logits=object_score_logits,
        is_mask_from_pts=is_mask_from_pts,
    )
    return stored_memory(state, features, pos_enc, batch_size)


def stored_memory(
    state: InferenceState,
    features: Tensor | None,
    pos_enc: list[Tensor] | None,
    batch_size: int,
) -> tuple[Tensor | None, list[Tensor] | None]:
    """Memory in the form the session keeps: bfloat16, on the storage device.

    The rounding to bfloat16 is part of the model's released behaviour, in float32 runs too. All
    frames share one copy of the position encoding, expanded to the number of objects.
    """
    if features is not None:
        features = features.to(torch.bfloat16).to(state.storage_device)
    if pos_enc is None:
        return features, None
    shared = state.constants.setdefault(POS_ENC, [p[:1].clone() for p in pos_enc])
    return features, [p.expand(batch_size, -1, -1, -1) for p in shared]


def mask_pointer(
    model: Sam3TrackerBase, state: InferenceState, frame_idx: int, mask: Tensor | None
) -> Tensor:
    """Object pointer ``[1, C]`` of a mask ``[1, 1, h, w]`` in 0..1, or of no mask at all."""
    if mask is None:
        mask = torch.zeros(1, 1, model.image_size, model.image_size, device=state.device)
    out, _ = track_one_frame(
        model, state, frame_idx, {}, 1,
        is_init_cond_frame=True, reverse=False, run_mem_encoder=False, mask_inputs=mask,
    )  # fmt: skip
    assert out.obj_ptr is not None
    return out.obj_ptr
