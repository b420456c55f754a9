"""The bundled model through the real ``track``: a phrase, a click and a box in a short video."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from sam3 import cli
from sam3.checkpoint import catalog
from sam3.perflib.rle import decode_rle

BUNDLED = catalog.ASSETS / catalog.CATALOG["sam3-tiny"].file_names[0]
pytestmark = pytest.mark.skipif(
    not BUNDLED.exists(), reason="sam3-tiny is not in this checkout yet"
)
WIDTH, HEIGHT, COUNT = 240, 180, 6


@pytest.fixture
def truth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[np.ndarray]]:
    """A red circle moves right, a blue square down, in the folder ``clip``; masks by name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    Path("clip").mkdir()
    masks: dict[str, list[np.ndarray]] = {"circle": [], "square": []}
    for t in range(COUNT):
        image = Image.new("RGB", (WIDTH, HEIGHT), (125, 135, 120))
        shapes = {
            "circle": ("ellipse", (30 + 9 * t, 30, 95 + 9 * t, 95), (210, 35, 40)),
            "square": ("rectangle", (160, 60 + 8 * t, 215, 115 + 8 * t), (40, 80, 205)),
        }
        for name, (kind, box, colour) in shapes.items():
            getattr(ImageDraw.Draw(image), kind)(box, fill=colour)
            mask = Image.new("1", image.size)
            getattr(ImageDraw.Draw(mask), kind)(box, fill=1)
            masks[name].append(np.asarray(mask))
        image.save(Path("clip") / f"{t}.png")
    return masks


def track(*arguments: object) -> dict[int, list[np.ndarray | None]]:
    """Masks by object id, one per frame, None where there is none."""
    options = ("--model", "sam3-tiny", "--device", "cpu", "--masks", "packed")
    assert cli.main(["track", "clip", *(str(a) for a in arguments), *options]) == 0
    record: dict[str, Any] = json.loads(Path("outputs/clip.json").read_text(encoding="utf-8"))
    assert record["complete"] is True and len(record["frames"]) == COUNT
    found: dict[int, list[np.ndarray | None]] = {}
    for t, frame in enumerate(record["frames"]):
        for item in frame["objects"]:
            masks = found.setdefault(item["id"], [None] * COUNT)
            masks[t] = decode_rle(item["segmentation"])
    return found


def similarity(masks: list[np.ndarray | None], truth: list[np.ndarray]) -> float:
    """Mean IoU over the frames; a frame without a mask counts 0."""
    pairs = zip(masks, truth, strict=True)
    ious = [0.0 if m is None else (m & t).sum() / (m | t).sum() for m, t in pairs]
    return float(np.mean(ious))


@pytest.mark.parametrize(("phrase", "name"), [("red circle", "circle"), ("blue square", "square")])
def test_a_phrase_is_followed(truth: dict[str, list[np.ndarray]], phrase: str, name: str) -> None:
    [masks] = track(phrase).values()
    assert similarity(masks, truth[name]) > 0.75
    assert Path("outputs/clip_overlay.mp4").stat().st_size > 1000


@pytest.mark.parametrize(
    ("prompt", "name"),
    [(("--point", "62,62"), "circle"), (("--box", "158,58,217,117"), "square")],
)
def test_a_click_or_a_box_is_followed(
    truth: dict[str, list[np.ndarray]], prompt: tuple[str, str], name: str
) -> None:
    [masks] = track(*prompt).values()
    assert similarity(masks, truth[name]) > 0.75


def test_a_click_in_the_middle_goes_both_ways(truth: dict[str, list[np.ndarray]]) -> None:
    [masks] = track("--point", "89,62", "--frame", "3").values()
    assert similarity(masks, truth["circle"]) > 0.75
