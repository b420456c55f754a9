"""Shards resume and refuse mixed settings; batches repeat and agree with the label maps."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sam3.errors import InputError
from sam3.train.data.scenes.assemble import Question, assemble, target_masks
from sam3.train.data.scenes.augment import orient, plain_curve, tone_curve
from sam3.train.data.scenes.dataset import SceneBatches, SceneFolder
from sam3.train.data.scenes.prerender import (
    PrerenderConfig,
    draw_scenes,
    main,
    prerender,
    square_scene,
)
from sam3.train.data.scenes.scene import draw_scene, scene_rng
from sam3.train.data.scenes.shards import draw_shard
from sam3.train.data.scenes.vocabulary import parse

_CONFIG = PrerenderConfig(scenes=44, resolution=64, seed=3, shard_size=16, max_side=160)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prerender(tmp_path_factory.mktemp("scenes"), _CONFIG)


def _arrays(folder: Path) -> dict[str, np.ndarray]:
    return {str(p.relative_to(folder)): np.load(p) for p in sorted(folder.glob("shard_*/*.npy"))}


def test_shards_do_not_depend_on_order_or_workers(folder: Path, tmp_path: Path) -> None:
    for number in (2, 0, 1):
        draw_shard(tmp_path, number, _CONFIG, draw_scenes)
    first, second = _arrays(folder), _arrays(tmp_path)
    assert first.keys() == second.keys() and len(first) == 15
    assert all(np.array_equal(first[key], second[key]) for key in first)


def test_two_processes_may_finish_the_same_shard(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save_after_the_other(path: Path, array: np.ndarray) -> None:
        if not (tmp_path / "shard_00000").exists():
            shutil.copytree(folder / "shard_00000", tmp_path / "shard_00000")
        path.write_bytes(array.tobytes()[:8])

    monkeypatch.setattr(np, "save", save_after_the_other)
    draw_shard(tmp_path, 0, _CONFIG, draw_scenes)
    assert [p.name for p in tmp_path.iterdir()] == ["shard_00000"]
    kept = np.load(tmp_path / "shard_00000" / "images.npy")
    assert np.array_equal(kept, np.load(folder / "shard_00000" / "images.npy"))


def test_resume_draws_only_what_is_missing(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    shutil.rmtree(copy / "shard_00001")
    (copy / ".shard_00001.leftover").mkdir()
    before = (copy / "shard_00000" / "images.npy").stat().st_mtime_ns
    with pytest.raises(InputError, match="1 of 3 shards are missing, first shard_00001"):
        SceneFolder(copy)
    prerender(copy, _CONFIG)
    assert (copy / "shard_00000" / "images.npy").stat().st_mtime_ns == before
    assert not list(copy.glob(".shard_*"))
    assert all(np.array_equal(value, _arrays(copy)[key]) for key, value in _arrays(folder).items())


def test_the_first_scenes_can_be_used_before_the_rest_is_drawn(
    folder: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    shutil.rmtree(copy / "shard_00002")
    early = SceneBatches(copy, 4, 2, 1, first_scenes=20)
    whole = SceneBatches(folder, 4, 2, 1, first_scenes=20)
    assert len(early.scenes) == 20
    assert torch.equal(early.batch(3).img_batch, whole.batch(3).img_batch)
    with pytest.raises(InputError, match="must be 1 to 44"):
        SceneFolder(copy, 45)


def test_other_settings_are_refused(folder: Path) -> None:
    with pytest.raises(InputError, match=r"other settings \(seed\)"):
        prerender(folder, replace(_CONFIG, seed=4))
    with pytest.raises(InputError, match="--resolution 96"):
        SceneBatches(folder, 2, 2, 0, resolution=96)
    with pytest.raises(InputError, match="must be positive"):
        PrerenderConfig(scenes=0)


def test_a_folder_without_scenes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="prerender"):
        SceneFolder(tmp_path)


def test_command_line_writes_a_readable_folder(tmp_path: Path) -> None:
    options = "--scenes 3 --resolution 32 --shard-size 2 --workers 2 --out"
    assert main([*options.split(), str(tmp_path / "s")]) == 0
    scenes = SceneFolder(tmp_path / "s")
    assert len(scenes) == 3 and scenes[2].image.shape == (32, 32, 3)


def test_stored_scene_is_the_drawn_one_resized(folder: Path) -> None:
    scenes = SceneFolder(folder)
    assert len(scenes) == 44
    for index in (0, 20, 43):
        stored = scenes[index]
        assert len(stored.attributes) == len(stored.boxes) == scenes.counts[index]
        assert stored.labels.max(initial=0) <= len(stored.boxes)


def test_square_scene_masks_and_boxes_match_native_ones() -> None:
    rng = scene_rng(5, 1)
    scene = draw_scene(rng, (120, 240))
    assert len(scene.attributes)
    image, labels, boxes = square_scene(scene, 240)
    assert image.shape == (240, 240, 3)
    # Twice the height, nothing else.
    assert (np.repeat(scene.labels, 2, axis=0) != labels).mean() < 0.01
    x0 = (boxes[:, 0] - boxes[:, 2] / 2) * 240
    assert x0 == pytest.approx(scene.boxes[:, 0], abs=1e-3)
    assert boxes[:, 3] * 120 == pytest.approx(scene.boxes[:, 3] - scene.boxes[:, 1], abs=1e-3)


def _equal(first: object, second: object) -> bool:
    for name in vars(first):
        a, b = getattr(first, name), getattr(second, name)
        same = torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
        if not same:
            return False
    return True


@pytest.mark.parametrize("phrases", [1, 2, 3])
def test_batches_are_a_function_of_seed_and_step(folder: Path, phrases: int) -> None:
    def make(seed: int) -> SceneBatches:
        return SceneBatches(folder, 4, phrases, seed, 64, 32, simple_steps=3)

    running = make(7)
    for step in range(12):
        last = running.batch(step)
    resumed = SceneBatches(folder, 4, phrases, 7, 64, 32, simple_steps=3, start_step=11)
    again = next(iter(resumed))
    assert torch.equal(last.img_batch, again.img_batch)
    assert last.find_text_batch == again.find_text_batch
    assert _equal(last.find_inputs[0], again.find_inputs[0])
    assert _equal(last.find_targets[0], again.find_targets[0])
    assert not torch.equal(make(8).batch(11).img_batch, last.img_batch)


def test_batch_fields(folder: Path) -> None:
    batches = SceneBatches(folder, 4, 3, 0, 64, 32)
    saw_box = False
    for step in range(10):
        batch = batches.batch(step)
        stage, target = batch.find_inputs[0], batch.find_targets[0]
        queries, total = len(stage.img_ids), int(target.num_boxes.sum())
        assert batch.img_batch.shape == (4, 3, 64, 64) and batch.img_batch.dtype == torch.float32
        assert batch.img_batch.min() >= -1 and batch.img_batch.max() <= 1
        assert stage.img_ids.tolist() == [i for i in range(4) for _ in range(3)]
        assert (
            len(set(batch.find_text_batch))
            == len(batch.find_text_batch)
            == int(stage.text_ids.max()) + 1
        )
        slots = stage.input_boxes.shape[0]
        assert stage.input_boxes.shape == (slots, queries, 4)
        assert stage.input_boxes_mask.shape == (queries, slots)
        assert stage.input_boxes_label.shape == (slots, queries)
        saw_box |= bool((~stage.input_boxes_mask).any())
        assert target.boxes.shape == (total, 4) and target.segments.shape == (total, 32, 32)
        assert target.segments.flatten(1).any(1).all()
        assert target.object_ids.shape == (total,) and target.is_exhaustive.all()
        assert ((target.object_ids_padded >= 0).sum(1) == target.num_boxes).all()
        packed = target.boxes_padded[target.object_ids_padded >= 0]
        assert torch.equal(packed, target.boxes)
        assert [k for own in stage.object_ids for k in own] == target.object_ids.tolist()
    assert saw_box


def test_targets_follow_from_the_phrase_and_boxes_hold_masks(folder: Path) -> None:
    batches = SceneBatches(folder, 4, 2, 5, 64, 64)
    scenes = batches.scenes
    for step in range(8):
        batch = batches.batch(step)
        rows = batches.scene_rows(step, 1)
        stage, target = batch.find_inputs[0], batch.find_targets[0]
        first = 0
        for query, count in enumerate(target.num_boxes.tolist()):
            text = batch.find_text_batch[stage.text_ids[query]]
            table = scenes[rows[int(stage.img_ids[query])]].attributes
            if text != "visual":
                assert int(parse(text).matches(table).sum()) == count, text
            for mask, box in zip(
                target.segments[first : first + count],
                target.boxes[first : first + count],
                strict=True,
            ):
                ys, xs = mask.nonzero(as_tuple=True)
                cx, cy, w, h = (box * 64).tolist()
                assert cx - w / 2 - 1.6 <= xs.min() and xs.max() + 1 <= cx + w / 2 + 1.6
                assert cy - h / 2 - 1.6 <= ys.min() and ys.max() + 1 <= cy + h / 2 + 1.6
            first += count


def test_simple_steps_use_simple_scenes_and_phrases(folder: Path) -> None:
    batches = SceneBatches(folder, 4, 2, 1, 64, 32, simple_steps=2)
    for step in (0, 1):
        assert all(batches.scenes.levels[row] == 0 for row in batches.scene_rows(step, 0))
        batch = batches.batch(step)
        assert batch.find_inputs[0].input_boxes.shape[0] == 0
        assert not {"a", "an", "the", "striped", "dotted"} & {
            t.split()[0] for t in batch.find_text_batch
        }


def test_an_epoch_shows_every_scene_once(folder: Path) -> None:
    batches = SceneBatches(folder, 4, 2, 1, 64, 32)
    seen = [row for step in range(11) for row in batches.scene_rows(step, 1)]
    assert sorted(seen) == list(range(44))
    assert seen != [row for step in range(11, 22) for row in batches.scene_rows(step, 1)]


@pytest.mark.parametrize("flags", [(a, b, c) for a in (0, 1) for b in (0, 1) for c in (0, 1)])
def test_orientation_moves_pixels_labels_and_boxes_alike(flags: tuple[int, int, int]) -> None:
    labels = np.zeros((40, 40), dtype=np.uint8)
    labels[4:10, 20:36] = 1
    image = np.repeat(labels[..., None] * 200, 3, axis=2)
    boxes = np.array([[28 / 40, 7 / 40, 16 / 40, 6 / 40]], dtype=np.float32)
    image, labels, boxes = orient(image, labels, boxes, tuple(map(bool, flags)))
    assert np.array_equal(image[..., 0] > 0, labels == 1)
    ys, xs = np.nonzero(labels)
    tight = [
        (xs.min() + xs.max() + 1) / 80,
        (ys.min() + ys.max() + 1) / 80,
        np.ptp(xs) + 1,
        np.ptp(ys) + 1,
    ]
    assert boxes[0].tolist() == pytest.approx([tight[0], tight[1], tight[2] / 40, tight[3] / 40])


def test_tone_curves_are_gentle_and_monotonic() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        curve = tone_curve(rng)
        assert curve.shape == (256, 3) and (np.diff(curve, axis=0) >= 0).all()
        assert np.abs(curve - plain_curve()).max() < 0.45
    assert plain_curve()[[0, 255], 0].tolist() == [-1, 1]


def test_unaugmented_pixels_are_normalised_as_in_inference(folder: Path) -> None:
    batches = SceneBatches(folder, 4, 2, 1, 64, 32, augment=False)
    row = batches.scene_rows(0, 1)[2]
    expected = torch.from_numpy(np.array(batches.scenes[row].image)).permute(2, 0, 1).float() / 255
    assert torch.allclose(batches.batch(0).img_batch[2], (expected - 0.5) / 0.5, atol=1e-6)


def test_target_masks_use_half_coverage_and_keep_thin_objects() -> None:
    labels = np.zeros((8, 8), dtype=np.uint8)
    labels[0:2, 0:3] = 1  # one full cell and one half covered
    labels[6, 5] = 2  # a quarter of one cell
    question = Question(0, "x", (0, 1), np.zeros((2, 4), dtype=np.float32))
    masks = target_masks([question], [labels], 4)
    assert masks[0].nonzero().tolist() == [[0, 0], [0, 1]]
    assert masks[1].nonzero().tolist() == [[3, 2]]


def test_a_batch_without_any_target_has_empty_tensors() -> None:
    image = np.zeros((16, 16, 3), dtype=np.uint8)
    question = Question(0, "red star", (), np.zeros((0, 4), dtype=np.float32))
    batch = assemble([(image, None)], [image[..., 0]], [question], 4)
    target = batch.find_targets[0]
    assert target.boxes.shape == (0, 4) and target.segments.shape == (0, 4, 4)
    assert target.boxes_padded.shape == (1, 0, 4) and target.object_ids.dtype == torch.int64
    assert batch.find_inputs[0].input_boxes.shape == (0, 1, 4)
