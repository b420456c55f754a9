"""The finished frames of a video on disk, one JSON line each, until the video is done.

The first line says what they were made with. A line counts when it is whole, so the file is good at
any moment. Only the places of the lines are kept in memory.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

FORMAT_VERSION = 1
Record = dict[str, Any]


class Journal:
    """Records by frame number, in a file that is made at the first record."""

    def __init__(self, path: Path, key: Mapping[str, Any], resume: bool) -> None:
        """Nothing is written yet.

        Args:
            path: the file.
            key: what the results depend on, as JSON-able values.
            resume: take over the records of an earlier run with the same key.
        """
        self._path = path
        self._header = json.loads(json.dumps({"format": FORMAT_VERSION, "key": key}))
        self._places: dict[int, int] = {}
        self._end = 0
        self._file: IO[bytes] | None = None
        if resume:
            self._take_over()

    def __contains__(self, frame: object) -> bool:
        return frame in self._places

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[int]:
        """Frame numbers in order."""
        return iter(sorted(self._places))

    def __getitem__(self, frame: int) -> Record:
        """The record of a frame; KeyError where there is none."""
        place = self._places[frame]
        file = self._opened()
        file.seek(place)
        return json.loads(file.readline())

    def add(self, record: Record) -> None:
        """Append the record of a frame, ``record["frame"]``."""
        file = self._opened()
        file.seek(self._end)
        file.write(_line(record))
        file.flush()
        self._places[int(record["frame"])] = self._end
        self._end = file.tell()

    def close(self) -> None:
        """Close the file; it stays on disk."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def delete(self) -> None:
        """Remove the file: the video is done."""
        self.close()
        self._path.unlink(missing_ok=True)

    def _take_over(self) -> None:
        """Find the whole records of an earlier run."""
        try:
            file = open(self._path, "rb")
        except OSError:
            return
        with file:
            if _parsed(file.readline()) != self._header:
                return
            place = file.tell()
            for line in file:
                record = _parsed(line)
                if record is None:
                    break
                self._places[int(record["frame"])] = place
                place += len(line)
                self._end = place

    def _opened(self) -> IO[bytes]:
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0))
            self._file = os.fdopen(descriptor, "r+b")
            self._file.truncate(self._end)  # what follows is half a line, or of another run
            if self._end == 0:
                self._file.write(_line(self._header))
                self._end = self._file.tell()
        return self._file


def _line(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _parsed(line: bytes) -> Any:
    """What a line says; None where it is not whole."""
    try:
        return json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
