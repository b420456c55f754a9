"""Writing a memory: the masks of a frame and its image features become memory features.

SAM 2 (https://arxiv.org/abs/2408.00714), section "memory encoder".
"""

from __future__ import annotations

from torch import Tensor, nn

from .mask_heads import MASK_BIAS, MASK_SCALE


def encode_memory(
    mask_encoder: nn.Module,
    no_obj_embed: Tensor,
    features: Tensor,
    masks: Tensor,
    object_score_logits: Tensor,
    binarize: bool,
) -> tuple[Tensor, list[Tensor]]:
    """Memory of B masks on a frame.

    Args:
        no_obj_embed: [1, mem_dim], added at every place of an absent object.
        features: [B, C, h, w], the frame's own features without memory.
        masks: [B, 1, H, W] logits. binarize: take them as masks rather than as chances.
        object_score_logits: [B, 1], above 0 for objects that are there.

    Returns:
        memory features [B, mem_dim, h, w], and their position code, a list of one such tensor.
    """
    inside = (masks > 0).float() if binarize else masks.float().sigmoid()
    encoded = mask_encoder(features, inside * MASK_SCALE + MASK_BIAS, skip_mask_sigmoid=True)
    memory = encoded["vision_features"]
    absent = (object_score_logits <= 0).to(memory.dtype)[..., None, None]
    memory = memory + absent * no_obj_embed[..., None, None].to(memory.dtype)
    return memory, encoded["vision_pos_enc"]
