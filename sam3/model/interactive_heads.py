"""The part of a tracker that prompts on pictures need: SAM heads without memory.

Stands in for a tracker inside the interactive predictor where there is no tracker of this
package's shape, as with SAM 3.1 files.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ..errors import SessionError
from ..layers.mlp import MLP
from ..sam.mask_decoder import MaskDecoder
from ..sam.prompt_encoder import PromptEncoder

MASK_PROMPT_STRIDE = 4


class InteractiveHeads(nn.Module):
    """Prompt encoder, mask decoder and the embedding of "no memory", named as in a tracker.

    ``image_size``: side of the square picture that coordinates refer to. ``backbone``: encodes
    pictures into ``sam2_backbone_out``; None if features come from elsewhere. The projections for
    object pointers and masks as answers are there because the weight files have them.
    """

    def __init__(
        self,
        prompt_encoder: PromptEncoder,
        mask_decoder: MaskDecoder,
        image_size: int = 1008,
        backbone: nn.Module | None = None,
    ) -> None:
        super().__init__()
        dim = mask_decoder.transformer_dim
        self.image_size = image_size
        self.backbone = backbone
        self.no_mem_embed = nn.Parameter(prompt_encoder.no_mask_embed.weight.new_zeros(1, 1, dim))
        nn.init.trunc_normal_(self.no_mem_embed, std=0.02)
        self.mask_downsample = nn.Conv2d(1, 1, MASK_PROMPT_STRIDE, MASK_PROMPT_STRIDE)
        self.sam_prompt_encoder = prompt_encoder
        self.sam_mask_decoder = mask_decoder
        self.obj_ptr_proj = MLP(dim, dim, dim, 3)

    def forward_image(self, img_batch: Tensor) -> dict[str, Any]:
        """Pictures [B, 3, S, S] -> ``backbone_fpn`` (finer levels projected) and more."""
        if self.backbone is None:
            raise SessionError("these heads have no image encoder: give features instead")
        return project_fine_levels(
            self.sam_mask_decoder, self.backbone.forward_image(img_batch)["sam2_backbone_out"]
        )


def project_fine_levels(mask_decoder: MaskDecoder, backbone_out: dict[str, Any]) -> dict[str, Any]:
    """``backbone_out`` with its two finest levels through the decoder's ``conv_s0`` / ``conv_s1``.

    ``backbone_fpn``: levels of [B, C, ., .], finest first. The given dict is not changed; results
    have the dtype of the decoder's weights.
    """
    fine, middle, *coarse = backbone_out["backbone_fpn"]
    dtype = mask_decoder.conv_s0.weight.dtype
    projected = [
        mask_decoder.conv_s0(fine.to(dtype)),
        mask_decoder.conv_s1(middle.to(dtype)),
    ]
    return backbone_out | {"backbone_fpn": projected + coarse}
