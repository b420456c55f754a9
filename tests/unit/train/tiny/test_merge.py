"""Checkpoints put together: averages are in between, joined files take the right halves."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from sam3.builders.video import build_sam3_video_model
from sam3.checkpoint import read_checkpoint, save_checkpoint
from sam3.config import presets
from sam3.config.video import Sam3VideoConfig
from sam3.errors import CheckpointMismatchError, InputError
from sam3.model_builder import build_sam3_image_model
from sam3.train.tiny.merge import DETECTOR, SECOND_NECK, TRUNK, average, join, main

_CONFIG = {"sizes": [1]}
_TRACKER = {"sizes": [2]}
_IMAGE = {"backbone.vision_backbone.trunk.a": 1.0, "backbone.vision_backbone.convs.a": 2.0}


def _write(path: Path, values: dict[str, float], tracker: bool = False, **kwargs: object) -> Path:
    state = {name: torch.full((2, 3), value, dtype=torch.float16) for name, value in values.items()}
    state["a_count" if not tracker else "detector.a_count"] = torch.tensor([7])
    options = {"config": _CONFIG, "tracker_config": _TRACKER if tracker else None} | kwargs
    return save_checkpoint(state, path, **options)  # type: ignore[arg-type]


def _video(path: Path, convs: float, tracker: float, trunk: float = 1.0) -> Path:
    values = {
        TRUNK + "a": trunk,
        DETECTOR + "backbone.vision_backbone.convs.a": convs,
        SECOND_NECK + "a": tracker,
        "tracker.a": tracker,
    }
    return _write(path, values, tracker=True)


def test_an_average_lies_between_its_files(tmp_path: Path):
    first = _write(tmp_path / "first.safetensors", {"a": 1.0, "b": -4.0})
    second = _write(tmp_path / "second.safetensors", {"a": 3.0, "b": 4.0})
    out = average(first, second, 0.75, tmp_path / "out.safetensors")
    state = load_file(out)
    assert state["a"].dtype == torch.float16 and state["a_count"].item() == 7
    assert torch.equal(state["a"].float(), torch.full((2, 3), 2.5))
    assert torch.equal(state["b"].float(), torch.full((2, 3), 2.0))
    assert read_checkpoint(out).config == _CONFIG


@pytest.mark.parametrize("video_file", [False, True], ids=["image file", "video file"])
def test_a_joined_file_has_the_new_detector_and_the_other_tracker(tmp_path: Path, video_file: bool):
    new = _write(tmp_path / "image.safetensors", _IMAGE)
    if video_file:
        new = _video(tmp_path / "image.safetensors", convs=2.0, tracker=9.0)
    tracker = _video(tmp_path / "tracker.safetensors", convs=5.0, tracker=6.0)
    out = join(new, tracker, tmp_path / "out.safetensors")
    values = {name: tensor.flatten()[0].item() for name, tensor in load_file(out).items()}
    assert values == {
        "detector.a_count": 7,
        TRUNK + "a": 1.0,
        DETECTOR + "backbone.vision_backbone.convs.a": 2.0,
        SECOND_NECK + "a": 6.0,
        "tracker.a": 6.0,
    }
    raw = read_checkpoint(out)
    assert (raw.config, raw.tracker_config) == (_CONFIG, _TRACKER)


def test_a_joined_file_of_the_tiny_model_loads(tmp_path: Path):
    torch.manual_seed(3)
    config = Sam3VideoConfig(image=presets.SAM3_TINY, tracker=presets.SAM3_TINY_TRACKER)
    image = build_sam3_image_model(config=config.image, device="cpu", load_from_HF=False)
    video = build_sam3_video_model(config=config, device="cpu", load_from_HF=False)
    trunk = image.backbone.vision_backbone.trunk.state_dict()
    video.detector.backbone.vision_backbone.trunk.load_state_dict(trunk)
    files = [str(tmp_path / f"{name}.safetensors") for name in ("image", "tracker", "both")]
    save_checkpoint(image, files[0])
    sizes = {"config": config.image.to_dict(), "tracker_config": config.tracker.to_dict()}
    save_checkpoint(video, files[1], **sizes)
    assert main(["join", *files[:2], "--out", files[2]]) == 0
    loaded = build_sam3_video_model(checkpoint_path=files[2], device="cpu").state_dict()
    for name, tensor in image.state_dict().items():
        assert torch.equal(loaded[DETECTOR + name], tensor), name
    for name, tensor in video.state_dict().items():
        if name.startswith(("tracker.", SECOND_NECK)):
            assert torch.equal(loaded[name], tensor), name


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path, caplog):
    image = _write(tmp_path / "image.safetensors", _IMAGE)
    tracker = _video(tmp_path / "tracker.safetensors", convs=5.0, tracker=6.0)
    out = tmp_path / "out.safetensors"
    other_trunk = _video(tmp_path / "trunk.safetensors", convs=5.0, tracker=6.0, trunk=1.5)
    other_config = _write(tmp_path / "config.safetensors", _IMAGE, config={"sizes": [3]})
    fewer = _write(tmp_path / "fewer.safetensors", {"backbone.vision_backbone.trunk.a": 1.0})
    with pytest.raises(InputError, match=r"share 1\.5"):
        average(image, image, 1.5, out)
    with pytest.raises(CheckpointMismatchError, match="do not hold the same model"):
        average(image, fewer, 0.5, out)
    with pytest.raises(CheckpointMismatchError, match="holds no tracker"):
        join(image, image, out)
    with pytest.raises(CheckpointMismatchError, match="trunk"):
        join(image, other_trunk, out)
    with pytest.raises(CheckpointMismatchError, match="configurations"):
        join(other_config, tracker, out)
    with pytest.raises(CheckpointMismatchError, match=r"convs\.a"):
        join(fewer, tracker, out)
    assert main(["average", str(image), str(fewer), "--out", str(out)]) == 2
    assert "the first is" in caplog.text
    assert not out.exists()


def test_an_image_model_of_another_dtype_is_rounded(tmp_path: Path):
    state = {name: torch.full((2, 3), value + 1e-4) for name, value in _IMAGE.items()}
    state["a_count"] = torch.tensor([7])
    image = save_checkpoint(state, tmp_path / "image.safetensors", config=_CONFIG)
    tracker = _video(tmp_path / "tracker.safetensors", convs=5.0, tracker=6.0)
    out = load_file(join(image, tracker, tmp_path / "out.safetensors"))
    name = DETECTOR + "backbone.vision_backbone.convs.a"
    assert torch.equal(out[name], torch.full((2, 3), 2.0, dtype=torch.float16))


def test_other_shapes_are_refused(tmp_path: Path):
    image = _write(tmp_path / "image.safetensors", {"a": 1.0})
    state = {"a": torch.zeros(3), "a_count": torch.tensor([7])}
    other = save_checkpoint(state, tmp_path / "other.safetensors", config=_CONFIG)
    with pytest.raises(CheckpointMismatchError, match=r"a has the shape \(3,\)"):
        average(image, other, 0.5, tmp_path / "out.safetensors")
