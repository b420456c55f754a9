"""Starting values of a tracker that has little time to learn; names and shapes stay.

With PyTorch's own values a click makes no difference to the masks for thousands of steps: they
show everything that looks like an object. A click is a position code, which must first find its
place in the picture, then leave a mark there, against noise of the same size. With these values it
does both from the first step. The memory starts by looking at the place where the object was.
"""

from __future__ import annotations

import torch
from torch import nn

from ....model.necks import Sam3DualViTDetNeck
from ....model.sam3_tracker_base import Sam3TrackerBase
from ....sam.mask_decoder import MaskDecoder
from ....sam.prompt_encoder import PromptEncoder
from ....sam.transformer import Attention, RoPEAttention

COARSE_SCALE = 0.25
"""The detector's coarsest level is four times as large as the position codes added to it."""
LOOK = 3.0
"""Factor on queries and keys of the two-way attention: near enough to its place, a code wins."""
SELF_LOOK = 2.5
"""The same where tokens attend to each other: each begins with itself, so it keeps its meaning."""
MARK = 2.0
"""How strongly a token marks the places that attend to it."""
QUIET = 0.3
"""Factor on what competes with position codes: learnt tokens, norms, what tokens read."""
PLACE = 2.0
"""Bias of queries and keys that rotate with their place: a memory is read where it was made."""


@torch.no_grad()
def initialise(neck: Sam3DualViTDetNeck, tracker: Sam3TrackerBase) -> None:
    """Set the starting values of the second neck and of the tracker in place.

    The second neck becomes a copy of the detector's with a quieter coarsest level.
    """
    assert neck.sam2_convs is not None  # the caller builds the model with it
    neck.sam2_convs.load_state_dict(neck.convs.state_dict())
    coarsest = neck.sam2_convs[neck.scale_factors.index(min(neck.scale_factors))]
    for parameter in coarsest[-1].parameters():
        parameter.mul_(COARSE_SCALE)
    _point(tracker.sam_mask_decoder, tracker.sam_prompt_encoder)
    for module in tracker.transformer.modules():
        if isinstance(module, RoPEAttention):
            module.q_proj.bias.fill_(PLACE)
            module.k_proj.bias.fill_(PLACE)


def _point(decoder: MaskDecoder, encoder: PromptEncoder) -> None:
    """Let clicks find and mark their places."""
    for name, module in decoder.transformer.named_modules():
        if name.endswith("self_attn"):
            _tie(module, SELF_LOOK)
            _copy_values(module, 1.0)
        elif name.endswith("image_to_token"):
            _tie(module, LOOK)
            _copy_values(module, MARK)
        elif name.endswith("token_to_image"):
            _tie(module, LOOK)
            module.out_proj.weight.mul_(QUIET)
        elif name.endswith(("norm1", "norm2", "norm3")):
            module.weight.mul_(QUIET)
    kinds = [*encoder.point_embeddings, encoder.not_a_point_embed]
    for table in (*kinds, decoder.iou_token, decoder.mask_tokens, decoder.obj_score_token):
        table.weight.mul_(QUIET)


def _tie(attention: Attention, gain: float) -> None:
    """Queries and keys share a projection: what is alike attends to each other."""
    attention.k_proj.weight.copy_(attention.q_proj.weight)
    attention.q_proj.weight.mul_(gain)
    attention.k_proj.weight.mul_(gain)


def _copy_values(attention: Attention, gain: float) -> None:
    """Values come out as they went in, times ``gain``, as far as the width allows."""
    nn.init.orthogonal_(attention.v_proj.weight)
    attention.out_proj.weight.copy_(gain * attention.v_proj.weight.T)
    for layer in (attention.v_proj, attention.out_proj):
        layer.bias.zero_()
