"""Formula-made weights: the scheme that the golden numbers were measured with.

Each tensor is filled from its own generator, seeded by the crc32 of its name and the global seed,
uniform with a standard deviation chosen by the name, so a part can be filled alone (``prefix``).
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

COMPUTED = ("freqs_cis", "freqs_cis_real", "freqs_cis_imag", "attn_mask", "relative_coords")

# substring of the name -> (kind, value); the first match wins. "std": weight std;
# "gain": std = value / sqrt(fan in); "const": value plus noise of std 0.05
RULES: tuple[tuple[str, str, float], ...] = (
    ("transformer.decoder.presence_token_head.layers.2.bias", "const", 3.0),
    ("dot_prod_scoring.hs_proj.bias", "const", 0.15),
    ("dot_prod_scoring.prompt_proj.bias", "const", 0.15),
    ("pred_obj_score_head.layers.2.bias", "const", 2.0),
    ("trunk.pos_embed", "std", 0.2),
    ("positional_embedding", "std", 0.1),
    ("token_embedding.weight", "std", 0.5),
    ("positional_encoding_gaussian_matrix", "std", 1.0),
    ("decoder.query_embed.weight", "std", 1.0),
    ("decoder.reference_points.weight", "std", 1.3),
    ("presence_token.weight", "std", 0.5),
    ("label_embed.weight", "std", 0.5),
    ("cls_embed.weight", "std", 0.5),
    ("point_embeddings.", "std", 0.5),
    ("not_a_point_embed.weight", "std", 0.5),
    ("no_mask_embed.weight", "std", 0.5),
    ("mask_tokens.weight", "std", 0.5),
    ("iou_token.weight", "std", 0.5),
    ("obj_score_token.weight", "std", 0.5),
    ("maskmem_tpos_enc", "std", 0.2),
    ("no_mem_embed", "std", 0.2),
    ("no_mem_pos_enc", "std", 0.2),
    ("no_obj_ptr", "std", 0.2),
    ("no_obj_embed_spatial", "std", 0.2),
    ("decoder.bbox_embed.layers.2.weight", "gain", 0.6),
    ("boxRPB_embed_x.layers.1.weight", "gain", 2.0),
    ("boxRPB_embed_y.layers.1.weight", "gain", 2.0),
    ("mask_predictor.mask_embed.layers.2.weight", "gain", 0.5),
    ("output_hypernetworks_mlps.", "gain", 0.6),
    ("transformer.decoder.ref_point_head.layers.1.weight", "gain", 2.0),
    ("decoder.layers.0.self_attn.out_proj.weight", "gain", 0.5),
)
TRANSPOSED = ("dconv_2x2", "output_upscaling.0.", "output_upscaling.3.")


def _fan_in(name: str, shape: tuple[int, ...]) -> int:
    if len(shape) == 2:
        return shape[0] if name.endswith("text_projection") else shape[1]
    if len(shape) == 4 and any(t in name for t in TRANSPOSED):
        return shape[0]
    return max(math.prod(shape[1:]), 1)


def _std_and_mean(name: str, shape: tuple[int, ...]) -> tuple[float, float]:
    for key, kind, value in RULES:
        if key not in name:
            continue
        if kind == "const":
            return 0.05, value
        if kind == "std":
            return value, 0.0
        if len(shape) >= 2:
            return value / math.sqrt(_fan_in(name, shape)), 0.0
    if name.rsplit(".", 1)[-1] == "gamma":
        return 0.1, 1.0
    if len(shape) <= 1:
        return (
            (0.1, 1.0)
            if name.endswith("weight") and name.rsplit(".", 1)[-1] == "weight"
            else (0.05, 0.0)
        )
    return 1.0 / math.sqrt(_fan_in(name, shape)), 0.0


def value_for(name: str, shape: Iterable[int], seed: int = 0) -> Tensor:
    """The float32 tensor of this scheme for (name, shape)."""
    shape = tuple(shape)
    generator = torch.Generator().manual_seed(
        (zlib.crc32(name.encode()) + 0x9E3779B1 * (seed + 1)) % (1 << 63)
    )
    std, mean = _std_and_mean(name, shape)
    uniform = torch.rand(shape, generator=generator, dtype=torch.float32)
    return uniform.mul_(2.0).sub_(1.0).mul_(std * math.sqrt(3.0)).add_(mean)


@torch.no_grad()
def fill_state(state: Mapping[str, Tensor], seed: int = 0, prefix: str = "") -> None:
    """Fill the floating-point tensors of ``state`` in place; computed buffers stay."""
    for name, tensor in state.items():
        if tensor.is_floating_point() and not name.endswith(COMPUTED):
            tensor.copy_(value_for(prefix + name, tensor.shape, seed))
