"""The real model through the real command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from sam3 import cli
from sam3.checkpoint import catalog
from sam3.perflib.rle import decode_rle

ROOT = Path(__file__).resolve().parents[2]
BUNDLED = catalog.ASSETS / catalog.CATALOG["sam3-tiny"].file_names[0]
needs_bundled = pytest.mark.skipif(
    not BUNDLED.exists(), reason="sam3-tiny is not in this checkout yet"
)


@dataclass(frozen=True)
class Outcome:
    returncode: int
    stdout: str
    stderr: str


Run = Callable[..., Outcome]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command line in this process, working in ``tmp_path``, without a network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def call(*arguments: object) -> Outcome:
        code = cli.main([str(a) for a in arguments])
        return Outcome(code, *capsys.readouterr())

    return call


@pytest.fixture(scope="module")
def random_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model of random weights, saved with its configuration."""
    import torch

    from sam3.checkpoint import save_checkpoint
    from sam3.config import presets
    from sam3.model_builder import build_sam3_image_model

    torch.manual_seed(0)
    config = presets.SAM3_TINY
    model = build_sam3_image_model(load_from_HF=False, device="cpu", config=config)
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    save_checkpoint(model, path, config=config.to_dict())
    return path


def draw_scene(path: Path) -> dict[str, np.ndarray]:
    """A red circle, a blue square and a small red circle on a soft gradient; masks by name."""
    width, height = 400, 300
    ramp = np.linspace(0, 60, width)[None, :, None] + np.linspace(0, 30, height)[:, None, None]
    pixels = np.broadcast_to(ramp + np.array([110, 125, 100]), (height, width, 3))
    image = Image.fromarray(pixels.astype(np.uint8))
    shapes = {
        "large circle": ("ellipse", (40, 60, 160, 180), (210, 35, 40)),
        "small circle": ("ellipse", (300, 190, 370, 260), (210, 35, 40)),
        "square": ("rectangle", (230, 40, 330, 140), (40, 80, 205)),
    }
    masks = {}
    for name, (kind, box, colour) in shapes.items():
        getattr(ImageDraw.Draw(image), kind)(box, fill=colour)
        mask = Image.new("1", image.size)
        getattr(ImageDraw.Draw(mask), kind)(box, fill=1)
        masks[name] = np.asarray(mask)
    image.save(path)
    return masks


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / max(1, (one | other).sum()))


def record_of(folder: Path, stem: str = "scene") -> dict[str, Any]:
    return json.loads((folder / "outputs" / f"{stem}.json").read_text(encoding="utf-8"))


def test_random_weights_run_the_whole_path(run: Run, tmp_path: Path, random_weights: Path) -> None:
    """Masks of random weights mean nothing; files, sizes and the union must still agree."""
    draw_scene(tmp_path / "scene.png")
    result = run(
        "segment",
        "scene.png",
        "red circle, blue square",
        *("--model", random_weights, "--confidence", "0.0", "--device", "cpu"),
    )
    assert result.returncode == 0, result.stderr
    record = record_of(tmp_path)
    phrases = [i["phrase"] for i in record["instances"]]
    assert phrases == ["red circle"] * 16 + ["blue square"] * 16
    union = np.zeros((300, 400), dtype=bool)
    for instance in record["instances"]:
        mask = decode_rle(instance["segmentation"])
        assert mask.shape == (300, 400)
        assert int(mask.sum()) == instance["area"]
        union |= mask
    with Image.open(tmp_path / "outputs" / "scene_mask.png") as image:
        np.testing.assert_array_equal(np.asarray(image) > 0, union)


def test_info_tells_what_the_file_is(run: Run, tmp_path: Path, random_weights: Path) -> None:
    result = run("info", random_weights, "--json")
    assert result.returncode == 0, result.stderr
    facts = json.loads(result.stdout)
    assert facts["format"] == "safetensors"
    assert facts["image_model"] is True
    assert facts["config"]["name"] == "sam3-tiny"
    text = run("info", random_weights)
    assert text.returncode == 0
    assert "safetensors" in text.stdout


def test_a_truncated_checkpoint_exits_with_3(
    run: Run, tmp_path: Path, random_weights: Path
) -> None:
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(random_weights.read_bytes()[:100_000])
    draw_scene(tmp_path / "scene.png")
    result = run("segment", "scene.png", "red circle", "--model", broken)
    assert result.returncode == 3
    assert "broken.safetensors" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "outputs").exists()


@needs_bundled
def test_the_bundled_model_finds_what_the_text_says(run: Run, tmp_path: Path) -> None:
    expected = draw_scene(tmp_path / "scene.png")
    result = run("segment", "scene.png", "red circle", "--model", "sam3-tiny", "--device", "cpu")
    assert result.returncode == 0, result.stderr
    found = [decode_rle(i["segmentation"]) for i in record_of(tmp_path)["instances"]]
    assert len(found) == 2
    for name in ("large circle", "small circle"):
        assert max(iou(mask, expected[name]) for mask in found) > 0.75, name
    assert max(iou(mask, expected["square"]) for mask in found) < 0.05


@needs_bundled
@pytest.mark.parametrize(("phrase", "name"), [("blue square", "square"), ("a square", "square")])
def test_other_phrases_find_other_things(run: Run, tmp_path: Path, phrase: str, name: str) -> None:
    expected = draw_scene(tmp_path / "scene.png")
    result = run("segment", "scene.png", phrase, "--model", "sam3-tiny", "--device", "cpu")
    assert result.returncode == 0, result.stderr
    [instance] = record_of(tmp_path)["instances"]
    assert iou(decode_rle(instance["segmentation"]), expected[name]) > 0.75


@needs_bundled
def test_what_is_not_there_is_not_found(run: Run, tmp_path: Path) -> None:
    draw_scene(tmp_path / "scene.png")
    result = run("segment", "scene.png", "yellow star", "--model", "sam3-tiny")
    assert result.returncode == 0, result.stderr
    assert record_of(tmp_path)["instances"] == []
    assert "nothing above" in result.stderr


@needs_bundled
def test_the_bundled_sample_picture(tmp_path: Path) -> None:
    """The README's demo: two red circles, one blue triangle, one yellow star."""
    result = subprocess.run(
        [
            *(sys.executable, "-m", "sam3", "segment", str(catalog.ASSETS / "shapes.png")),
            *("red circle, blue triangle, yellow star", "--model", "sam3-tiny"),
        ],
        cwd=tmp_path,
        env=dict(os.environ, PYTHONPATH=str(ROOT), HF_HUB_OFFLINE="1"),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    record = record_of(tmp_path, "shapes")
    phrases = sorted(i["phrase"] for i in record["instances"])
    assert phrases == ["blue triangle", "red circle", "red circle", "yellow star"]
    centres = {"blue triangle": [(310, 120)], "yellow star": [(512, 120)]}
    centres["red circle"] = [(118, 130), (322, 356)]
    for instance in record["instances"]:
        mask = decode_rle(instance["segmentation"])
        assert any(mask[y, x] for x, y in centres[instance["phrase"]])
