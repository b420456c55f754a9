"""Which pictures a command line means, and how their outputs are called.

Paths, folders and globs become a list of ``Source``. Every source gets an output stem of its own:
pictures of different folders, or of one name with different suffixes, never overwrite each other.
"""

from __future__ import annotations

import glob
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError

PICTURE_SUFFIXES = frozenset(
    ".avif .bmp .gif .jfif .jp2 .jpeg .jpg .pbm .pgm .png .pnm .ppm .tga .tif .tiff .webp".split()
)
_GLOB_CHARACTERS = frozenset("*?[")


@dataclass(frozen=True)
class Source:
    """One picture to be done.

    Attributes:
        path: the file, as the user wrote it or as it was found.
        folder: where below the output folder its results go (sub-folders of a folder argument).
        problem: why it cannot be done, where that is known already; else an empty text.
    """

    path: Path
    folder: Path = Path()
    problem: str = ""


def names_picture(text: str) -> bool:
    """Whether an argument is a file, folder or glob with matches rather than a phrase."""
    try:
        if Path(text).exists():
            return True
    except (OSError, ValueError):  # too long for a path, or with characters none can have
        return False
    return bool(_GLOB_CHARACTERS & set(text)) and bool(glob.glob(text, recursive=True))


def expand(arguments: Sequence[str], output: Path, recursive: bool = False) -> list[Source]:
    """Pictures that the arguments stand for, in their order, each once.

    Args:
        arguments: files, folders (their pictures, by suffix) and globs (``**`` works).
        output: the output folder; nothing inside it is taken as an input.
        recursive: whether sub-folders of folder arguments are searched too.

    Returns:
        Sources; what does not exist, or holds no picture, is one with a ``problem``.

    Raises:
        InputError: a folder argument is the output folder itself, so that results would be taken
            for pictures at the next run.
    """
    found: dict[Path, Source] = {}
    for argument in arguments:
        for source in _expand_one(argument, output, recursive):
            found.setdefault(identity(source.path), source)
    return list(found.values())


def assign_stems(sources: Sequence[Source]) -> list[Path]:
    """An output stem for every source, unique without regard to letter case.

    The plain name where it is free; among sources of one name the suffix is added, then the
    parent folder, then a short hash of the path. A picture keeps its stem whatever the order.

    Args:
        sources: pictures to be done.

    Returns:
        Paths below the output folder, without suffix, in the order of the sources.
    """
    schemes: list[Callable[[Path], str]] = [
        lambda p: p.stem,
        lambda p: f"{p.stem}-{p.suffix[1:]}",
        lambda p: f"{identity(p).parent.name}-{p.stem}",
        lambda p: f"{identity(p).parent.name}-{p.stem}-{p.suffix[1:]}",
        lambda p: f"{p.stem}-{_short_hash(p)}",
    ]
    stems = [s.folder / schemes[0](s.path) for s in sources]
    for scheme in schemes[1:]:
        counts = Counter(_key(s) for s in stems)
        clashing = {key for key, number in counts.items() if number > 1}
        if not clashing:
            break
        taken = {key for key in counts if key not in clashing}
        stems = _rename(sources, stems, clashing, taken, scheme)
    return stems


def _rename(
    sources: Sequence[Source],
    stems: list[Path],
    clashing: set[str],
    taken: set[str],
    scheme: Callable[[Path], str],
) -> list[Path]:
    """New stems for the clashing ones; a group keeps clashing if the scheme does not part it."""
    renamed = list(stems)
    for key in sorted(clashing):
        members = [i for i, stem in enumerate(stems) if _key(stem) == key]
        fresh = [sources[i].folder / scheme(sources[i].path) for i in members]
        keys = {_key(f) for f in fresh}
        if len(keys) == len(fresh) and not keys & taken:
            taken |= keys
            for i, stem in zip(members, fresh, strict=True):
                renamed[i] = stem
    return renamed


def _short_hash(path: Path) -> str:
    """Ten hex digits that stand for an absolute path."""
    text = str(identity(path)).encode("utf-8", "surrogateescape")
    return hashlib.sha256(text).hexdigest()[:10]


def _key(stem: Path) -> str:
    return stem.as_posix().casefold()


def identity(path: Path) -> Path:
    """The absolute path without links, or as near to it as the file system lets one come."""
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):
        return path.absolute()


def _expand_one(argument: str, output: Path, recursive: bool) -> Iterable[Source]:
    path = Path(argument).expanduser()
    try:
        is_folder, exists = path.is_dir(), path.exists()
    except (OSError, ValueError) as error:
        return [Source(Path(argument), problem=f"not a usable path: {error}")]
    if is_folder:
        return _from_folder(path, output, recursive)
    if exists:
        return [Source(path)]
    if _GLOB_CHARACTERS & set(argument):
        matches = sorted(Path(m) for m in glob.glob(str(path), recursive=True))
        files = [m for m in matches if m.is_file() and not _inside(m, output)]
        return [Source(m) for m in files] or [Source(path, problem="the pattern matches no file")]
    return [Source(path, problem="no such file")]


def _from_folder(folder: Path, output: Path, recursive: bool) -> list[Source]:
    if identity(folder) == identity(output):
        raise InputError(
            f"{folder} is both the input and the output folder. Give another one with --output."
        )
    entries = folder.rglob("*") if recursive else folder.iterdir()
    pictures = sorted(p for p in entries if p.suffix.lower() in PICTURE_SUFFIXES and p.is_file())
    sources = [
        Source(p, folder=p.parent.relative_to(folder)) for p in pictures if not _inside(p, output)
    ]
    return sources or [Source(folder, problem="the folder holds no picture")]


def _inside(path: Path, folder: Path) -> bool:
    return identity(path).is_relative_to(identity(folder))
