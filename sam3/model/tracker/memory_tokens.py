"""From chosen memories to the tokens that memory attention reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...errors import SessionError
from ..sam3_tracker_utils import get_1d_sine_pe
from .types import Items, MemoryChoice, PointerMemory, SpatialMemory

Frames = Mapping[int, Items]


@dataclass(frozen=True)
class MemoryTokens:
    """tokens and positions [K, B, mem_dim]; the last ``num_pointer_tokens`` are pointers."""

    tokens: Tensor
    positions: Tensor
    num_pointer_tokens: int


@dataclass(frozen=True)
class TimeCodes:
    """How memories are told apart in time.

    slots [num_maskmem, 1, 1, mem_dim]: the last row belongs to conditioning frames, row
    ``n - 1 - t_pos`` to slot t_pos. pointer_proj: sine code of a position -> mem_dim.
    max_position: position that maps to 1.
    """

    slots: Tensor
    pointer_proj: nn.Module
    max_position: int


def assemble(
    choice: MemoryChoice, cond: Frames, others: Frames, codes: TimeCodes, device: torch.device
) -> MemoryTokens:
    """Lay the chosen memories of B objects in a row: maps first, then pointers.

    Args:
        choice: frames that were chosen. cond, others: outputs of conditioning and other frames,
            with ``maskmem_features`` [B, mem_dim, h, w], ``maskmem_pos_enc`` (a list; the last
            counts) and ``obj_ptr`` [B, C]. Records that hold None there are passed over.
        device: where the tokens go (memories may be kept elsewhere).

    Raises:
        SessionError: no memory is left.
    """
    maps = [_map_tokens(s, _find(s, cond, others), codes, device) for s in choice.spatial]
    kept = [m for m in maps if m is not None]
    tokens, positions = [m[0] for m in kept], [m[1] for m in kept]
    pointers = _pointer_tokens(choice.pointers, cond, others, codes, device)
    if pointers is not None:
        tokens.append(pointers[0])
        positions.append(pointers[1])
    if not tokens:
        raise SessionError(
            "no frame has a memory to track from; add a prompt and call "
            "propagate_in_video_preflight with run_mem_encoder=True first"
        )
    return MemoryTokens(
        torch.cat(tokens), torch.cat(positions), 0 if pointers is None else len(pointers[0])
    )


def _find(memory: SpatialMemory | PointerMemory, cond: Frames, others: Frames) -> Items:
    is_cond = memory.is_cond if isinstance(memory, PointerMemory) else memory.t_pos == 0
    t = memory.frame_idx
    return cond[t] if is_cond or t not in others else others[t]


def _map_tokens(
    memory: SpatialMemory, record: Items, codes: TimeCodes, device: torch.device
) -> tuple[Tensor, Tensor] | None:
    """Tokens and positions [h * w, B, mem_dim] of one memory map."""
    features, positions = record["maskmem_features"], record["maskmem_pos_enc"]
    if features is None or positions is None:
        return None
    slot = codes.slots[len(codes.slots) - 1 - memory.t_pos]
    placed = _sequence(positions[-1].to(device)) + slot
    # kept in bfloat16; without pointers beside them nothing else would promote them
    return _sequence(features.to(device, placed.dtype)), placed


def _sequence(x: Tensor) -> Tensor:
    return x.flatten(2).permute(2, 0, 1)


def _pointer_tokens(
    pointers: tuple[PointerMemory, ...],
    cond: Frames,
    others: Frames,
    codes: TimeCodes,
    device: torch.device,
) -> tuple[Tensor, Tensor] | None:
    """Tokens and positions [n * C / mem_dim, B, mem_dim] of n pointers, each cut into parts."""
    found = [(p.position, _find(p, cond, others)["obj_ptr"]) for p in pointers]
    found = [(position, pointer) for position, pointer in found if pointer is not None]
    if not found:
        return None
    stacked = torch.stack([pointer.to(device) for _, pointer in found])
    count, batch, width = stacked.shape
    mem_dim = codes.slots.shape[-1]
    tokens = stacked.reshape(count, batch, width // mem_dim, mem_dim).transpose(1, 2).flatten(0, 1)
    position = torch.tensor([p for p, _ in found], dtype=torch.float32, device=device)
    sine = get_1d_sine_pe(position / max(codes.max_position, 1), dim=width)
    code = codes.pointer_proj(sine.to(codes.slots.dtype))
    return tokens, code.repeat_interleave(width // mem_dim, dim=0)[:, None].expand(-1, batch, -1)
