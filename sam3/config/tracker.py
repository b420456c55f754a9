"""The typed configuration of the tracker: every size is named here once.

Defaults are the tracker of facebook/sam3; it follows SAM 2 (Ravi et al. 2024,
https://arxiv.org/abs/2408.00714). Contradictions raise ``ValueError`` at construction.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from .records import checked, plain, require

MASK_STRIDE = 4
"""Mask logits are this much finer than the feature grid."""
MEMORY_STRIDE = 16
"""The mask encoder divides its input by this to reach the feature grid."""


@dataclass(frozen=True, kw_only=True)
class MemoryConfig:
    """Memory bank, memory encoder and memory attention.

    num_maskmem: spatial memories looked at, one slot of conditioning frames included.
    max_cond_frames: conditioning frames looked at (-1: all). max_obj_ptrs: object pointers looked
    at. temporal_stride: every r-th earlier frame. score_threshold: with memory selection, frames
    at or below it are left out.
    """

    dim: int = 64
    num_maskmem: int = 7
    max_cond_frames: int = 4
    keep_first_cond_frame: bool = False
    max_obj_ptrs: int = 16
    temporal_stride: int = 1
    score_threshold: float = 0.01
    layers: int = 4
    dim_feedforward: int = 2048
    dropout: float = 0.1
    fuser_layers: int = 2
    rope_theta: float = 10000.0

    def __post_init__(self) -> None:
        require(self.dim % 4 == 0, f"memory.dim {self.dim} must be a multiple of 4 (sine)")
        require(self.num_maskmem >= 1, f"memory.num_maskmem {self.num_maskmem} must be at least 1")
        require(
            self.max_cond_frames == -1 or self.max_cond_frames >= 2,
            f"memory.max_cond_frames {self.max_cond_frames} must be -1 (all) or at least 2",
        )
        require(
            self.max_obj_ptrs >= 1, f"memory.max_obj_ptrs {self.max_obj_ptrs} must be at least 1"
        )
        require(
            self.temporal_stride >= 1,
            f"memory.temporal_stride {self.temporal_stride} must be at least 1",
        )


@dataclass(frozen=True, kw_only=True)
class MaskDecoderConfig:
    """SAM prompt encoder and mask decoder."""

    depth: int = 2
    num_heads: int = 8
    mlp_dim: int = 2048
    mask_in_chans: int = 16
    num_multimask_outputs: int = 3
    iou_head_depth: int = 3
    iou_head_hidden_dim: int = 256
    iou_prediction_use_sigmoid: bool = True
    stability_delta: float = 0.05
    stability_thresh: float = 0.98

    def __post_init__(self) -> None:
        require(
            self.mask_in_chans % 4 == 0,
            f"decoder.mask_in_chans {self.mask_in_chans} must be a multiple of 4",
        )


@dataclass(frozen=True, kw_only=True)
class TrackingConfig:
    """Rules of tracking, none of which changes the weights."""

    multimask_output_in_sam: bool = True
    multimask_output_for_tracking: bool = True
    multimask_min_pt_num: int = 0
    multimask_max_pt_num: int = 1
    max_point_num_in_prompt_enc: int = 16
    non_overlap_masks_for_mem_enc: bool = False
    non_overlap_masks_for_output: bool = False
    clear_non_cond_mem_around_input: bool = True
    clear_non_cond_mem_for_multi_obj: bool = False
    always_start_from_first_ann_frame: bool = False
    fill_hole_area: int = 0

    def __post_init__(self) -> None:
        require(
            self.multimask_min_pt_num <= self.multimask_max_pt_num,
            f"tracking.multimask_min_pt_num {self.multimask_min_pt_num} is above "
            f"multimask_max_pt_num {self.multimask_max_pt_num}",
        )


@dataclass(frozen=True, kw_only=True)
class Sam3TrackerConfig:
    """The whole tracker. ``to_dict``/``from_dict`` are JSON-able and strict on unknown keys.

    image_size and patch_size are those of the image model whose features it reads.
    """

    name: str = "sam3"
    image_size: int = 1008
    patch_size: int = 14
    d_model: int = 256
    memory: MemoryConfig = field(default_factory=MemoryConfig)
    decoder: MaskDecoderConfig = field(default_factory=MaskDecoderConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)

    def __post_init__(self) -> None:
        require(
            self.image_size % self.patch_size == 0,
            f"image_size {self.image_size} is not a multiple of patch_size {self.patch_size}",
        )
        # 8: conv_s0 keeps 1/8 of the channels; heads work at half width
        require(self.d_model % 8 == 0, f"d_model {self.d_model} must be a multiple of 8")
        require(
            self.d_model // 2 % self.decoder.num_heads == 0,
            f"half of d_model {self.d_model} is not a multiple of decoder.num_heads "
            f"{self.decoder.num_heads}",
        )
        require(
            self.d_model % self.memory.dim == 0,
            f"d_model {self.d_model} is not a multiple of memory.dim {self.memory.dim}: object "
            "pointers are cut into memory tokens",
        )

    @property
    def grid(self) -> int:
        """Side of the top feature level."""
        return self.image_size // self.patch_size

    @property
    def low_res_mask_size(self) -> int:
        """Side of the mask logits."""
        return MASK_STRIDE * self.grid

    @property
    def memory_mask_size(self) -> int:
        """Side of the masks that the memory encoder reads and that masks as prompts get."""
        return MEMORY_STRIDE * self.grid

    def to_dict(self) -> dict[str, Any]:
        """Nested plain dict, ready for JSON."""
        return plain(asdict(self))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Sam3TrackerConfig:
        """Inverse of :meth:`to_dict`. Missing keys take the released value; unknown ones fail."""
        parts = {"memory": MemoryConfig, "decoder": MaskDecoderConfig, "tracking": TrackingConfig}
        known = checked(cls, values, "tracker")
        for key, part in parts.items():
            if key in known:
                known[key] = part(**checked(part, known[key], f"tracker.{key}"))
        return cls(**known)
