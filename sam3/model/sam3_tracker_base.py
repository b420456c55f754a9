"""The tracker's network: one step on one frame, for all objects of a session at once.

Entry point :meth:`Sam3TrackerBase.track_step`: it looks up memories of earlier frames, decodes
masks, and encodes a new memory. SAM 2 (https://arxiv.org/abs/2408.00714) with presence scores and
an optional choice of memories by their worth. The model holds no session: outputs of earlier
frames are passed in. What it decides and does lives in the rooms ``model/tracker/``.

Keywords of the constructor:
    backbone: image model with ``forward_image``, or None where features are passed in; may be
        set later.
    transformer: holder of the memory attention (``encoder``, ``d_model``).
    maskmem_backbone: memory encoder.
    num_maskmem: spatial memories looked at, the slot of conditioning frames included.
    image_size, backbone_stride: side of the pictures in pixels, pixels per coarse feature.
    max_cond_frames_in_attn: conditioning frames looked at (-1: all), the nearest ones;
        ``keep_first_cond_frame``: the first always among them.
    multimask_output_in_sam: decode several candidates for ``multimask_min_pt_num`` to
        ``multimask_max_pt_num`` points on a prompted frame, ``multimask_output_for_tracking``:
        on tracked frames too.
    forward_backbone_per_frame_for_eval: accepted; frames are always encoded one by one.
    memory_temporal_stride_for_eval: every r-th earlier frame is looked at (1 in training).
    non_overlap_masks_for_mem_enc: each pixel of a new memory belongs to one object (not in
        training).
    max_obj_ptrs_in_encoder: object pointers looked at.
    sam_mask_decoder_extra_args: further keywords of ``MaskDecoder``.
    compile_all_components: compile memory encoder, memory attention and mask decoder.
    use_memory_selection: pass over frames whose worth as a memory is at or below
        ``mf_threshold``.
    sam_transformer_args: keywords depth, num_heads, mlp_dim of the decoder's transformer.
    sam_mask_in_chans: channels of the prompt encoder's mask convolutions.

``backbone_fpn`` features have three levels: 4, 2 and 1 times ``image_size / backbone_stride``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..layers.basic import check_fixed
from ..layers.mlp import MLP
from .tracker import image_features, memory_read, memory_select, parts
from .tracker.image_features import as_map
from .tracker.mask_heads import NO_OBJ_SCORE, SamHeads, forward_heads, mask_as_output
from .tracker.memory_write import encode_memory
from .tracker.outcome import step_output
from .tracker.overlap import apply_non_overlapping_constraints
from .tracker.types import Items, MemoryRules, SamHeadsOutput, StepOutput

__all__ = ["NO_OBJ_SCORE", "Sam3TrackerBase"]

MASK_STRIDE = 4
"""Mask logits per feature; given masks are as much finer again."""

# Evaluation switches of the released constructor. The predictor's keep_outputs and
# offload_state_to_cpu bound what a session keeps.
_FIXED: dict[str, Any] = {
    "offload_output_to_cpu_for_eval": False,
    "trim_past_non_cond_mem_for_eval": False,
}

Bank = Any
"""``cond_frame_outputs`` and ``non_cond_frame_outputs`` by item access: frame -> output."""


class Sam3TrackerBase(nn.Module):
    """Memory encoder, memory attention, prompt encoder, mask decoder and the rules between them.

    The keywords are explained at the top of the module.
    """

    def __init__(
        self,
        backbone: nn.Module | None,
        transformer: nn.Module,
        maskmem_backbone: nn.Module,
        num_maskmem: int = 7,
        image_size: int = 1008,
        backbone_stride: int = 14,
        max_cond_frames_in_attn: int = -1,
        keep_first_cond_frame: bool = False,
        multimask_output_in_sam: bool = False,
        multimask_min_pt_num: int = 1,
        multimask_max_pt_num: int = 1,
        multimask_output_for_tracking: bool = False,
        forward_backbone_per_frame_for_eval: bool = False,
        memory_temporal_stride_for_eval: int = 1,
        non_overlap_masks_for_mem_enc: bool = False,
        max_obj_ptrs_in_encoder: int = 16,
        sam_mask_decoder_extra_args: Mapping[str, Any] | None = None,
        compile_all_components: bool = False,
        use_memory_selection: bool = False,
        mf_threshold: float = 0.01,
        sam_transformer_args: Mapping[str, int] | None = None,
        sam_mask_in_chans: int = 16,
        **fixed: Any,
    ) -> None:
        super().__init__()
        check_fixed(type(self).__name__, fixed, _FIXED)
        if image_size % backbone_stride:
            raise ValueError(f"image_size {image_size} is no multiple of {backbone_stride}")
        self.backbone = backbone
        self.transformer = transformer
        self.maskmem_backbone = maskmem_backbone
        self.num_maskmem = num_maskmem
        self.image_size, self.backbone_stride = image_size, backbone_stride
        self.max_cond_frames_in_attn = max_cond_frames_in_attn
        self.keep_first_cond_frame = keep_first_cond_frame
        self.multimask_output_in_sam = multimask_output_in_sam
        self.multimask_min_pt_num = multimask_min_pt_num
        self.multimask_max_pt_num = multimask_max_pt_num
        self.multimask_output_for_tracking = multimask_output_for_tracking
        self.forward_backbone_per_frame_for_eval = forward_backbone_per_frame_for_eval
        self.memory_temporal_stride_for_eval = memory_temporal_stride_for_eval
        self.non_overlap_masks_for_mem_enc = non_overlap_masks_for_mem_enc
        self.max_obj_ptrs_in_encoder = max_obj_ptrs_in_encoder
        self.use_memory_selection, self.mf_threshold = use_memory_selection, mf_threshold
        self.hidden_dim = int(transformer.d_model)
        self.mem_dim = int(maskmem_backbone.out_proj.out_channels)
        self.sam_image_embedding_size = image_size // backbone_stride
        self.low_res_mask_size = MASK_STRIDE * self.sam_image_embedding_size
        self.input_mask_size = MASK_STRIDE * self.low_res_mask_size
        self._make_embeddings()
        self.sam_prompt_encoder = parts.make_prompt_encoder(
            self.hidden_dim, self.sam_image_embedding_size, image_size, sam_mask_in_chans
        )
        self.sam_mask_decoder = parts.make_mask_decoder(
            self.hidden_dim, sam_mask_decoder_extra_args, sam_transformer_args
        )
        if compile_all_components:
            parts.compile_parts(self)

    def _make_embeddings(self) -> None:
        width, mem_dim = self.hidden_dim, self.mem_dim
        self.maskmem_tpos_enc = parts.learned(self.num_maskmem, 1, 1, mem_dim)
        self.no_mem_embed = parts.learned(1, 1, width)
        self.no_mem_pos_enc = parts.learned(1, 1, width)  # in published weights, never read
        self.no_obj_ptr = parts.learned(1, width)
        self.no_obj_embed_spatial = parts.learned(1, mem_dim)
        self.mask_downsample = nn.Conv2d(1, 1, kernel_size=MASK_STRIDE, stride=MASK_STRIDE)
        self.obj_ptr_proj = MLP(width, width, width, 3)
        self.obj_ptr_tpos_proj = nn.Linear(width, mem_dim)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.no_mem_embed.device

    def forward_image(self, img_batch: Tensor) -> dict[str, Any]:
        """Encode pictures [B, 3, S, S]; see :func:`.tracker.image_features.encode_image`."""
        dtype = self.no_mem_embed.dtype
        return image_features.encode_image(self.backbone, self.sam_mask_decoder, img_batch, dtype)

    def _prepare_backbone_features(
        self, backbone_out: Mapping[str, Any]
    ) -> image_features.Prepared:
        """(copy of the dict, features, positions [H * W, B, C], sizes (H, W)) of three levels."""
        return image_features.prepare(backbone_out, self.no_mem_embed.dtype)

    # ---- one frame --------------------------------------------------------------------------

    def track_step(
        self,
        frame_idx: int,
        is_init_cond_frame: bool,
        current_vision_feats: list[Tensor],
        current_vision_pos_embeds: list[Tensor],
        feat_sizes: list[tuple[int, int]],
        image: Tensor | None = None,
        point_inputs: Items | None = None,
        mask_inputs: Tensor | None = None,
        output_dict: Bank = None,
        num_frames: int = 1,
        track_in_reverse: bool = False,
        run_mem_encoder: bool = True,
        prev_sam_mask_logits: Tensor | None = None,
        use_prev_mem_frame: bool = True,
    ) -> StepOutput:
        """Segment B objects on a frame, from prompts on it or from memories.

        Args:
            is_init_cond_frame: first prompts on a frame that is not tracked yet: no memories.
            current_vision_feats, current_vision_pos_embeds: three levels [H * W, B, C] from
                :meth:`_prepare_backbone_features`; [H * W, 1, C] where B objects have memories.
            image: not read (kept for other memory encoders).
            point_inputs: ``point_coords`` [B, P, 2], pixels of the model's picture, and
                ``point_labels`` [B, P].
            mask_inputs: [B, 1, H, W] in 0..1, taken as the answer.
            output_dict: outputs of earlier frames; not changed. Not needed without memories.
            track_in_reverse: memories are of later frames.
            prev_sam_mask_logits: [B, 1, h, w], refined by the points.
            use_prev_mem_frame: False leaves memories out.

        Raises:
            SessionError: memories are wanted and there are none.
            ValueError: both points and a mask, or a mask to refine without points.
        """
        if mask_inputs is not None and (point_inputs, prev_sam_mask_logits) != (None, None):
            raise ValueError("a mask as the answer takes no points and no earlier mask")
        if prev_sam_mask_logits is not None and point_inputs is None:
            raise ValueError("an earlier mask is refined by points: pass point_inputs")
        fine = [
            as_map(x, size)
            for x, size in zip(current_vision_feats[:-1], feat_sizes[:-1], strict=True)
        ]
        if mask_inputs is not None:
            features = as_map(current_vision_feats[-1], feat_sizes[-1])
            heads = self._use_mask_as_output(features, fine, mask_inputs)
        else:
            features = self._prepare_memory_conditioned_features(
                frame_idx,
                is_init_cond_frame or not use_prev_mem_frame,
                current_vision_feats[-1],
                current_vision_pos_embeds[-1],
                feat_sizes[-1],
                output_dict,
                num_frames,
                track_in_reverse,
            )
            several = self._use_multimask(is_init_cond_frame, point_inputs)
            heads = self._forward_sam_heads(
                features, point_inputs, prev_sam_mask_logits, fine, several
            )
        out = step_output(heads, point_inputs, mask_inputs, self.use_memory_selection)
        if run_mem_encoder:
            out.maskmem_features, out.maskmem_pos_enc = self._encode_new_memory(
                image=image,
                current_vision_feats=current_vision_feats,
                feat_sizes=feat_sizes,
                pred_masks_high_res=heads.high_res_masks,
                object_score_logits=heads.object_score_logits,
                is_mask_from_pts=point_inputs is not None,
            )
        return out

    def _use_multimask(self, is_init_cond_frame: bool, point_inputs: Items | None) -> bool:
        """Whether several candidates are decoded; a box counts as two points."""
        points = 0 if point_inputs is None else point_inputs["point_labels"].shape[1]
        return (
            self.multimask_output_in_sam
            and (is_init_cond_frame or self.multimask_output_for_tracking)
            and self.multimask_min_pt_num <= points <= self.multimask_max_pt_num
        )

    # ---- heads ------------------------------------------------------------------------------

    @property
    def _heads(self) -> SamHeads:
        return SamHeads(
            prompt_encoder=self.sam_prompt_encoder,
            mask_decoder=self.sam_mask_decoder,
            obj_ptr_proj=self.obj_ptr_proj,
            no_obj_ptr=self.no_obj_ptr,
            mask_downsample=self.mask_downsample,
            image_size=self.image_size,
            stride=self.backbone_stride,
            mask_stride=MASK_STRIDE,
        )

    def _forward_sam_heads(
        self,
        backbone_features: Tensor,
        point_inputs: Items | None = None,
        mask_inputs: Tensor | None = None,
        high_res_features: list[Tensor] | None = None,
        multimask_output: bool = False,
    ) -> SamHeadsOutput:
        """See :func:`.tracker.mask_heads.forward_heads`."""
        prompts = (point_inputs, mask_inputs)
        return forward_heads(
            self._heads, backbone_features, *prompts, high_res_features, multimask_output
        )

    def _use_mask_as_output(
        self, backbone_features: Tensor, high_res_features: list[Tensor], mask_inputs: Tensor
    ) -> SamHeadsOutput:
        """See :func:`.tracker.mask_heads.mask_as_output`."""
        return mask_as_output(self._heads, backbone_features, high_res_features, mask_inputs)

    # ---- memory -----------------------------------------------------------------------------

    @property
    def _memory_rules(self) -> MemoryRules:
        return MemoryRules(
            num_maskmem=self.num_maskmem,
            max_cond_frames=self.max_cond_frames_in_attn,
            keep_first_cond_frame=self.keep_first_cond_frame,
            stride=1 if self.training else self.memory_temporal_stride_for_eval,
            max_obj_ptrs=self.max_obj_ptrs_in_encoder,
            score_threshold=self.mf_threshold if self.use_memory_selection else None,
        )

    @staticmethod
    def cal_mem_score(object_score_logits: Tensor, iou_score: Tensor) -> Tensor:
        """See :func:`.tracker.memory_select.mem_score`."""
        return memory_select.mem_score(object_score_logits, iou_score)

    def frame_filter(
        self, output_dict: Bank, track_in_reverse: bool, frame_idx: int, num_frames: int
    ) -> list[int]:
        """Tracked frames worth looking at, the nearest last; see ``memory_select.frame_filter``."""
        scores = memory_read.worths(output_dict["non_cond_frame_outputs"])
        return memory_select.frame_filter(
            {t: score for t, score in scores.items() if score is not None},
            frame_idx,
            num_frames,
            track_in_reverse,
            self.mf_threshold,
            min(num_frames, self.max_obj_ptrs_in_encoder) - 1,
        )

    def _prepare_memory_conditioned_features(
        self,
        frame_idx: int,
        without_memory: bool,
        features: Tensor,
        positions: Tensor,
        size: tuple[int, int],
        output_dict: Bank,
        num_frames: int,
        track_in_reverse: bool = False,
    ) -> Tensor:
        """Coarse features and positions [H * W, B, C] -> [B, C, H, W] that know the memories."""
        if without_memory:
            return as_map(features + self.no_mem_embed, size)
        conditioned = memory_read.attend_to_memories(
            self.transformer.encoder,
            self.maskmem_tpos_enc,
            self.obj_ptr_tpos_proj,
            features,
            positions,
            frame_idx,
            num_frames,
            track_in_reverse,
            output_dict,
            self._memory_rules,
        )
        return as_map(conditioned, size)

    def _encode_new_memory(
        self,
        image: Tensor | None,
        current_vision_feats: list[Tensor],
        feat_sizes: list[tuple[int, int]],
        pred_masks_high_res: Tensor,
        object_score_logits: Tensor,
        is_mask_from_pts: bool,
    ) -> tuple[Tensor, list[Tensor]]:
        """Memory of masks [B, 1, H, W]; see :func:`.tracker.memory_write.encode_memory`."""
        masks = pred_masks_high_res
        if self.non_overlap_masks_for_mem_enc and not self.training:
            masks = self._apply_non_overlapping_constraints(masks)
        return encode_memory(
            self.maskmem_backbone,
            self.no_obj_embed_spatial,
            as_map(current_vision_feats[-1], feat_sizes[-1]),
            masks,
            object_score_logits,
            binarize=is_mask_from_pts,
        )

    @staticmethod
    def _apply_non_overlapping_constraints(pred_masks: Tensor) -> Tensor:
        """See :func:`.tracker.overlap.apply_non_overlapping_constraints`."""
        return apply_non_overlapping_constraints(pred_masks)
