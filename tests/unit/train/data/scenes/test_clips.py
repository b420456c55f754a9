"""Clips repeat from their seed, their truth fits the pixels, and motions do what they promise."""

from __future__ import annotations

import itertools
import json
import sys
from functools import cache

import numpy as np
import pytest
from PIL import Image

from sam3.errors import InputError, MissingDependencyError
from sam3.perflib.capabilities import has_package
from sam3.train.data.scenes.clip_camera import Camera
from sam3.train.data.scenes.clip_files import describe, write_clip
from sam3.train.data.scenes.clips import Clip, clip_rng, draw_clip, moving_background
from sam3.train.data.scenes.composer import MIN_AREA
from sam3.train.data.scenes.motion import Motion, reflect, sample_motion
from sam3.train.data.scenes.sprite import draw_sprite, warp
from sam3.train.data.scenes.vocabulary import SHAPE_NAMES, parse

SIZE = (96, 128)


@cache
def clips(count: int = 24) -> list[Clip]:
    return [draw_clip(clip_rng(5, index), SIZE) for index in range(count)]


@pytest.mark.parametrize("level", [0, 1])
def test_a_clip_is_deterministic_and_well_formed(level):
    first, second = (draw_clip(clip_rng(4, 17), SIZE, 5, level) for _ in range(2))
    assert np.array_equal(first.images, second.images)
    assert np.array_equal(first.labels, second.labels) and first.phrases == second.phrases
    n = len(first.ids)
    assert first.images.shape == (5, *SIZE, 3) and first.images.dtype == np.uint8
    assert first.labels.shape == (5, *SIZE) and first.masks.shape == (5, n, *SIZE)
    assert first.boxes.shape == (5, n, 4) and first.visible.shape == (5, n)
    assert first.attributes.shape == (n, 3) and len(first.motions) == n >= 1


def test_streams_of_training_and_evaluation_differ():
    train, held = (draw_clip(clip_rng(4, 3, held_out=h), SIZE, 4).images for h in (False, True))
    assert not np.array_equal(train, held)


def test_length_is_four_to_eight_unless_asked():
    assert {len(clip.images) for clip in clips()} <= set(range(4, 9))
    assert len({len(clip.images) for clip in clips()}) >= 4
    assert len(draw_clip(clip_rng(1, 1), SIZE, frames=13).images) == 13


def test_masks_are_disjoint_and_boxes_tight():
    for clip in clips(8):
        assert (clip.masks.sum(1) <= 1).all()
        for t, k in itertools.product(range(len(clip.images)), clip.ids):
            rows, cols = np.nonzero(clip.masks[t, k])
            assert bool(len(rows)) == bool(clip.visible[t, k])
            if len(rows):
                tight = [cols.min(), rows.min(), cols.max() + 1, rows.max() + 1]
                assert clip.boxes[t, k].tolist() == tight
            else:
                assert not clip.boxes[t, k].any()


def test_the_first_frame_can_be_prompted():
    for clip in clips():
        areas = clip.masks[0].sum((1, 2))
        assert areas.max() >= MIN_AREA
        # Who is there at all shows enough of itself to be clicked.
        for motion, area in zip(clip.motions, areas, strict=True):
            assert area >= MIN_AREA or motion.kind == "enter"


def test_every_kind_of_motion_happens_and_keeps_its_promise():
    seen: dict[str, int] = {}
    for clip in clips():
        for k, motion in enumerate(clip.motions):
            seen[motion.kind] = seen.get(motion.kind, 0) + 1
            if motion.kind == "enter":
                assert not clip.visible[0, k] and clip.visible[-1].any()
            if motion.kind == "leave":
                assert clip.visible[0, k] and not clip.visible[-1, k]
    assert set(seen) == {"stay", "cross", "enter", "leave"}, seen


def test_objects_are_covered_now_and_then():
    """Crossings take pixels away: some object shows less than two thirds of its largest area."""
    covered = 0
    for clip in clips():
        for k, motion in enumerate(clip.motions):
            area = clip.masks[:, k].sum((1, 2))
            covered += motion.kind in ("stay", "cross") and area.min() < 0.6 * area.max()
    assert covered >= 2


