"""A real ComfyUI for tests: start it on the CPU with this pack linked in, queue prompts, fetch.

Environment:
    COMFYUI_DIR            ComfyUI checkout (folder with main.py); without it the tests are skipped
    COMFYUI_PYTHON         Python with ComfyUI's requirements (default: its venv, else this Python)
    COMFY_CHECKS_CACHE     where unpacked frontends are kept (default: a folder in the temp folder)
"""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PACK = Path(__file__).resolve().parents[2]

# No tour, template browser or reminder may cover the page.
QUIET_SETTINGS = {
    "Comfy.TutorialCompleted": True,
    "Comfy.Workflow.Persist": False,
    "Comfy.Notification.ShowVersionUpdates": False,
    "Comfy.VersionCompatibility.DisableWarnings": True,
    "Comfy.Minimap.Visible": False,
    "Comfy.Window.UnloadConfirmation": False,
}


def comfyui_dir() -> Path | None:
    """The ComfyUI checkout named by COMFYUI_DIR, or None."""
    named = os.environ.get("COMFYUI_DIR")
    return Path(named).absolute() if named and (Path(named) / "main.py").is_file() else None


def comfyui_python(comfy: Path) -> str:
    """The Python that runs ComfyUI."""
    names = (".venv/bin/python", "venv/bin/python", "venv/Scripts/python.exe")
    own = [comfy / name for name in names]
    guesses = [os.environ.get("COMFYUI_PYTHON"), *own]
    return next((str(p) for p in guesses if p and Path(p).is_file()), sys.executable)


def frontend_root(version: str) -> Path:
    """Static folder of comfyui-frontend-package==version, unpacked outside the environment.

    Raises:
        subprocess.CalledProcessError: pip could not fetch it.
    """
    default = Path(tempfile.gettempdir()) / "comfy_checks_cache"
    target = Path(os.environ.get("COMFY_CHECKS_CACHE") or default) / f"frontend-{version}"
    static = target / "comfyui_frontend_package" / "static"
    if not (static / "index.html").is_file():
        with tempfile.TemporaryDirectory() as folder:
            wanted = f"comfyui-frontend-package=={version}"
            command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder]
            subprocess.run([*command, wanted], check=True)
            with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as wheel:
                wheel.extractall(target)
    return static


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


class ServerFailedError(RuntimeError):
    """ComfyUI ended, did not answer, or could not import a pack; the message ends with its log."""


class ComfyServer:
    """Context manager round one `main.py --cpu` process with a base directory of its own.

    Args:
        extra_packs: further custom node folders to link in.
        front_end_root: static folder of another frontend than the one installed.
        model_dirs: model kind -> folder, given to ComfyUI as extra model paths.
        env: further environment variables of the server.
        timeout: seconds until it has to answer.
    """

    def __init__(
        self,
        extra_packs: tuple[Path, ...] = (),
        front_end_root: Path | None = None,
        model_dirs: dict[str, Path] | None = None,
        env: dict[str, str] | None = None,
        timeout: float = 600.0,
    ) -> None:
        comfy = comfyui_dir()
        if comfy is None:
            raise ServerFailedError("set COMFYUI_DIR to the folder that has ComfyUI's main.py")
        self.comfy = comfy
        self.packs = (PACK, *extra_packs)
        self.front_end_root = front_end_root
        self.model_dirs = model_dirs or {}
        self.env = env or {}
        self.timeout = timeout
        self.base = Path(tempfile.mkdtemp(prefix="comfy_test_"))
        self.log_path = self.base / "server.log"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def _prepare(self) -> None:
        for name in ("custom_nodes", "models", "input", "output", "temp", "user/default"):
            (self.base / name).mkdir(parents=True, exist_ok=True)
        for pack in self.packs:
            link = self.base / "custom_nodes" / pack.name
            link.symlink_to(pack, target_is_directory=True)
        settings = self.base / "user" / "default" / "comfy.settings.json"
        settings.write_text(json.dumps(QUIET_SETTINGS))

    def _command(self) -> list[str]:
        command = [comfyui_python(self.comfy), "-u", "main.py", "--cpu"]
        command += ["--listen", "127.0.0.1", "--port", str(self.port)]
        command += ["--base-directory", str(self.base), "--database-url", "sqlite:///:memory:"]
        command += ["--disable-auto-launch", "--disable-api-nodes"]
        if self.front_end_root:
            command += ["--front-end-root", str(self.front_end_root)]
        if self.model_dirs:
            config = self.base / "extra_model_paths.yaml"
            folders = {kind: str(path) for kind, path in self.model_dirs.items()}
            config.write_text(json.dumps({"tests": folders}))  # JSON is YAML
            command += ["--extra-model-paths-config", str(config)]
        return command

    def __enter__(self) -> ComfyServer:
        self._prepare()
        # An offline machine must not wait for a hub; bytecode must not land in the pack.
        env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "HF_HUB_OFFLINE": "1", **self.env}
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self._command(),
                cwd=self.comfy,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + self.timeout
        while True:
            if self._process.poll() is not None:
                raise ServerFailedError(f"ComfyUI ended\n{self.log()[-8000:]}")
            try:
                with urllib.request.urlopen(self.url + "/object_info", timeout=30) as answer:
                    answer.read()
                break
            except OSError:
                pass
            if time.monotonic() > deadline:
                raise ServerFailedError(f"no answer in {self.timeout} s\n{self.log()[-8000:]}")
            time.sleep(0.3)
        if self.import_failures():
            raise ServerFailedError(f"a pack failed to import\n{self.log()[-8000:]}")

    def __exit__(self, *_exc: object) -> None:
        """Ends the process that was started here, and only that one."""
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
                process.send_signal(number)
                try:
                    process.wait(8)
                    break
                except subprocess.TimeoutExpired:
                    continue
        shutil.rmtree(self.base, ignore_errors=True)  # removes links, never what they point at

    def log(self) -> str:
        """What the server wrote so far."""
        return self.log_path.read_text(errors="replace") if self.log_path.is_file() else ""

    def import_failures(self) -> list[str]:
        """Log lines that say a custom node folder could not be imported."""
        marks = ("(IMPORT FAILED)", "Cannot import ")
        return [line.strip() for line in self.log().splitlines() if any(m in line for m in marks)]


