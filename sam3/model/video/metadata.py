"""What a session remembers about its tracks from frame to frame.

A frame makes a copy, changes the copy, and puts it in place at its end. Histories are copied when
they are written to, so a copy costs the same on frame 2,000 as on frame 2 but for its outer dicts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from ..tracker.records import ItemAccess


def _no_ids() -> np.ndarray:
    return np.zeros(0, np.int64)


@dataclass
class Confirmation(ItemAccess):
    """Per track, in the order of ``obj_ids_all_gpu``: status (1 unconfirmed, 2 confirmed) and on
    how many frames in a row it was detected, [N] int64 each."""

    status: np.ndarray = field(default_factory=_no_ids)
    consecutive_det_num: np.ndarray = field(default_factory=_no_ids)


@dataclass
class Rank0Metadata(ItemAccess):
    """The histories by which tracks are removed or hidden; only the planning process has them.

    obj_first_frame_idx: id -> frame; unmatched_frame_inds: id -> frames without a detection;
    trk_keep_alive: id -> counter; overlap_pair_to_frame_inds: (older id, id) -> frames on which one
    detection matched both; removed_obj_ids; suppressed_obj_ids: frame -> ids hidden there. Lists of
    frames hold the newest ``HotstartConfig.history``.
    """

    OPTIONAL: ClassVar[frozenset[str]] = frozenset(("masklet_confirmation",))

    obj_first_frame_idx: dict[int, int] = field(default_factory=dict)
    unmatched_frame_inds: dict[int, list[int]] = field(default_factory=dict)
    trk_keep_alive: dict[int, int] = field(default_factory=dict)
    overlap_pair_to_frame_inds: dict[tuple[int, int], list[int]] = field(default_factory=dict)
    removed_obj_ids: set[int] = field(default_factory=set)
    suppressed_obj_ids: dict[int, set[int]] = field(default_factory=dict)
    masklet_confirmation: Confirmation | None = None

    def copy(self) -> Rank0Metadata:
        """A copy that can be changed through the methods below without touching this one."""
        return replace(
            self,
            obj_first_frame_idx=dict(self.obj_first_frame_idx),
            unmatched_frame_inds=dict(self.unmatched_frame_inds),
            trk_keep_alive=dict(self.trk_keep_alive),
            overlap_pair_to_frame_inds=dict(self.overlap_pair_to_frame_inds),
            removed_obj_ids=set(self.removed_obj_ids),
            suppressed_obj_ids=dict(self.suppressed_obj_ids),
        )

    def add_unmatched(self, obj_id: int, frame_idx: int, most: int) -> None:
        """Note that ``obj_id`` had no detection on the frame; the newest ``most`` frames stay."""
        old = self.unmatched_frame_inds.get(obj_id, [])
        self.unmatched_frame_inds[obj_id] = [*old, frame_idx][-most:]

    def add_overlap(self, pair: tuple[int, int], frame_idx: int, most: int) -> None:
        """Note that one detection matched both tracks of ``pair`` on the frame; likewise."""
        old = self.overlap_pair_to_frame_inds.get(pair, [])
        self.overlap_pair_to_frame_inds[pair] = [*old, frame_idx][-most:]

    def suppress(self, obj_id: int, frame_idx: int) -> None:
        """Hide ``obj_id`` on the frame."""
        old = self.suppressed_obj_ids.get(frame_idx, set())
        self.suppressed_obj_ids[frame_idx] = {*old, obj_id}

    def unhide(self, obj_id: int) -> None:
        """Show ``obj_id`` again, on every frame."""
        self.removed_obj_ids = self.removed_obj_ids - {obj_id}
        hidden = {f: ids - {obj_id} for f, ids in self.suppressed_obj_ids.items()}
        self.suppressed_obj_ids = {f: ids for f, ids in hidden.items() if ids}

    def forget(self, obj_id: int) -> None:
        """Drop every note about ``obj_id``."""
        self.unhide(obj_id)
        for notes in (self.obj_first_frame_idx, self.unmatched_frame_inds, self.trk_keep_alive):
            notes.pop(obj_id, None)  # type: ignore[attr-defined]
        pairs = self.overlap_pair_to_frame_inds
        self.overlap_pair_to_frame_inds = {p: f for p, f in pairs.items() if obj_id not in p}


@dataclass
class TrackMetadata(ItemAccess):
    """The tracks of a session; every process has the same, but for ``rank0_metadata``.

    obj_ids_per_gpu: per process [n] int64; num_obj_per_gpu: [world] int64; obj_id_to_score:
    detection score at creation, 1.0 after clicks, -1e4 once removed;
    obj_id_to_tracker_score_frame_wise: frame -> {id: score of the tracker};
    obj_id_to_last_occluded: id -> int64 [1], the last frame it was empty or hidden, or -1.
    """

    obj_ids_per_gpu: list[np.ndarray] = field(default_factory=lambda: [_no_ids()])
    num_obj_per_gpu: np.ndarray = field(default_factory=lambda: np.zeros(1, np.int64))
    max_obj_id: int = -1
    obj_id_to_score: dict[int, float] = field(default_factory=dict)
    obj_id_to_tracker_score_frame_wise: dict[int, dict[int, float]] = field(default_factory=dict)
    obj_id_to_last_occluded: dict[int, Tensor] = field(default_factory=dict)
    rank0_metadata: Rank0Metadata = field(default_factory=Rank0Metadata)

    @classmethod
    def empty(cls, world_size: int = 1, *, confirmation: bool = False) -> TrackMetadata:
        """Of a session without tracks."""
        return cls(
            obj_ids_per_gpu=[_no_ids() for _ in range(world_size)],
            num_obj_per_gpu=np.zeros(world_size, np.int64),
            rank0_metadata=Rank0Metadata(
                masklet_confirmation=Confirmation() if confirmation else None
            ),
        )

    @property
    def obj_ids_all_gpu(self) -> np.ndarray:
        """All ids, process by process: [N] int64."""
        return np.concatenate(self.obj_ids_per_gpu)

    def __getitem__(self, key: str) -> Any:
        return self.obj_ids_all_gpu if key == "obj_ids_all_gpu" else super().__getitem__(key)

    def copy(self) -> TrackMetadata:
        """A copy for the next frame."""
        return replace(
            self,
            obj_ids_per_gpu=list(self.obj_ids_per_gpu),
            num_obj_per_gpu=self.num_obj_per_gpu.copy(),
            obj_id_to_score=dict(self.obj_id_to_score),
            obj_id_to_tracker_score_frame_wise=dict(self.obj_id_to_tracker_score_frame_wise),
            obj_id_to_last_occluded=dict(self.obj_id_to_last_occluded),
            rank0_metadata=self.rank0_metadata.copy(),
        )

    def has(self, obj_id: int) -> bool:
        """Whether ``obj_id`` is tracked."""
        return any(obj_id in ids for ids in self.obj_ids_per_gpu)

    def gpu_of(self, obj_id: int) -> int:
        """Process that tracks ``obj_id``; KeyError when none does."""
        for rank, ids in enumerate(self.obj_ids_per_gpu):
            if obj_id in ids:
                return rank
        raise KeyError(obj_id)

    def add_ids(self, obj_ids: Iterable[int], gpu_ids: Iterable[int]) -> None:
        """Append tracks to their processes' lists."""
        for obj_id, gpu in zip(obj_ids, gpu_ids, strict=True):
            self.obj_ids_per_gpu[gpu] = np.append(self.obj_ids_per_gpu[gpu], np.int64(obj_id))
            self.max_obj_id = max(self.max_obj_id, int(obj_id))
        self._count()

    def drop_ids(self, obj_ids: Iterable[int]) -> None:
        """Take tracks off the lists; confirmation follows, other records stay."""
        gone = np.asarray(sorted(obj_ids), np.int64)
        confirmation = self.rank0_metadata.masklet_confirmation
        if confirmation is not None and len(confirmation.status) == len(self.obj_ids_all_gpu):
            kept = ~np.isin(self.obj_ids_all_gpu, gone)
            self.rank0_metadata.masklet_confirmation = Confirmation(
                confirmation.status[kept], confirmation.consecutive_det_num[kept]
            )
        self.obj_ids_per_gpu = [ids[~np.isin(ids, gone)] for ids in self.obj_ids_per_gpu]
        self._count()

    def set_frame_scores(self, frame_idx: int, scores: dict[int, float]) -> None:
        """Write tracker scores of one frame over those already there."""
        table: Any = self.obj_id_to_tracker_score_frame_wise
        table[frame_idx] = {**table.get(frame_idx, {}), **scores}

    def _count(self) -> None:
        self.num_obj_per_gpu = np.array([len(ids) for ids in self.obj_ids_per_gpu], np.int64)
