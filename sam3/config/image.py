"""The typed configuration of the image model: every size is named here once.

Defaults are the released SAM 3 image model (https://arxiv.org/abs/2511.16719); ``presets.py``
lists the variants by their differences. Contradictions raise ``ValueError`` at construction.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from .records import checked, plain, require

CLIP_MERGES = 48894
"""Merges of the published CLIP table that SAM 3 uses (49152 - 256 - 2)."""


@dataclass(frozen=True, kw_only=True)
class VisionConfig:
    """ViT trunk (windowed, rotary, tiled absolute positions)."""

    img_size: int = 1008
    patch_size: int = 14
    pretrain_img_size: int = 336
    embed_dim: int = 1024
    depth: int = 32
    num_heads: int = 16
    mlp_ratio: float = 4.625
    window_size: int = 24
    global_blocks: tuple[int, ...] = (7, 15, 23, 31)
    drop_path_rate: float = 0.1

    def __post_init__(self) -> None:
        object.__setattr__(self, "global_blocks", tuple(self.global_blocks))
        for name in ("img_size", "pretrain_img_size"):
            size = getattr(self, name)
            require(
                size % self.patch_size == 0,
                f"vision.{name} {size} is not a multiple of patch_size {self.patch_size}",
            )
        require(
            self.embed_dim % (4 * self.num_heads) == 0,
            f"vision.embed_dim {self.embed_dim} must be a multiple of 4 x num_heads "
            f"{self.num_heads} (axial rotary pairs)",
        )
        require(
            all(0 <= i < self.depth for i in self.global_blocks),
            f"vision.global_blocks {self.global_blocks} outside 0..{self.depth - 1}",
        )

    @property
    def grid(self) -> int:
        """Tokens per side."""
        return self.img_size // self.patch_size


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """Causal text transformer over CLIP byte-pair tokens."""

    width: int = 1024
    heads: int = 16
    layers: int = 24
    context_length: int = 32
    num_merges: int = CLIP_MERGES

    def __post_init__(self) -> None:
        require(
            self.width % self.heads == 0,
            f"text.width {self.width} is not a multiple of heads {self.heads}",
        )
        require(
            0 <= self.num_merges <= CLIP_MERGES,
            f"text.num_merges {self.num_merges} outside 0..{CLIP_MERGES}",
        )
        require(self.context_length >= 3, "text.context_length must hold start, one token, end")

    @property
    def vocab_size(self) -> int:
        """256 bytes, 256 word-final bytes, the merges, start and end of text."""
        return 512 + self.num_merges + 2


@dataclass(frozen=True, kw_only=True)
class NeckConfig:
    """Feature pyramid; the last ``scalp`` levels are computed and dropped."""

    scale_factors: tuple[float, ...] = (4.0, 2.0, 1.0, 0.5)
    scalp: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale_factors", tuple(float(s) for s in self.scale_factors))
        kept = self.scale_factors[: len(self.scale_factors) - self.scalp]
        require(
            kept == (4.0, 2.0, 1.0),
            f"neck must keep the levels 4, 2, 1 (got {kept}): the heads are built on them",
        )


@dataclass(frozen=True, kw_only=True)
class GeometryConfig:
    """Encoder of boxes and points as prompts."""

    layers: int = 3
    roi_size: int = 7


@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """DETR decoder with a presence token and log box-relative bias."""

    layers: int = 6
    num_queries: int = 200
    dac: bool = True


@dataclass(frozen=True, kw_only=True)
class SegmentationConfig:
    """Pixel decoder and mask heads."""

    upsampling_stages: int = 3
    group_norm_groups: int = 8


@dataclass(frozen=True, kw_only=True)
class Sam3ImageConfig:
    """The whole image model. ``to_dict``/``from_dict`` are JSON-able and strict on unknown keys."""

    name: str = "sam3"
    d_model: int = 256
    num_heads: int = 8
    dim_feedforward: int = 2048
    dropout: float = 0.1
    encoder_layers: int = 6
    vision: VisionConfig = field(default_factory=VisionConfig)
    text: TextConfig = field(default_factory=TextConfig)
    neck: NeckConfig = field(default_factory=NeckConfig)
    geometry: GeometryConfig = field(default_factory=GeometryConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    segmentation: SegmentationConfig = field(default_factory=SegmentationConfig)

    def __post_init__(self) -> None:
        require(
            self.d_model % self.num_heads == 0,
            f"d_model {self.d_model} is not a multiple of num_heads {self.num_heads}",
        )
        require(self.d_model % 4 == 0, f"d_model {self.d_model} must be a multiple of 4 (sine)")
        groups = self.segmentation.group_norm_groups
        require(
            self.d_model % groups == 0,
            f"d_model {self.d_model} is not a multiple of group_norm_groups {groups}",
        )

    def to_dict(self) -> dict[str, Any]:
        """Nested plain dict (tuples become lists), ready for JSON."""
        return plain(asdict(self))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Sam3ImageConfig:
        """Inverse of :meth:`to_dict`. Missing keys take the released value; unknown ones fail."""
        parts = {
            "vision": VisionConfig,
            "text": TextConfig,
            "neck": NeckConfig,
            "geometry": GeometryConfig,
            "decoder": DecoderConfig,
            "segmentation": SegmentationConfig,
        }
        known = checked(cls, values, "config")
        for key, part in parts.items():
            if key in known:
                known[key] = part(**checked(part, known[key], f"config.{key}"))
        return cls(**known)
