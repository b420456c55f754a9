"""Downloads against a small Hub on 127.0.0.1: real transfers, resumed, verified, atomic."""

from __future__ import annotations

import hashlib
import multiprocessing
import sys
import threading
import time
from collections import namedtuple
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sam3.checkpoint import download
from sam3.checkpoint.download import Source, fetch_weights
from sam3.errors import DownloadError, InputError, MissingDependencyError

hub_constants = pytest.importorskip("huggingface_hub.constants")

CONTENT = bytes(range(256)) * 100_000  # 25.6 MB: several pieces of a transfer
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OPEN, GATED = "1038lab/sam3", "facebook/sam3"


class Hub:
    """What the fake Hub serves and what it was asked."""

    def __init__(self) -> None:
        self.content = CONTENT
        self.etag: str | None = SHA256
        self.status: dict[str, int] = {}  # repository -> error status
        self.cut_after: int | None = None  # bytes after which the connection is dropped
        self.pause = 0.0
        self.requests: list[tuple[str, str, str | None, str | None]] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.hub = self  # type: ignore[attr-defined]
        self.server.daemon_threads = True
        loop = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        loop.start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def asked(self, method: str) -> int:
        """Number of requests with this method."""
        return sum(1 for m, *_ in self.requests if m == method)


class Handler(BaseHTTPRequestHandler):
    """HEAD and GET of /owner/name/resolve/..., with ranges, errors and dropped connections."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._head()

    def do_GET(self) -> None:
        data = self._head()
        if data is not None:
            self._send(data)

    def _head(self) -> bytes | None:
        hub = self.server.hub
        repo = "/".join(self.path.split("/")[1:3])
        byte_range = self.headers.get("Range")
        hub.requests.append((self.command, repo, byte_range, self.headers.get("Authorization")))
        status = hub.status.get(repo)
        if status:
            self.send_response(status)
            if status == 403:
                self.send_header("X-Error-Code", "GatedRepo")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return None
        start = int(byte_range.removeprefix("bytes=").split("-")[0]) if byte_range else 0
        total = len(hub.content)
        self.send_response(206 if byte_range else 200)
        if byte_range:
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        self.send_header("Content-Length", str(total - start))
        self.send_header("X-Repo-Commit", "a" * 40)
        self.send_header("ETag", f'"{hub.etag}"')
        self.end_headers()
        return hub.content[start:]

    def _send(self, data: bytes) -> None:
        hub = self.server.hub
        limit = len(data) if hub.cut_after is None else hub.cut_after
        try:
            for at in range(0, limit, 1 << 20):
                self.wfile.write(data[at : min(at + (1 << 20), limit)])
                time.sleep(hub.pause)
        except OSError:
            return  # the client went away, as some tests do
        self.close_connection = limit < len(data)


@pytest.fixture
def hub(monkeypatch):
    served = Hub()
    monkeypatch.setattr(download, "ENDPOINT", served.url)
    monkeypatch.setattr(hub_constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield served
    served.server.shutdown()
    served.server.server_close()


def visible(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))


def partials(folder: Path) -> list[Path]:
    return list(folder.glob(".*.partial"))


def test_without_a_token_the_open_mirror_is_used(hub, tmp_path):
    seen = []
    path = fetch_weights("sam3", tmp_path / "new", progress=lambda *a: seen.append(a))
    assert path == tmp_path / "new" / "sam3.pt" and path.read_bytes() == CONTENT
    assert {repo for _, repo, *_ in hub.requests} == {OPEN}
    assert all(auth is None for *_, auth in hub.requests)
    done = [d for d, _ in seen]
    assert done == sorted(done) and len(set(done)) >= 3
    assert seen[-1] == (len(CONTENT), len(CONTENT)) and {t for _, t in seen} == {len(CONTENT)}
    assert visible(path.parent) == ["sam3.pt"] and partials(path.parent) == []


def test_with_a_token_the_original_is_used(hub, tmp_path):
    fetch_weights("sam3", tmp_path, token="hf_secret")
    assert {repo for _, repo, *_ in hub.requests} == {GATED}
    assert all(auth == "Bearer hf_secret" for *_, auth in hub.requests)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_refused_by_the_original_the_mirror_is_used_without_token(hub, status, tmp_path):
    hub.status[GATED] = status
    path = fetch_weights("sam3", tmp_path, token="hf_secret")
    assert path.read_bytes() == CONTENT
    assert all(auth is None for _, repo, _, auth in hub.requests if repo == OPEN)


@pytest.mark.parametrize(
    ("status", "reason"),
    [(401, "refused"), (403, "refused"), (404, "no such file"), (500, "500")],
)
def test_refused_everywhere(hub, status, reason, tmp_path):
    hub.status = {GATED: status, OPEN: status}
    with pytest.raises(DownloadError, match=reason) as info:
        fetch_weights("sam3", tmp_path, token="hf_secret")
    text = str(info.value)
    assert "sam3.pt" in text and str(tmp_path) in text
    assert f"https://huggingface.co/{GATED}" in text and f"https://huggingface.co/{OPEN}" in text
    assert "hf_secret" not in text and visible(tmp_path) == []


def test_a_local_file_wins(hub, tmp_path):
    (tmp_path / "sam3.pt").write_bytes(b"mine")
    assert fetch_weights("sam3", tmp_path).read_bytes() == b"mine"
    assert fetch_weights("sam3", tmp_path, offline=True).read_bytes() == b"mine"
    assert hub.requests == []


@pytest.mark.parametrize("by", ["argument", "environment"])
def test_offline(hub, by, tmp_path, monkeypatch):
    monkeypatch.setattr(hub_constants, "HF_HUB_OFFLINE", by == "environment")
    with pytest.raises(DownloadError, match="offline mode") as info:
        fetch_weights("sam3.1", tmp_path, offline=True if by == "argument" else None)
    text = str(info.value)
    assert "sam3.1_multiplex_fp16.safetensors" in text and str(tmp_path) in text
    assert "https://huggingface.co/Comfy-Org/sam3.1" in text and hub.requests == []


def test_no_network(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "ENDPOINT", "http://127.0.0.1:9")  # nobody listens
    with pytest.raises(DownloadError, match=r"sam3\.pt yourself from"):
        fetch_weights("sam3", tmp_path)
    assert visible(tmp_path) == []


def test_cancelled_download_is_resumed(hub, tmp_path):
    class Cancelled(BaseException):
        """Like a host's interrupt: not an Exception."""

    def cancel(done, total):
        if done > total // 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        fetch_weights("sam3", tmp_path, progress=cancel)
    assert visible(tmp_path) == []
    (partial,) = partials(tmp_path)
    received = partial.stat().st_size
    assert len(CONTENT) // 3 < received < len(CONTENT)
    assert fetch_weights("sam3", tmp_path).read_bytes() == CONTENT
    assert hub.requests[-1][:3] == ("GET", OPEN, f"bytes={received}-")
    assert partials(tmp_path) == []


