"""Fetch published weights from the Hugging Face Hub: resumable, verified, atomic.

``fetch_weights`` writes to a hidden ``.partial`` file inside the target folder, checks size and
SHA-256, and only then gives the file its name. A lock file makes concurrent callers wait for one
transfer; the operating system frees it when a process dies.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

from ..errors import DownloadError, InputError, MissingDependencyError
from .catalog import CATALOG, default_folders, find_local

if TYPE_CHECKING:
    from filelock import BaseFileLock

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
ENDPOINT: str | None = None  # None = the Hub, or what HF_ENDPOINT names
_SHA256 = re.compile(r"[0-9a-f]{64}")
_HASH_CHUNK = 16 * 1024 * 1024
_LOCK_POLL_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class Source:
    """One place that publishes a weight file.

    Attributes:
        repo: repository on the Hub.
        path: the file inside it; its last part is the local file name.
        gated: needs a token whose owner accepted the licence.
        size: pinned bytes, or None to take what the Hub says.
        sha256: pinned hash, or None to take what the Hub says.
    """

    repo: str
    path: str
    gated: bool = False
    size: int | None = None
    sha256: str | None = None

    @property
    def file_name(self) -> str:
        """Name of the local file."""
        return self.path.rsplit("/", 1)[-1]

    @property
    def page(self) -> str:
        """Where a person finds the file."""
        return f"https://huggingface.co/{self.repo}"


SOURCES: dict[str, tuple[Source, ...]] = {
    "sam3": (
        Source(repo="facebook/sam3", path="sam3.pt", gated=True),
        Source(repo="1038lab/sam3", path="sam3.pt"),
    ),
    "sam3.1": (
        Source(
            repo="Comfy-Org/sam3.1",
            path="checkpoints/sam3.1_multiplex_fp16.safetensors",
            size=1_745_546_848,
            sha256="9ba99c92703c2e8b4f47de2d34a539bb8e18923049e238b780d70dbe6368eb03",
        ),
    ),
}


def fetch_weights(
    name: str,
    folder: str | os.PathLike[str] | None = None,
    *,
    token: str | None = None,
    progress: Progress | None = None,
    offline: bool | None = None,
) -> Path:
    """Path of published weights, downloaded into ``folder`` unless they are there already.

    Args:
        name: a known model (``sam3``, ``sam3.1``).
        folder: where the file goes; None = the first of ``catalog.default_folders``.
        token: Hugging Face token; None uses the machine's own, if any. ``sam3`` comes from the
            gated original with a token, else (or if that refuses) from the open mirror.
        progress: called with (bytes done, bytes in all); an exception it raises stops the
            download, which a later call resumes.
        offline: never use the network; None follows ``HF_HUB_OFFLINE``.

    Raises:
        InputError: no such model.
        DownloadError: offline, refused, interrupted or not the published file; names the file,
            the folder and the page. No file is left under the final name.
        MissingDependencyError: ``huggingface_hub`` is not installed.
    """
    target = Path(folder) if folder is not None else default_folders()[0]
    local = find_local(name, [target]) if name in CATALOG else None
    if local is not None:
        return local
    if name not in SOURCES:
        raise InputError(f"No download is known for {name!r}; known: {', '.join(SOURCES)}.")
    hub = _import_hub()
    sources = _usable_sources(name, token or hub.get_token())
    if hub.constants.HF_HUB_OFFLINE if offline is None else offline:
        raise _failure(name, target, sources, ["offline mode is on"])
    reasons = []
    for source in sources:
        try:
            return _fetch(source, target, token, progress)
        except (DownloadError, OSError) as error:
            reasons.append(f"{source.repo}: {error}")
            logger.warning("%s could not be fetched from %s", source.file_name, reasons[-1])
    raise _failure(name, target, sources, reasons)


def _import_hub() -> Any:
    try:
        import huggingface_hub
        import huggingface_hub.constants
    except ImportError as error:
        raise MissingDependencyError(
            "Downloading weights needs huggingface_hub: pip install huggingface_hub"
        ) from error
    return huggingface_hub


def _usable_sources(name: str, token: str | None) -> list[Source]:
    return [source for source in SOURCES[name] if token or not source.gated]


def _failure(name: str, folder: Path, sources: list[Source], reasons: list[str]) -> DownloadError:
    pages = " or ".join(source.page for source in sources)
    return DownloadError(
        f"The weights of {name!r} could not be downloaded ({'; '.join(reasons)}). Download "
        f"{sources[0].file_name} yourself from {pages} and put it into {folder.resolve()}, or "
        f"try again: what was received so far is kept and resumed."
    )


def _fetch(source: Source, folder: Path, token: str | None, progress: Progress | None) -> Path:
    """Download one file under a lock; returns its final path."""
    final = folder / source.file_name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DownloadError(f"the folder {folder} cannot be made ({error})") from error
    with _ProcessLock(folder / f".{source.file_name}.lock", source, progress):
        if final.is_file():  # another process was faster
            return final
        remote = _remote_file(source, token)
        partial = folder / f".{source.file_name}.{remote.key}.partial"
        _transfer(remote, partial, progress)
        _verify(remote, partial, progress)
        os.replace(partial, final)
        for leftover in folder.glob(f".{source.file_name}.*.partial"):
            leftover.unlink(missing_ok=True)  # of an earlier version of the published file
    return final


class _ProcessLock:
    """Hold an inter-process lock; ``progress`` is called while waiting, so it can cancel."""

    def __init__(self, path: Path, source: Source, progress: Progress | None) -> None:
        from filelock import FileLock

        self._lock: BaseFileLock = FileLock(str(path))
        self._source = source
        self._progress = progress

    def __enter__(self) -> None:
        from filelock import Timeout

        told = False
        while True:
            try:
                self._lock.acquire(timeout=_LOCK_POLL_SECONDS)
                return
            except NotImplementedError:
                # Harmless: two writers at worst spoil the partial file, and the hash tells.
                logger.warning("this file system has no locks; run one download at a time")
                return
            except Timeout:
                if not told:
                    logger.info("waiting for another download of %s", self._source.file_name)
                    told = True
                if self._progress is not None:
                    self._progress(0, self._source.size or 0)

    def __exit__(self, *exception: object) -> None:
        self._lock.release()


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A file as the Hub describes it right now.

    Attributes:
        url: where its bytes are.
        headers: request headers (with the token only for the Hub's own host).
        size: bytes.
        sha256: hash, or None where the server does not tell one.
        key: short text that changes with the content; names the partial file.
    """

    url: str
    headers: dict[str, str]
    size: int
    sha256: str | None
    key: str


