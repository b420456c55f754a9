"""Initial values for training from scratch on a small budget.

Only values change, never names or shapes. Without the local box bias all decoder queries draw the
same mask and no instance is found.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ...layers.basic import inverse_sigmoid
from .recipe import TinyRecipe


@torch.no_grad()
def initialise(model: nn.Module, recipe: TinyRecipe) -> None:
    """Set the starting values of a ``Sam3Image`` in place."""
    decoder = model.transformer.decoder
    decoder.reference_points.weight.copy_(
        inverse_sigmoid(grid_boxes(decoder.num_queries, recipe.box_side))
    )
    for mlp in (decoder.boxRPB_embed_x, decoder.boxRPB_embed_y):
        make_bias_local(mlp, recipe.local_bias)
    positions = model.backbone.vision_backbone.trunk.pos_embed
    side = math.isqrt(positions.shape[1] - 1)
    table = sine_cosine_table(side, positions.shape[2]) * recipe.position_scale
    positions.zero_()  # the extra first entry belongs to no patch
    positions[0, 1:] = table


def grid_boxes(count: int, side: float) -> Tensor:
    """``count`` cxcywh boxes of equal ``side``, centres spread over the unit square: (count, 4)."""
    rows = max(1, round(math.sqrt(count)))
    centres = []
    for row in range(rows):
        columns = count // rows + (row < count % rows)
        centres += [((c + 0.5) / columns, (row + 0.5) / rows) for c in range(columns)]
    sides = torch.full((count, 2), side)
    return torch.cat([torch.tensor(centres, dtype=torch.float32).reshape(-1, 2), sides], dim=1)


def make_bias_local(mlp: nn.Module, strength: float) -> None:
    """Make a box-bias MLP punish places outside the box, whatever the box.

    Its inputs are the offsets from the near and from the far edge: outside are a negative first or
    a positive second. Two hidden units take these, with output weight ``strength``.
    """
    first, last = mlp.layers
    first.weight[:2] = torch.tensor([[-1.0, 0.0], [0.0, 1.0]])
    first.bias[:2] = 0.0
    last.weight.mul_(0.1)
    last.weight[:, :2] = strength
    last.bias.zero_()


def sine_cosine_table(side: int, channels: int, temperature: float = 100.0) -> Tensor:
    """2-D sine-cosine positions of a ``side`` x ``side`` grid, row-major: (side * side, channels).

    The first half of the channels codes y, the second x; each half is sines, then cosines.
    """
    quarter = channels // 4
    rates = temperature ** (-torch.arange(quarter, dtype=torch.float32) / quarter)
    angles = torch.arange(side, dtype=torch.float32)[:, None] * rates
    axis = torch.cat([angles.sin(), angles.cos()], dim=1)
    y = axis[:, None].expand(side, side, -1)
    x = axis[None].expand(side, side, -1)
    table = torch.cat([y, x], dim=-1).reshape(side * side, -1)
    return nn.functional.pad(table, (0, channels - table.shape[1]))