def test_an_object_keeps_its_colour_through_the_clip():
    for index in range(6):
        clip = draw_clip(clip_rng(8, index), SIZE, 6, level=0)
        for k in clip.ids:
            means = [
                np.median(frame[mask], axis=0)
                for frame, mask in zip(clip.images, clip.masks[:, k], strict=True)
                if mask.sum() > 3 * MIN_AREA
            ]
            assert np.ptp(np.array(means), axis=0).max(initial=0) <= 6


def test_level_0_is_simple():
    for index in range(12):
        clip = draw_clip(clip_rng(6, index), SIZE, 4, level=0)
        assert len(clip.ids) <= 2 and (clip.attributes[:, 2] == 0).all()
        assert {m.kind for m in clip.motions} <= {"stay", "cross"}
        assert clip.visible[0].all()


def test_phrases_name_ids_by_their_attributes():
    for clip in clips():
        *positive, negative = clip.phrases
        assert len(positive) == 2 and negative.targets == ()
        for query in clip.phrases:
            concept = parse(query.text)
            assert concept is not None
            named = np.flatnonzero(concept.matches(clip.attributes))
            assert query.targets == tuple(named.tolist()) and query.box_object is None
        assert all(query.targets for query in positive)


def test_background_drifts_by_at_most_two_pixels():
    for seed in range(6):
        frames = moving_background(np.random.default_rng(seed), (40, 50), 5, simple=False)
        assert frames.shape == (5, 40, 50, 3)
        for before, after in itertools.pairwise(frames):
            shifts = itertools.product(range(-2, 3), repeat=2)
            assert any(_shifted_equal(before, after, *shift) for shift in shifts)


def _shifted_equal(before: np.ndarray, after: np.ndarray, dy: int, dx: int) -> bool:
    inner = before[2 + dy : 38 + dy, 2 + dx : 48 + dx]
    return np.array_equal(inner, after[2:38, 2:48])


@pytest.mark.parametrize(
    ("value", "expected"), [(3, 3), (10, 10), (12, 8), (18, 2), (-1, 5), (22, 6), (34, 2)]
)
def test_reflection(value, expected):
    assert reflect(value, 2, 10) == expected
    assert reflect(value, 7, 7) == 7


def test_motions_that_stay_bounce_inside():
    for seed in range(40):
        rng = np.random.default_rng(seed)
        motion = sample_motion(rng, SIZE, 12, 40)
        path = np.array([motion.position(t) for t in range(40)])
        assert path.min() >= 12 and (path <= (128 - 12, 96 - 12)).all()
        steps = np.diff(path, axis=0)
        turned = np.abs(np.abs(steps) - np.abs(motion.velocity)).max(1) > 1e-6
        assert np.linalg.norm(steps, axis=1).max() <= 0.07 * 96 + 1e-6
        assert turned.sum() <= 0.4 * len(steps)  # constant speed but for the bounces


def test_motions_that_cross_meet_their_partner():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        partner = sample_motion(rng, SIZE, 12, 8)
        motion = sample_motion(rng, SIZE, 12, 8, "cross", partner)
        times = np.linspace(0, 7, 400)
        gap = [np.linalg.norm(motion.position(t) - partner.position(t)) for t in times]
        assert min(gap) < 0.3 and max(gap) > 2


@pytest.mark.parametrize("kind", ["enter", "leave"])
def test_motions_through_the_border(kind):
    for seed in range(20):
        motion = sample_motion(np.random.default_rng(seed), SIZE, 10, 6, kind)
        ends = [motion.position(0), motion.position(5)]
        outside, inside = ends if kind == "enter" else reversed(ends)
        assert (outside < -10).any() or (outside > (138, 106)).any()
        assert (inside > 0).all() and (inside < (128, 96)).all()


def test_scale_and_angle_change_slowly():
    motion = Motion((0, 0), (0, 0), (None, None), 3.5, 0.2, 0.1, 0.03)
    assert motion.pose(0)[0] == pytest.approx(0.2) and motion.pose(5)[0] == pytest.approx(0.7)
    assert motion.pose(3.5)[1] == 1 and motion.pose(7)[1] == pytest.approx(np.exp(0.105))