def _remote_file(source: Source, token: str | None) -> RemoteFile:
    from huggingface_hub import get_hf_file_metadata, get_token, hf_hub_url
    from huggingface_hub.utils import build_hf_headers

    url = hf_hub_url(source.repo, source.path, endpoint=ENDPOINT)
    # An outdated token is refused even for open files, so those are asked for without one.
    credential: str | bool = (token or get_token() or False) if source.gated else False
    try:
        found = get_hf_file_metadata(url, token=credential)
    except Exception as error:
        raise DownloadError(_reason(error, source)) from error
    size = source.size if source.size is not None else found.size
    etag = found.etag or ""
    sha256 = etag if _SHA256.fullmatch(etag) else None
    if size is None:
        raise DownloadError("the server does not tell the size of the file")
    if (found.size not in (None, size)) or (source.sha256 and sha256 not in (None, source.sha256)):
        raise DownloadError(
            f"the published file is no longer the known one (size {found.size}, SHA-256 {etag}; "
            f"expected {size}, {source.sha256})"
        )
    headers = build_hf_headers(token=credential)
    location = found.location or url
    if urlparse(location).netloc != urlparse(url).netloc:
        headers = {k: v for k, v in headers.items() if k.lower() != "authorization"}
    key = hashlib.sha256(f"{source.repo}/{source.path}/{etag}/{size}".encode()).hexdigest()[:12]
    return RemoteFile(
        url=location, headers=headers, size=size, sha256=source.sha256 or sha256, key=key
    )


class _Receiver(io.FileIO):
    """The partial file; reports its length after each piece written."""

    def __init__(self, path: Path, total: int, progress: Progress | None) -> None:
        super().__init__(path, "r+b" if path.exists() else "w+b")
        self.seek(0, io.SEEK_END)
        self._total = total
        self._progress = progress
        self.stopped_by: BaseException | None = None

    def write(self, data: Any) -> int:
        """Write all of ``data``."""
        view = memoryview(data)
        done = 0
        while done < len(view):
            done += super().write(view[done:]) or 0
        if self._progress is not None:
            try:
                self._progress(self.tell(), self._total)
            except BaseException as error:
                self.stopped_by = error  # the caller's own exception, to be raised unchanged
                raise
        return done


def _transfer(remote: RemoteFile, partial: Path, progress: Progress | None) -> None:
    """Bring the partial file to its full length, continuing where it stopped."""
    from huggingface_hub.file_download import http_get

    done = partial.stat().st_size if partial.exists() else 0
    if done > remote.size:
        partial.unlink()
        done = 0
    free = shutil.disk_usage(partial.parent).free
    if free < remote.size - done:
        raise DownloadError(
            f"not enough space: {remote.size - done} bytes are needed, {free} are free"
        )
    if done == remote.size:
        return
    if done:
        logger.info("resuming at %d of %d bytes", done, remote.size)
    with _Receiver(partial, remote.size, progress) as file:
        try:
            http_get(
                remote.url,
                file,
                resume_size=done,
                headers=remote.headers,
                expected_size=remote.size,
            )
        except Exception as error:
            if file.stopped_by is not None:
                raise file.stopped_by from None
            raise DownloadError(_reason(error)) from error
        os.fsync(file.fileno())


def _verify(remote: RemoteFile, partial: Path, progress: Progress | None) -> None:
    """Compare size and hash with what was published; a wrong file is deleted."""
    size = partial.stat().st_size
    digest = hashlib.sha256()
    if size == remote.size and remote.sha256 is not None:
        with open(partial, "rb") as file:
            while chunk := file.read(_HASH_CHUNK):
                digest.update(chunk)
                if progress is not None:
                    progress(size, size)
        if digest.hexdigest() == remote.sha256:
            return
        partial.unlink()
        raise DownloadError(
            f"what was received is damaged (SHA-256 {digest.hexdigest()}, expected "
            f"{remote.sha256}) and was deleted"
        )
    if size != remote.size:
        partial.unlink()
        raise DownloadError(f"received {size} bytes, expected {remote.size}; deleted")
    logger.warning("%s: the server tells no SHA-256, only the size was checked", remote.url)


def _reason(error: Exception, source: Source | None = None) -> str:
    """Why a request failed, in a few words."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        asks = "accept its licence on the page and use a token of that account"
        return f"access refused (HTTP {status}); {asks if source and source.gated else 'try later'}"
    if status == 404:
        return "there is no such file (HTTP 404)"
    text = str(error).strip().split("\n", 1)[0][:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
