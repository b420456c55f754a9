"""What is wrong with a data set: one entry per row and fault, and their text."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Literal

from ....errors import InputError

Section = Literal["file", "images", "categories", "annotations", "videos", "video_np_pairs"]
Remedy = Literal["leave out", "use without mask", "cut at the edges", "none"]

# Every kind of problem, in the order of the report.
KINDS = (
    "empty set",
    "incomplete row",
    "duplicate id",
    "unknown id",
    "missing image",
    "unreadable image",
    "wrong size",
    "NaN",
    "bad box",
    "box outside",
    "bad mask",
    "image without masks",
    "category without images",
)
_SINGULAR = {
    "images": "image",
    "categories": "category",
    "annotations": "annotation",
    "videos": "video",
    "video_np_pairs": "pair",
}


@dataclass(frozen=True)
class Problem:
    """One fault.

    kind: one of ``KINDS``; section and row: where it stands in the file; identifier: the row's
    id, None if it has none; detail: what is wrong; remedy: what skipping does about it.
    """

    kind: str
    section: Section
    row: int
    identifier: object
    detail: str
    remedy: Remedy = "leave out"

    def __str__(self) -> str:
        if self.section == "file":
            return self.detail
        number = f"number {self.row + 1}" if self.identifier is None else str(self.identifier)
        return f"{_SINGULAR[self.section]} {number}: {self.detail}"


@dataclass(frozen=True)
class DataReport:
    """All problems of an annotation file. It is true if there are any.

    name: of the file; problems: all of them; counts: section -> rows in it.
    """

    name: str
    problems: tuple[Problem, ...]
    counts: dict[str, int]

    def __bool__(self) -> bool:
        return bool(self.problems)

    def without(self, kinds: Collection[str]) -> DataReport:
        """The report without some kinds. Raises InputError for kinds that do not exist."""
        unknown = sorted(set(kinds) - set(KINDS))
        if unknown:
            raise InputError(f"unknown kinds of problems {unknown}; there are {', '.join(KINDS)}")
        return replace(self, problems=tuple(p for p in self.problems if p.kind not in kinds))

    def text(self) -> str:
        """Every problem on a line of its own, by kind and in the order of the file."""
        sizes = ", ".join(f"{n} {section}" for section, n in self.counts.items())
        count = len(self.problems)
        lines = [f"{self.name}: {count} problem{'s' * (count != 1)} ({sizes})"]
        groups: dict[str, list[Problem]] = defaultdict(list)
        for problem in self.problems:
            groups[problem.kind].append(problem)
        for kind in KINDS:
            if kind in groups:
                lines.append(f"{kind} ({len(groups[kind])})")
                lines += [f"  {problem}" for problem in groups[kind]]
        return "\n".join(lines)
