"""Starting values of a tracker that has little time to learn; names and shapes stay.

A click is a position code, and it has to find its place in the picture. With these values it does
so from the first step, and the masks leave their first state, nothing at all, twice as early.
"""

from __future__ import annotations

import torch
from torch import nn

from ....model.necks import Sam3DualViTDetNeck
from ....model.sam3_tracker_base import Sam3TrackerBase

COARSE_SCALE = 0.25
"""The detector's coarsest level is four times as large as the position codes added to it."""


@torch.no_grad()
def initialise(neck: Sam3DualViTDetNeck, tracker: Sam3TrackerBase) -> None:
    """Set the starting values of the second neck and of the mask decoder in place.

    The second neck becomes a copy of the detector's with a quieter coarsest level. Where tokens
    and picture attend to each other, queries and keys start with the same projection, so that
    places with similar position codes attend to each other.
    """
    assert neck.sam2_convs is not None  # the caller builds the model with it
    neck.sam2_convs.load_state_dict(neck.convs.state_dict())
    coarsest = neck.sam2_convs[neck.scale_factors.index(min(neck.scale_factors))]
    for parameter in coarsest[-1].parameters():
        parameter.mul_(COARSE_SCALE)
    for name, module in tracker.sam_mask_decoder.transformer.named_modules():
        if name.endswith(("token_to_image", "image_to_token")):
            _tie(module)


def _tie(attention: nn.Module) -> None:
    attention.k_proj.weight.copy_(attention.q_proj.weight)