def test_a_sprite_keeps_its_place_angle_and_size():
    """The centre of gravity and the area of a square follow its pose."""
    square = (0, SHAPE_NAMES.index("square"), 0)
    sprite = draw_sprite(square, 20, np.random.default_rng(3), plain=False)  # soft edges
    areas = []
    for angle, scale in ((0, 1), (np.pi / 2, 1), (0.7, 1), (0, 0.5), (0, 1.2)):
        window, _, alpha = warp(sprite, np.array([63.0, 47.5]), angle, scale, (96, 128))
        picture = np.zeros((96, 128), np.float32)
        picture[window] = alpha
        x, y = (picture.sum(axis) @ (np.arange(n) + 0.5) for axis, n in ((0, 128), (1, 96)))
        assert x / picture.sum() == pytest.approx(63, abs=0.3)
        assert y / picture.sum() == pytest.approx(47.5, abs=0.3)
        areas.append(picture.sum() / scale**2)
    np.testing.assert_allclose(areas, areas[0], rtol=0.03)
    assert warp(sprite, np.array([-40.0, 10]), 0, 1, (96, 128)) is None


def test_camera_without_faults_changes_nothing():
    canvas = np.random.default_rng(0).uniform(0, 255, (9, 8, 3)).astype(np.float32)
    taken = Camera().take(canvas, np.random.default_rng(1))
    assert np.array_equal(taken, np.rint(canvas).astype(np.uint8))
    noisy = Camera(noise=5, blur=0.5, quality=60).take(canvas, np.random.default_rng(1))
    assert noisy.shape == (9, 8, 3) and not np.array_equal(noisy, taken)


@pytest.mark.parametrize(
    ("size", "options", "message"),
    [
        ((16, 100), {}, "at least 32"),
        (SIZE, {"frames": 1}, "at least 2 frames"),
        (SIZE, {"objects": 5}, "1 to 4 objects"),
    ],
)
def test_what_cannot_be_drawn_is_refused(size, options, message):
    with pytest.raises(ValueError, match=message):
        draw_clip(clip_rng(0, 0), size, **options)


def test_a_folder_of_pictures_with_its_truth(tmp_path):
    clip = clips()[0]
    folder = write_clip(clip, tmp_path / "clip", truth=True)
    files = sorted(folder.iterdir())
    assert [p.name for p in files][:2] == ["00000.png", "00001.png"]
    assert np.array_equal(np.stack([np.array(Image.open(p)) for p in files]), clip.images)
    labels = np.array(Image.open(tmp_path / "clip_truth" / "00001.png"))
    assert np.array_equal(labels, clip.labels[1])
    truth = json.loads((tmp_path / "clip_truth" / "truth.json").read_text(encoding="utf-8"))
    assert truth == describe(clip) and truth["frames"] == len(clip.images)
    for k, entry in enumerate(truth["objects"]):
        seen = [box is not None for box in entry["boxes_xyxy"]]
        assert seen == clip.visible[:, k].tolist()


@pytest.mark.skipif(not has_package("av"), reason="PyAV is not installed")
@pytest.mark.parametrize("size", [(64, 80), (65, 81)])
def test_an_mp4_shows_the_clip(tmp_path, size):
    import av

    clip = draw_clip(clip_rng(3, 0), size, 5, level=0)
    path = write_clip(clip, tmp_path / "new" / "clip.mp4", fps=5)
    with av.open(str(path)) as container:
        read = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(read) == 5 and [p.name for p in path.parent.iterdir()] == ["clip.mp4"]
    read = np.stack(read)[:, : size[0], : size[1]]
    assert np.abs(read.astype(int) - clip.images).mean() < 8


def test_writing_needs_a_frame_rate_and_pyav(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="at least 1 frame per second"):
        write_clip(clips()[0], tmp_path / "clip.mp4", fps=0)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingDependencyError, match="pip install av"):
        write_clip(clips()[0], tmp_path / "clip.mp4")
    assert not list(tmp_path.rglob("*.mp4"))
