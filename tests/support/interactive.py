"""Small interactive heads with an image encoder that only pools, for tests without weights."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sam3.model.interactive_heads import InteractiveHeads
from sam3.sam.mask_decoder import MaskDecoder
from sam3.sam.prompt_encoder import PromptEncoder
from sam3.sam.transformer import TwoWayTransformer

IMAGE_SIZE, GRID, DIM = 96, 8, 32


class PoolingBackbone(nn.Module):
    """Three levels of pooled colours, each through a fixed random matrix."""

    def __init__(self, dim: int = DIM, grid: int = GRID) -> None:
        super().__init__()
        self.sides = (4 * grid, 2 * grid, grid)
        generator = torch.Generator().manual_seed(5)
        self.register_buffer("mix", torch.randn(3, dim, 3, generator=generator), persistent=False)

    def forward_image(self, x: Tensor) -> dict[str, Any]:
        levels = [
            torch.einsum("cj,bjhw->bchw", mix, F.adaptive_avg_pool2d(x, side))
            for mix, side in zip(self.mix, self.sides, strict=True)
        ]
        return {"sam2_backbone_out": {"backbone_fpn": levels, "vision_features": levels[-1]}}


def small_heads(with_backbone: bool = True) -> InteractiveHeads:
    """Heads of width 32 on an 8 x 8 grid with random weights, in evaluation mode."""
    torch.manual_seed(0)
    decoder = MaskDecoder(
        transformer_dim=DIM,
        transformer=TwoWayTransformer(2, DIM, 4, 64),
        iou_head_hidden_dim=DIM,
        use_high_res_features=True,
        iou_prediction_use_sigmoid=True,
        dynamic_multimask_via_stability=True,
        pred_obj_scores=True,
        pred_obj_scores_mlp=True,
        use_multimask_token_for_obj_ptr=True,
    )
    encoder = PromptEncoder(DIM, (GRID, GRID), (IMAGE_SIZE, IMAGE_SIZE), 16)
    backbone = PoolingBackbone() if with_backbone else None
    return InteractiveHeads(encoder, decoder, IMAGE_SIZE, backbone).eval()