@dataclass
class PromptResult:
    """How a queued prompt ended."""

    status: str = "unknown"  # success | error | rejected | interrupted | timeout
    prompt_id: str | None = None
    outputs: dict[str, Any] = field(default_factory=dict)  # node -> {"images": [...], ...}
    error: dict[str, Any] | None = None
    node_errors: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether it ran to its end without an error."""
        return self.status == "success"

    def images(self, node: str | int) -> list[dict[str, str]]:
        """The files that a node wrote, as ComfyAPI.fetch_image takes them."""
        return list(self.outputs.get(str(node), {}).get("images", []))

    def error_text(self) -> str:
        """The error message with everything that the server told about it."""
        return json.dumps({"error": self.error, "node_errors": self.node_errors}, indent=1)


class ComfyAPI:
    """A small client of a running server: upload, queue, wait, fetch."""

    def __init__(self, base: str) -> None:
        self.base = base.rstrip("/")

    def request(self, method: str, path: str, data: Any = None, kind: str | None = None) -> bytes:
        """The body of the answer. `data` is sent as JSON unless it is bytes of the given kind."""
        body = data if isinstance(data, bytes) or data is None else json.dumps(data).encode()
        headers = {"Content-Type": kind or "application/json"} if body is not None else {}
        request = urllib.request.Request(self.base + path, body, headers, method=method)
        with urllib.request.urlopen(request, timeout=120) as answer:
            return bytes(answer.read())

    def get(self, path: str) -> Any:
        """The JSON that a path answers with."""
        return json.loads(self.request("GET", path))

    def object_info(self, node: str) -> dict[str, Any] | None:
        """The description of a node, or None when the server does not know it."""
        return self.get(f"/object_info/{urllib.parse.quote(node)}").get(node)

    def set_setting(self, name: str, value: Any) -> None:
        """Store a setting of the web frontend; pages opened later read it."""
        self.request("POST", f"/settings/{name}", value)

    def upload_image(self, image: Any, name: str = "upload.png") -> str:
        """Upload a PIL image or an HxW(xC) uint8 array; returns the name for LoadImage."""
        if not hasattr(image, "save"):
            from PIL import Image

            image = Image.fromarray(image)
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        mark = "----test" + uuid.uuid4().hex
        head = (
            f'--{mark}\r\nContent-Disposition: form-data; name="overwrite"\r\n\r\ntrue\r\n--{mark}'
            f'\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n'
            "Content-Type: image/png\r\n\r\n"
        )
        body = head.encode() + buffer.getvalue() + f"\r\n--{mark}--\r\n".encode()
        kind = f"multipart/form-data; boundary={mark}"
        return str(json.loads(self.request("POST", "/upload/image", body, kind))["name"])

    def fetch_image(self, item: dict[str, str]) -> Any:
        """One entry of PromptResult.images as a PIL image."""
        from PIL import Image

        query = urllib.parse.urlencode({k: item[k] for k in ("filename", "subfolder", "type")})
        return Image.open(io.BytesIO(self.request("GET", "/view?" + query)))

    def queue(self, prompt: dict[str, Any]) -> PromptResult:
        """Queue an API-format prompt without waiting for it."""
        try:
            answer = json.loads(self.request("POST", "/prompt", {"prompt": prompt}))
        except urllib.error.HTTPError as error:
            body = json.loads(error.read())
            return PromptResult(
                "rejected", error=body.get("error"), node_errors=body.get("node_errors") or {}
            )
        return PromptResult(
            prompt_id=answer["prompt_id"], node_errors=answer.get("node_errors") or {}
        )

    def run(self, prompt: dict[str, Any], timeout: float = 300.0) -> PromptResult:
        """Queue an API-format prompt and wait for its end."""
        result = self.queue(prompt)
        return result if result.status == "rejected" else self.wait(result, timeout)

    def wait(self, result: PromptResult, timeout: float = 300.0) -> PromptResult:
        """Wait for a queued prompt and fill in how it ended."""
        began = time.monotonic()
        while time.monotonic() - began < timeout:
            entry = self.get(f"/history/{result.prompt_id}").get(result.prompt_id)
            if entry and entry.get("status", {}).get("status_str"):
                return self._finished(result, entry, time.monotonic() - began)
            time.sleep(0.2)
        result.status = "timeout"
        return result

    @staticmethod
    def _finished(result: PromptResult, entry: dict[str, Any], seconds: float) -> PromptResult:
        result.status = entry["status"]["status_str"]
        result.outputs, result.seconds = entry.get("outputs", {}), round(seconds, 2)
        for kind, data in entry["status"].get("messages", []):
            if kind == "execution_error":
                result.error = data
            elif kind == "execution_interrupted":
                result.status = "interrupted"
        return result
