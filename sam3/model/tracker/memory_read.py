"""Reading the memory bank: choose memories, lay them out as tokens, attend to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from .memory_select import choose_memories
from .memory_tokens import TimeCodes, assemble
from .types import Items, MemoryRules


def attend_to_memories(
    attention: nn.Module,
    slots: Tensor,
    pointer_proj: nn.Module,
    features: Tensor,
    positions: Tensor,
    frame_idx: int,
    num_frames: int,
    reverse: bool,
    bank: Any,
    rules: MemoryRules,
) -> Tensor:
    """Features [H * W, B, C] of a frame after they looked at what the bank holds.

    Args:
        attention: memory attention. slots, pointer_proj: see :class:`.memory_tokens.TimeCodes`.
        positions: [H * W, B, C].
        bank: ``cond_frame_outputs`` and ``non_cond_frame_outputs`` by item access.

    Raises:
        SessionError: the bank has no memory for this frame.
    """
    cond, others = bank["cond_frame_outputs"], bank["non_cond_frame_outputs"]
    selecting = rules.score_threshold is not None
    scores = worths(others) if selecting else dict.fromkeys(others)
    choice = choose_memories(frame_idx, num_frames, reverse, list(cond), scores, rules)
    codes = TimeCodes(slots, pointer_proj, min(num_frames, rules.max_obj_ptrs) - 1)
    memory = assemble(choice, cond, others, codes, features.device)
    return attention(
        src=features,
        src_pos=positions,
        prompt=memory.tokens,
        prompt_pos=memory.positions,
        num_obj_ptr_tokens=memory.num_pointer_tokens,
    )["memory"]


def worths(frames: Mapping[int, Items]) -> dict[int, float | None]:
    """Frame -> its worth as a memory, None where it has none."""
    found = {t: frames[t].get("eff_iou_score") for t in frames}
    return {t: None if score is None else float(score) for t, score in found.items()}
