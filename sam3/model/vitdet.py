"""The vision trunk of SAM 3: a plain ViT with windowed and global rotary attention.

Entry point :class:`ViT`. After ViTDet (Li et al. 2022, section 3) and the Perception Encoder
(Bolya et al. 2025); the absolute position table is tiled, not resized, from the pretraining grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..layers.basic import check_fixed
from ..sam.rope import apply_rotary_enc, compute_axial_cis
from .act_ckpt_utils import activation_ckpt_wrapper
from .vit.block import Attention, Block, Mlp
from .vit.pos_embed import get_abs_pos
from .vit.windows import window_partition, window_unpartition

__all__ = [
    "Attention",
    "Block",
    "Mlp",
    "PatchEmbed",
    "ViT",
    "apply_rotary_enc",
    "compute_axial_cis",
    "get_abs_pos",
    "window_partition",
    "window_unpartition",
]

_FIXED = {
    "norm_layer": "LayerNorm",
    "use_abs_pos": True,
    "rel_pos_blocks": (),
    "use_rope": True,
    "rope_pt_size": None,
    "use_interp_rope": True,
    "pretrain_use_cls_token": True,
    "retain_cls_token": False,
    "return_interm_layers": False,
    "ln_post": False,
    "compile_mode": None,
}


class PatchEmbed(nn.Module):
    """Picture [B, 3, S, S] to tokens [B, S / p, S / p, C] by a strided convolution."""

    def __init__(self, patch_size: int, in_chans: int, embed_dim: int, bias: bool) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_chans, embed_dim, patch_size, stride=patch_size, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x).permute(0, 2, 3, 1)


class ViT(nn.Module):
    """Vision transformer; returns its last feature map as a list of one tensor.

    The absolute table ``pos_embed`` [1, (pretrain_img_size / patch_size)^2 + 1, C] is repeated over
    the grid (``tile_abs_pos``) or resized; its class-token entry is dropped. The released model's
    other keywords are accepted with their released value only.
    """

    def __init__(
        self,
        img_size: int = 1008,
        patch_size: int = 14,
        in_chans: int = 3,
        embed_dim: int = 1024,
        depth: int = 32,
        num_heads: int = 16,
        mlp_ratio: float = 4.625,
        qkv_bias: bool = True,
        drop_path_rate: float = 0.0,
        pretrain_img_size: int = 336,
        window_size: int = 24,
        global_att_blocks: Sequence[int] = (7, 15, 23, 31),
        tile_abs_pos: bool = True,
        dropout: float = 0.0,
        init_values: float | None = None,
        ln_pre: bool = True,
        bias_patch_embed: bool = False,
        use_act_checkpoint: bool = False,
        **fixed: Any,
    ) -> None:
        super().__init__()
        check_fixed(
            "ViT", fixed | {"rel_pos_blocks": tuple(fixed.get("rel_pos_blocks", ()))}, _FIXED
        )
        self.img_size = img_size
        self.patch_size = patch_size
        self.tile_abs_pos = tile_abs_pos
        self.use_act_checkpoint = use_act_checkpoint
        self.channel_list = [embed_dim]
        grid = img_size // patch_size
        positions = (pretrain_img_size // patch_size) ** 2 + 1
        self.patch_embed = PatchEmbed(patch_size, in_chans, embed_dim, bias_patch_embed)
        self.pos_embed = nn.Parameter(torch.empty(1, positions, embed_dim))
        self.ln_pre = nn.LayerNorm(embed_dim) if ln_pre else nn.Identity()
        rates = [drop_path_rate * i / max(depth - 1, 1) for i in range(depth)]
        self.blocks = nn.ModuleList(
            Block(
                embed_dim,
                num_heads,
                (grid, grid),
                mlp_ratio=mlp_ratio,
                window_size=0 if i in global_att_blocks else window_size,
                rope_pt_size=window_size,
                qkv_bias=qkv_bias,
                drop_path=rates[i],
                dropout=dropout,
                init_values=init_values,
            )
            for i in range(depth)
        )
        self.apply(_init_weights)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def get_num_layers(self) -> int:
        """Number of blocks, for layer-wise learning-rate decay."""
        return len(self.blocks)

    def get_layer_id(self, name: str) -> int:
        """Depth of a parameter for layer decay: 0 the embedding, k + 1 block k, n the rest."""
        if "rel_pos" in name:
            return len(self.blocks) + 1
        if any(key in name for key in ("ln_pre", "pos_embed", "cls_token", "patch_embed")):
            return 0
        parts = name.split(".")
        if "blocks" in parts:
            return int(parts[parts.index("blocks") + 1]) + 1
        return len(self.blocks) + 1

    def forward(self, x: Tensor) -> list[Tensor]:
        """[B, 3, img_size, img_size] normalised -> [[B, C, H, W]] with H = W = img_size / patch."""
        x = self.patch_embed(x)
        pos = get_abs_pos(self.pos_embed, True, (x.shape[1], x.shape[2]), tiling=self.tile_abs_pos)
        x = self.ln_pre(x + pos)
        for block in self.blocks:
            x = activation_ckpt_wrapper(block)(
                x, act_ckpt_enable=self.use_act_checkpoint and self.training
            )
        return [x.permute(0, 3, 1, 2)]


def _init_weights(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
