"""Held-out clips and the prompts made from them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from sam3.train.data.scenes.clips import Clip, clip_rng, draw_clip
from sam3.train.data.scenes.motion import Motion
from sam3.train.eval.clip_plan import (
    clearly_visible,
    distinct_phrases,
    inner_point,
    object_prompts,
    pictures,
    plan_clip,
)


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    return [plan_clip(11, index, 4, max_side=130) for index in range(8)]


def test_clips_repeat_and_are_held_out(clips: list[Clip]) -> None:
    again = plan_clip(11, 3, 4, max_side=130)
    assert np.array_equal(again.images, clips[3].images) and again.phrases == clips[3].phrases
    training = draw_clip(clip_rng(11, 3), clips[3].labels.shape[1:], 4)
    assert not np.array_equal(training.images, clips[3].images)
    for clip in clips:
        height, width = clip.labels.shape[1:]
        assert len(clip.images) == 4 and 96 <= min(height, width) <= max(height, width) <= 130
        assert 1 <= len(clip.ids) <= 4
    assert [p.size for p in pictures(clips[0])] == [clips[0].images.shape[2:0:-1]] * 4


def test_inner_points() -> None:
    mask = np.zeros((9, 12), dtype=bool)
    mask[2:7, 3:8] = True
    assert inner_point(mask) == (5, 4)
    corner = np.zeros((9, 12), dtype=bool)
    corner[:5, :5] = True  # the border of the picture ends the object
    assert inner_point(corner) == (2, 2)
    bent = np.zeros((12, 12), dtype=bool)
    bent[:3], bent[:, :5] = True, True
    x, y = inner_point(bent)
    assert bent[y, x] and x == 2
    with pytest.raises(ValueError, match="no inner point"):
        inner_point(mask & False)


def test_prompts_point_at_what_is_on_frame_0(clips: list[Clip]) -> None:
    for clip in clips:
        height, width = clip.labels.shape[1:]
        prompts = object_prompts(clip)
        assert [p.obj_id for p in prompts] == np.flatnonzero(clip.visible[0]).tolist()
        for prompt in prompts:
            x, y = prompt.point[0] * width, prompt.point[1] * height
            assert clip.labels[0, int(y), int(x)] == prompt.obj_id + 1
            assert np.array_equal(prompt.mask, clip.masks[0, prompt.obj_id])
            x0, y0, x1, y1 = np.array(prompt.box) * (width, height, width, height)
            rows, columns = np.nonzero(prompt.mask)
            tight = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            assert (x0, y0, x1, y1) == pytest.approx(tight)


def test_wordings_are_asked_once(clips: list[Clip]) -> None:
    first = clips[0].phrases[0]
    double = dataclasses.replace(clips[0], phrases=(first, first, clips[0].phrases[2]))
    assert list(distinct_phrases(double)) == [first, clips[0].phrases[2]]


def test_what_counts_as_clearly_visible() -> None:
    labels = np.zeros((4, 20, 20), dtype=np.uint8)
    labels[0, :10, :10] = 1  # all of it
    labels[1, :10, :6] = 1  # more than half
    labels[2, :10, :4] = 1  # less
    labels[3, :5, :5] = 1  # all of it, but it has become half as wide
    still = Motion((0, 0), (0, 0), (None, None), middle=0)
    shrinking = dataclasses.replace(still, growth=np.log(0.5) / 3)
    clip = Clip(
        np.zeros((4, 20, 20, 3), np.uint8), labels, np.zeros((1, 3), np.int8),
        np.zeros((4, 1, 4), np.float32), (still,), (),
    )  # fmt: skip
    assert clearly_visible(clip)[:, 0].tolist() == [True, True, False, False]
    shrunk = dataclasses.replace(clip, motions=(shrinking,))
    assert not clearly_visible(shrunk)[3, 0]  # 25 pixels are fewer than 40
    labels[3, :8, :6] = 1
    assert clearly_visible(shrunk)[3, 0] and not clearly_visible(clip)[3, 0]


def test_long_clips_have_entrances_and_exits() -> None:
    kinds = [m.kind for i in range(12) for m in plan_clip(2024, i, 12, max_side=110).motions]
    assert kinds.count("enter") >= 1 and kinds.count("leave") >= 2
