"""Results of all processes in one list: each data point once, in an order of its own.

A sampler that shares a data set out evenly hands some data points to two processes; an entry
remembers which questions it answers, so that answers given twice count once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from ..perflib.distributed import Collective, GroupCollective
from .files import read_json, write_json_rows

ENTRIES_PER_ROUND = 2000
# The others wait while process 0 evaluates the predictions of a whole benchmark.
PATIENCE = timedelta(hours=6)


@dataclass(frozen=True)
class Entry:
    """What one data point gave.

    source_id: id of the picture or video; questions: what was asked about it, pairs of (id of the
    image, id of the category); rows: plain values for JSON.
    """

    source_id: int
    questions: tuple[tuple[int, int], ...]
    rows: list[dict[str, Any]]

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Entry:
        """The entry of a dict as of ``asdict`` that went through JSON."""
        questions = tuple((int(a), int(b)) for a, b in plain["questions"])
        return cls(plain["source_id"], questions, plain["rows"])


def current_collective() -> Collective:
    """The processes of torch.distributed where they are set up, else this process alone.

    Called by all processes at once.
    """
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        return GroupCollective(PATIENCE)
    return Collective()


def gather_entries(
    entries: Sequence[Entry], collective: Collective, folder: Path | None = None
) -> list[Entry] | None:
    """Entries of all processes without repetitions, sorted by source and question.

    Args:
        entries: those of this process.
        folder: exchange through files in this folder, which all processes see, rather than
            through messages.

    Returns:
        the entries in process 0, None in the others.
    """
    if folder is None or collective.world_size == 1:
        parts = _by_messages(entries, collective)
    else:
        parts = _by_files(entries, collective, folder)
    return None if parts is None else merge(parts)


def _by_messages(entries: Sequence[Entry], collective: Collective) -> list[Entry] | None:
    """Rounds of bounded size: a message of everything could outgrow the memory of process 0."""
    counts = collective.gather_objects(len(entries))
    most = collective.broadcast(lambda: max(counts or [0]))
    parts: list[list[Entry]] = [[] for _ in range(collective.world_size)]
    for start in range(0, most, ENTRIES_PER_ROUND):
        received = collective.gather_objects(list(entries[start : start + ENTRIES_PER_ROUND]))
        for part, more in zip(parts, received or [], strict=False):
            part.extend(more)
    return [entry for part in parts for entry in part] if collective.rank == 0 else None


def _by_files(entries: Sequence[Entry], collective: Collective, folder: Path) -> list[Entry] | None:
    paths = [folder / f"entries_of_rank_{rank}.json" for rank in range(collective.world_size)]
    write_json_rows(paths[collective.rank], (asdict(entry) for entry in entries))
    collective.barrier()
    if collective.rank != 0:
        return None
    found = [Entry.from_plain(plain) for path in paths for plain in read_json(path)]
    for path in paths:
        path.unlink()
    return found


def merge(entries: Iterable[Entry]) -> list[Entry]:
    """Drop entries all of whose questions were answered before; sort the others."""
    seen: set[tuple[int, int]] = set()
    kept = []
    for entry in entries:
        if not seen.issuperset(entry.questions):
            kept.append(entry)
        seen.update(entry.questions)
    return sorted(kept, key=lambda entry: (entry.source_id, entry.questions))
