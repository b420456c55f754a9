"""What the user did so far decides how the next propagation runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from ..tracker.records import ItemAccess


class ActionType(str, Enum):
    """What an entry of the history is about."""

    ADD = "add"
    REMOVE = "remove"
    REFINE = "refine"
    FULL = "propagation_full"
    PARTIAL = "propagation_partial"
    FETCH = "propagation_fetch"


RUNS = (ActionType.FULL, ActionType.PARTIAL)
PROPAGATIONS = (*RUNS, ActionType.FETCH)


@dataclass(frozen=True)
class Action(ItemAccess):
    """One entry: frame_idx is None for actions on no frame; obj_ids None means all objects.

    reverse: which way a propagation went.
    """

    type: ActionType
    frame_idx: int | None = None
    obj_ids: list[int] | None = None
    reverse: bool = False


def next_propagation(
    history: Sequence[Action], num_frames: int
) -> tuple[ActionType, list[int] | None]:
    """How to propagate next (full, partial or fetch), and for partial the object ids.

    Nothing done yet: full. After clicks: partial, on the clicked objects. The second pass of a
    pair that covers the video in both directions is of the same type as the first; after that, or
    after a pass from one end of the video to the other, the results are fetched.
    """
    if not history:
        return ActionType.FULL, None
    last = history[-1]
    if last.type is ActionType.FETCH:
        return ActionType.FETCH, None
    if last.type in RUNS:
        second = len(history) > 1 and history[-2].type in RUNS
        if second or last.frame_idx == (num_frames - 1 if last.reverse else 0):
            return ActionType.FETCH, None
        return last.type, last.obj_ids
    touched: set[int] = set()
    for action in reversed(history):
        if action.type in PROPAGATIONS:
            break
        if action.type is not ActionType.REMOVE:
            touched |= set(action.obj_ids or ())
    if touched:
        return ActionType.PARTIAL, sorted(touched)
    return ActionType.FETCH, None
