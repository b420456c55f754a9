"""Modules that the tracker makes for itself: prompt encoder, mask decoder; compiling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ...sam.mask_decoder import MaskDecoder
from ...sam.prompt_encoder import PromptEncoder
from ...sam.transformer import TwoWayTransformer

DECODER_DEFAULTS: dict[str, Any] = {
    "num_multimask_outputs": 3,
    "iou_head_depth": 3,
    "use_high_res_features": True,
    "iou_prediction_use_sigmoid": True,
    "pred_obj_scores": True,
    "pred_obj_scores_mlp": True,
    "use_multimask_token_for_obj_ptr": True,
}
TRANSFORMER_DEFAULTS = {"depth": 2, "num_heads": 8, "mlp_dim": 2048}


def learned(*shape: int) -> nn.Parameter:
    """An embedding of this shape."""
    return nn.Parameter(nn.init.trunc_normal_(torch.zeros(*shape), std=0.02))


def make_prompt_encoder(width: int, grid: int, image_size: int, mask_in_chans: int) -> nn.Module:
    """A prompt encoder for square pictures of ``image_size`` and features of side ``grid``."""
    return PromptEncoder(
        embed_dim=width,
        image_embedding_size=(grid, grid),
        input_image_size=(image_size, image_size),
        mask_in_chans=mask_in_chans,
    )


def make_mask_decoder(
    width: int, decoder: Mapping[str, Any] | None, transformer: Mapping[str, int] | None
) -> nn.Module:
    """A mask decoder of ``width`` channels; the keywords given replace the released ones."""
    return MaskDecoder(
        transformer_dim=width,
        transformer=TwoWayTransformer(
            embedding_dim=width, **{**TRANSFORMER_DEFAULTS, **(transformer or {})}
        ),
        **{**DECODER_DEFAULTS, "iou_head_hidden_dim": width, **(decoder or {})},
    )


def compile_parts(tracker: nn.Module) -> None:
    """Compile memory encoder, memory attention and mask decoder of a tracker in place."""
    from ...perflib.compile import compile_wrapper

    for part, dynamic in (
        (tracker.maskmem_backbone, False),
        (tracker.transformer.encoder, True),  # the number of memories varies
        (tracker.sam_mask_decoder, False),
    ):
        part.forward = compile_wrapper(part.forward, mode="max-autotune", dynamic=dynamic)
