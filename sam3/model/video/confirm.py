"""Confirmation of tracks: shown once they were detected on several frames in a row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum

import numpy as np

from .metadata import Confirmation


class MaskletConfirmationStatus(IntEnum):
    """Whether a track has been detected often enough to be shown."""

    UNCONFIRMED = 1
    CONFIRMED = 2


def update_confirmation(
    old: Confirmation,
    old_ids: Sequence[int] | np.ndarray,
    ids: Sequence[int] | np.ndarray,
    new_ids: Iterable[int],
    det_to_ids: Mapping[int, Sequence[int]],
    threshold: int,
) -> Confirmation:
    """Confirmation of the tracks ``ids`` after a frame, from ``old`` of the tracks ``old_ids``.

    A track counts as detected when it is new or overlaps a detection. A status never goes back.
    """
    status_of = dict(zip((int(i) for i in old_ids), old.status.tolist(), strict=True))
    count_of = dict(zip((int(i) for i in old_ids), old.consecutive_det_num.tolist(), strict=True))
    seen = {int(i) for matched in det_to_ids.values() for i in matched} | {int(i) for i in new_ids}
    count = [count_of.get(int(i), 0) + 1 if int(i) in seen else 0 for i in ids]
    status = [
        MaskletConfirmationStatus.CONFIRMED
        if n >= threshold
        else status_of.get(int(i), MaskletConfirmationStatus.UNCONFIRMED)
        for i, n in zip(ids, count, strict=True)
    ]
    return Confirmation(np.array(status, np.int64), np.array(count, np.int64))


def unconfirmed_ids(confirmation: Confirmation | None, ids: np.ndarray) -> set[int]:
    """Ids of the tracks that are not confirmed yet; none without confirmation."""
    if confirmation is None:
        return set()
    return {int(i) for i in ids[confirmation.status == MaskletConfirmationStatus.UNCONFIRMED]}
