"""Stand-ins for the models, so that the command line is tested by itself.

``ColourProcessor`` has the four methods that ``sam3.pipeline.segment`` calls and gives real masks,
boxes and scores of areas of plain colours. ``Tracker`` runs ``track`` on the scripted scene of the
video goldens. The command line's own code runs unchanged around them.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from scipy import ndimage

from sam3 import cli
from sam3.cli import segment, track
from sam3.cli.options import SegmentOptions
from sam3.pipeline.phrases import split_phrases
from tests.support.track_command import Tracker, write_frames


@pytest.fixture(autouse=True)
def listening_to_ctrl_c() -> Iterator[None]:
    """A shell starts background jobs deaf to Ctrl-C; the tests press it all the same."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


@dataclass
class ColourProcessor:
    """Finds connected areas whose colour is named in the phrase; the score is 0.9 for each."""

    threshold: float
    calls: list[tuple[str, Any]] = field(default_factory=list)

    def set_image(self, image: Image.Image) -> dict[str, Any]:
        assert image.mode == "RGB"
        self.calls.append(("image", image.size))
        return {"pixels": np.asarray(image)}

    def add_geometric_prompt(
        self, box: Any, label: bool, state: dict[str, Any], *, run: bool = True
    ) -> dict[str, Any]:
        self.calls.append(("box", ([round(v, 4) for v in box], label)))
        return state

    def add_point_prompt(
        self, point: Any, label: bool, state: dict[str, Any], *, run: bool = True
    ) -> dict[str, Any]:
        self.calls.append(("point", ([round(v, 4) for v in point], label)))
        return state

    def segment_phrases(self, phrases: list[str], state: dict[str, Any]) -> list[dict[str, Any]]:
        self.calls.append(("phrases", list(phrases)))
        return [self._find(phrase, state["pixels"]) for phrase in phrases]

    def _find(self, phrase: str, pixels: np.ndarray) -> dict[str, Any]:
        height, width = pixels.shape[:2]
        masks, boxes = [], []
        for name, colour in COLOURS.items():
            if name not in phrase:
                continue
            inside = (np.abs(pixels.astype(int) - colour) < 60).all(axis=2)
            labels, number = ndimage.label(inside)
            for k, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1):
                masks.append(labels == k)
                boxes.append([columns.start, rows.start, columns.stop, rows.stop])
            assert len(masks) >= number
        score = 0.9
        if not masks or score <= self.threshold:
            return {
                "masks": torch.zeros(0, 1, height, width, dtype=torch.bool),
                "boxes": torch.zeros(0, 4),
                "scores": torch.zeros(0),
                "best_score": score if masks else 0.1,
            }
        return {
            "masks": torch.from_numpy(np.stack(masks))[:, None],
            "boxes": torch.tensor(boxes, dtype=torch.float32),
            "scores": torch.full((len(masks),), score),
            "best_score": score,
        }


@dataclass
class Shell:
    """Runs the command line in this process and keeps what it said."""

    capsys: pytest.CaptureFixture[str]
    processors: list[ColourProcessor] = field(default_factory=list)
    out: str = ""
    err: str = ""

    def __call__(self, *arguments: object) -> int:
        try:
            code = cli.main([str(a) for a in arguments])
        except SystemExit as leaving:
            assert isinstance(leaving.code, int)
            code = leaving.code
        self.out, self.err = self.capsys.readouterr()
        return code


@pytest.fixture
def shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Shell:
    """The command line with the colour processor, working in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    weights = tmp_path / "models" / "sam3" / "sam3.pt"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"stands for weights")
    running = Shell(capsys)

    def load(model_file: Path, options: SegmentOptions) -> tuple[ColourProcessor, list[str]]:
        assert model_file.read_bytes() == b"stands for weights"
        processor = ColourProcessor(options.confidence)
        running.processors.append(processor)
        return processor, [] if options.prompt is None else split_phrases(options.prompt)

    monkeypatch.setattr(segment, "load_processor", load)
    return running


@pytest.fixture
def draw(tmp_path: Path) -> Callable[..., Path]:
    """Draw a 60 x 40 picture with a red square (x 10-19, y 5-14) and a blue one (x 40-49)."""

    def make(name: str = "a.png", mode: str = "RGB") -> Path:
        image = Image.new("RGB", (60, 40), (90, 90, 90))
        canvas = ImageDraw.Draw(image)
        canvas.rectangle((10, 5, 19, 14), fill=(255, 0, 0))
        canvas.rectangle((40, 5, 49, 14), fill=(0, 0, 255))
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image.convert(mode).save(path)
        return path

    return make


@pytest.fixture
def tracker(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> Tracker:
    """The command ``track`` on the scripted scene, working in a folder of its own."""
    running = Tracker(shell)
    monkeypatch.setattr(track, "load_model", running.load)
    return running


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    """A folder of pictures to track through: ``clip``."""
    return write_frames(tmp_path / "clip")