def test_own_exception_of_the_progress_callback_comes_through(hub, tmp_path):
    def fail(done, total):
        raise ValueError("from the callback")

    with pytest.raises(ValueError, match="from the callback"):
        fetch_weights("sam3", tmp_path, progress=fail)
    assert visible(tmp_path) == []


def test_dropped_connection_never_leaves_a_file(hub, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
    hub.cut_after = 3_000_000
    with pytest.raises(DownloadError, match=r"sam3\.pt"):
        fetch_weights("sam3", tmp_path, progress=lambda done, total: _stop_after(hub, 4))
    assert visible(tmp_path) == []
    hub.status, hub.cut_after = {}, None
    assert fetch_weights("sam3", tmp_path).read_bytes() == CONTENT


def _stop_after(hub: Hub, gets: int) -> None:
    if hub.asked("GET") >= gets:
        hub.status[OPEN] = 404


def test_damaged_content_is_deleted(hub, tmp_path):
    hub.content = b"X" + CONTENT[1:]
    with pytest.raises(DownloadError, match="damaged.*SHA-256"):
        fetch_weights("sam3", tmp_path)
    assert visible(tmp_path) == [] and partials(tmp_path) == []
    hub.content = CONTENT
    assert fetch_weights("sam3", tmp_path).read_bytes() == CONTENT


def test_damaged_partial_file_is_not_trusted(hub, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        fetch_weights("sam3", tmp_path, progress=_interrupt)
    (partial,) = partials(tmp_path)
    with open(partial, "r+b") as file:
        file.write(b"garbage")
    with pytest.raises(DownloadError, match="damaged"):
        fetch_weights("sam3", tmp_path)
    assert fetch_weights("sam3", tmp_path).read_bytes() == CONTENT


def _interrupt(done: int, total: int) -> None:
    raise KeyboardInterrupt


def test_file_that_changed_upstream_starts_afresh(hub, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        fetch_weights("sam3", tmp_path, progress=_interrupt)
    hub.content = CONTENT[::-1]
    hub.etag = hashlib.sha256(hub.content).hexdigest()
    assert fetch_weights("sam3", tmp_path).read_bytes() == hub.content
    assert partials(tmp_path) == []


def pinned(size: int, sha256: str) -> dict[str, tuple[Source, ...]]:
    return {"sam3": (Source(repo=OPEN, path="sam3.pt", size=size, sha256=sha256),)}


@pytest.mark.parametrize(
    ("size", "sha256", "ok"),
    [
        (len(CONTENT), SHA256, True),
        (len(CONTENT) + 1, SHA256, False),
        (len(CONTENT), "0" * 64, False),
    ],
)
def test_pinned_size_and_hash(hub, size, sha256, ok, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "SOURCES", pinned(size, sha256))
    if ok:
        assert fetch_weights("sam3", tmp_path).read_bytes() == CONTENT
        return
    with pytest.raises(DownloadError, match="no longer the known one"):
        fetch_weights("sam3", tmp_path)
    assert hub.asked("GET") == 0


def test_pinned_hash_counts_when_the_server_tells_none(hub, tmp_path, monkeypatch):
    hub.etag = "not-a-hash"
    monkeypatch.setattr(download, "SOURCES", pinned(len(CONTENT), "0" * 64))
    with pytest.raises(DownloadError, match="damaged"):
        fetch_weights("sam3", tmp_path)
    assert visible(tmp_path) == []


def test_full_disk_is_told_before_the_transfer(hub, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(download.shutil, "disk_usage", lambda path: usage(10, 9, 1))
    with pytest.raises(DownloadError, match="not enough space"):
        fetch_weights("sam3", tmp_path)
    assert hub.asked("GET") == 0


def test_two_at_once_make_one_transfer(hub, tmp_path):
    hub.pause = 0.005
    results: list[Path] = []
    threads = [
        threading.Thread(target=lambda: results.append(fetch_weights("sam3", tmp_path)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert results == [tmp_path / "sam3.pt"] * 2
    assert hub.asked("GET") == 1 and results[0].read_bytes() == CONTENT


def test_waiting_for_another_can_be_cancelled(hub, tmp_path, monkeypatch):
    from filelock import FileLock

    monkeypatch.setattr(download, "_LOCK_POLL_SECONDS", 0.05)
    with FileLock(str(tmp_path / ".sam3.pt.lock")), pytest.raises(KeyboardInterrupt):
        fetch_weights("sam3", tmp_path, progress=_interrupt)
    assert hub.requests == []


def test_lock_file_left_by_a_dead_process_does_not_block(hub, tmp_path):
    (tmp_path / ".sam3.pt.lock").write_text("")
    assert fetch_weights("sam3", tmp_path).is_file()


def test_file_system_without_locks(hub, tmp_path, monkeypatch, caplog):
    def unsupported(self, *args, **kwargs):
        raise NotImplementedError("FileSystem does not appear to support flock")

    monkeypatch.setattr("filelock.FileLock.acquire", unsupported)
    assert fetch_weights("sam3", tmp_path).read_bytes() == CONTENT
    assert "no locks" in caplog.text


def test_folder_that_cannot_be_written(hub, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    with pytest.raises(DownloadError, match="cannot be made"):
        fetch_weights("sam3", tmp_path / "file" / "models")

    def refuse(self, *args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    with pytest.raises(DownloadError, match="Permission denied"):
        fetch_weights("sam3", tmp_path)
    assert hub.requests == []


def test_unknown_model_and_missing_library(hub, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"sam3, sam3\.1"):
        fetch_weights("sam4", tmp_path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingDependencyError, match="pip install huggingface_hub"):
        fetch_weights("sam3", tmp_path)


def test_published_table():
    (open_half,) = download.SOURCES["sam3.1"]
    assert open_half.repo == "Comfy-Org/sam3.1" and not open_half.gated
    assert open_half.path == "checkpoints/sam3.1_multiplex_fp16.safetensors"
    assert open_half.size == 1745546848 and len(open_half.sha256) == 64
    assert [(s.repo, s.gated) for s in download.SOURCES["sam3"]] == [(GATED, True), (OPEN, False)]


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
def test_killed_processes_never_leave_a_trusted_file(hub, tmp_path):
    """kill -9 at several points: nothing under the final name, and the next start resumes."""
    hub.pause = 0.01
    context = multiprocessing.get_context("fork")
    for least in (1, 10_000_000, 20_000_000):
        child = context.Process(target=fetch_weights, args=("sam3", tmp_path))
        child.start()
        limit = time.monotonic() + 30
        while sum(p.stat().st_size for p in partials(tmp_path)) < least:
            assert child.is_alive() and time.monotonic() < limit
            time.sleep(0.005)
        child.kill()
        child.join()
        assert visible(tmp_path) == []
    assert fetch_weights("sam3", tmp_path).read_bytes() == CONTENT
    assert sum(1 for *_, byte_range, _ in hub.requests if byte_range) >= 2
