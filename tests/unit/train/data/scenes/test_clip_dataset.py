"""Clips ahead of training: resized frame by frame, held-out ones from a stream of their own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sam3.errors import InputError
from sam3.train.data.scenes.clip_dataset import ClipFolder
from sam3.train.data.scenes.clips import MAX_CLIP_OBJECTS, clip_rng, draw_clip
from sam3.train.data.scenes.prerender_clips import (
    ClipPrerenderConfig,
    main,
    prerender_clips,
    square_clip,
)

_CONFIG = ClipPrerenderConfig(
    clips=5, resolution=48, frames=4, seed=3, shard_size=2, max_side=128, simple_share=0.4
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prerender_clips(tmp_path_factory.mktemp("clips"), _CONFIG)


def test_rows_are_clips(folder: Path) -> None:
    clips = ClipFolder(folder)
    assert (len(clips), clips.frames, clips.resolution) == (5, 4, 48)
    assert len(list(folder.glob("shard_*"))) == 3
    several = 0
    for row in range(5):
        clip = clips[row]
        assert clip.images.shape == (4, 48, 48, 3) and clip.images.dtype == np.uint8
        assert clip.labels.shape == (4, 48, 48)
        assert clip.visible.shape == (4, MAX_CLIP_OBJECTS) and clip.visible[0].any()
        for t in range(4):
            shown = set(np.unique(clip.labels[t])) - {0}
            assert shown <= set(np.flatnonzero(clip.visible[t]) + 1)
        several += clip.visible.any(0).sum() > 1
    assert several >= 2


def test_frames_are_resized_like_pictures() -> None:
    clip = draw_clip(clip_rng(1, 0), (96, 64), frames=3)
    images, labels = square_clip(clip, 48)
    assert images.shape == (3, 48, 48, 3) and labels.shape == (3, 48, 48)
    share = (clip.labels > 0).mean((1, 2))
    np.testing.assert_allclose((labels > 0).mean((1, 2)), share, atol=0.03)


def test_drawing_again_keeps_what_is_there(folder: Path) -> None:
    file = folder / "shard_00001" / "images.npy"
    before = file.stat().st_mtime_ns
    prerender_clips(folder, _CONFIG)
    assert file.stat().st_mtime_ns == before
    with pytest.raises(InputError, match=r"other settings \(held_out, seed\)"):
        prerender_clips(folder, replace(_CONFIG, seed=4, held_out=True))


def test_held_out_clips_are_others(folder: Path, tmp_path: Path) -> None:
    held_out = prerender_clips(tmp_path, replace(_CONFIG, held_out=True, clips=2))
    assert not np.array_equal(ClipFolder(held_out)[0].images, ClipFolder(folder)[0].images)


def test_unusable_settings_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="frames 1 at least 2"):
        ClipPrerenderConfig(clips=1, frames=1)
    with pytest.raises(InputError, match="prerender_clips"):
        ClipFolder(tmp_path)


def test_command_line_writes_a_readable_folder(tmp_path: Path) -> None:
    options = "--clips 2 --resolution 32 --frames 2 --out"
    assert main([*options.split(), str(tmp_path / "c")]) == 0
    assert len(ClipFolder(tmp_path / "c")) == 2
