"""Random changes, cut-outs, drawn scenes and batches."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

from sam3.errors import InputError
from sam3.train.data.datapoint import Datapoint
from sam3.train.data.torch_dataset import seeded_random_numbers
from sam3.train.finetune.augment import RandomAffine, RandomTone
from sam3.train.finetune.batches import FinetuneBatches, training_set, with_masks_of
from sam3.train.finetune.cutouts import Cutout, Paster, cut_out
from sam3.train.finetune.data import load_data
from sam3.train.finetune.recipe import RELEASED, Changes
from sam3.train.finetune.replay import SceneReplay
from sam3.train.finetune.settings import DataSettings
from tests.support.datasets import make_datapoint, make_object, make_query


def boxed(masked: bool = True, size: tuple[int, int] = (40, 40)) -> Datapoint:
    """One object in rows 5-14 and columns 10-29, painted white."""
    mask = torch.zeros(size, dtype=torch.uint8)
    mask[5:15, 10:30] = 1
    item = make_object([10, 5, 30, 15], segment=mask if masked else None)
    datapoint = make_datapoint([make_query(0, [0])], [[item]], size)
    pixels = np.zeros((*size, 3), np.uint8)
    pixels[mask.bool().numpy()] = 255
    datapoint.images[0].data = PIL.Image.fromarray(pixels)
    return datapoint


def tight_box(mask: np.ndarray) -> list[int]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


def test_mirroring_moves_pixels_mask_and_box_alike() -> None:
    changed = RandomAffine(flip=1.0)(boxed())
    item = changed.images[0].objects[0]
    assert item.bbox.tolist() == [10, 5, 30, 15]  # columns 10-29 of 40 mirror to themselves
    narrow = boxed()
    narrow.images[0].objects[0].segment[:, 20:] = 0
    narrow.images[0].objects[0].bbox = torch.tensor([10.0, 5, 20, 15])
    assert RandomAffine(flip=1.0)(narrow).images[0].objects[0].bbox.tolist() == [20, 5, 30, 15]


@pytest.mark.parametrize("seed", range(6))
def test_turned_and_zoomed_masks_stay_on_their_pixels(seed: int) -> None:
    with seeded_random_numbers((seed,)):
        changed = RandomAffine(flip=0.5, degrees=180, zoom=1.5)(boxed())
    image = changed.images[0]
    assert len(image.objects) == 1
    mask = image.objects[0].segment.numpy().astype(bool)
    white = np.asarray(image.data)[..., 0] > 127
    agreed = (mask & white).sum() / (mask | white).sum()
    assert agreed > 0.8
    assert image.objects[0].bbox.tolist() == tight_box(mask)


@pytest.mark.parametrize("seed", range(4))
def test_boxes_without_masks_are_never_turned_askew(seed: int) -> None:
    with seeded_random_numbers((seed,)):
        changed = RandomAffine(flip=0.5, degrees=180)(boxed(masked=False))
    image = changed.images[0]
    white = np.asarray(image.data)[..., 0] > 127
    assert image.objects[0].bbox.round().tolist() == tight_box(white)


def test_objects_that_leave_the_picture_leave_the_answers() -> None:
    datapoint = make_datapoint(
        [make_query(0, [0, 1])],
        [[make_object([0, 0, 4, 4]), make_object([15, 15, 25, 25])]],
        (40, 40),
    )
    random.seed(1)
    transform = RandomAffine(flip=0.0, zoom=4.0)
    transform.zoom = 4.0
    for _ in range(20):
        changed = transform(datapoint)
        kept = len(changed.images[0].objects)
        assert changed.find_queries[0].object_ids_output == list(range(kept))


@pytest.mark.parametrize("values", [{"flip": 2}, {"degrees": -1}, {"zoom": 0.5}])
def test_impossible_changes_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(InputError, match="flip must be"):
        RandomAffine(**values)


def test_tone_keeps_black_near_black_and_order() -> None:
    datapoint = boxed()
    random.seed(0)
    pixels = np.asarray(RandomTone(0.2)(datapoint).images[0].data).astype(int)
    assert pixels[7, 15].min() > pixels[30, 5].max() + 100


@pytest.fixture
def pictures(export: Path):
    return load_data(DataSettings(data=export)).train


def test_cut_outs_are_the_objects_of_new_phrases(pictures) -> None:
    found = cut_out(pictures, side=120)
    assert {c.phrase for c in found} <= {"thing 0", "thing 1"}
    known = {**pictures.content}
    known["categories"] = [
        {"id": 1, "name": "red circle"},
        {"id": 2, "name": "star"},
    ]
    assert cut_out(type(pictures)(known, pictures.folder, True), side=120) == []


def test_pasted_objects_have_labels_of_their_own() -> None:
    rgba = np.zeros((12, 20, 4), np.uint8)
    rgba[..., 0] = 255
    rgba[2:10, 3:17, 3] = 255
    image = np.zeros((64, 64, 3), np.uint8)
    labels = np.zeros((64, 64), np.uint8)
    labels[30:40, 30:40] = 1
    paster = Paster([Cutout(rgba, "moon")], degrees=90, zoom=1.2)
    for number in range(8):
        rng = np.random.default_rng(number)
        changed, marked, phrase, count = paster.paste(image, labels, rng)
        assert phrase == "moon" and 0 <= count <= 3
        assert marked.max() == 1 + count or count == 0
        new = marked > 1
        assert (changed[new][:, 0] > 100).all() and (marked == 1).sum() >= 60
    assert image.max() == 0  # the scene itself stays


@pytest.fixture
def paster() -> Paster:
    rgba = np.full((16, 16, 4), 255, np.uint8)
    return Paster([Cutout(rgba, "moon")])


def test_drawn_scenes_ask_for_what_was_pasted(paster: Paster) -> None:
    replay = SceneReplay(72, ("moon", "red star"), paster, seed=1, pasted=1.0)
    assert replay.absent == ["moon"]
    sample = replay.sample(5)
    again = replay.sample(5)
    assert torch.equal(sample.images[0].data, again.images[0].data)
    first = sample.find_queries[0]
    objects = sample.images[0].objects
    assert first.query_text == "moon" and first.object_ids_output
    assert first.object_ids_output[-1] == len(objects) - 1
    for item in objects:
        mask = item.segment.bool().numpy()
        left, top, right, bottom = tight_box(mask)
        wanted = [(left + right) / 144, (top + bottom) / 144, (right - left) / 72]
        assert item.bbox[0, :3].tolist() == pytest.approx(wanted, abs=1e-5)


def test_new_phrases_are_absent_from_scenes_without_pasted_objects() -> None:
    replay = SceneReplay(72, ("moon",), seed=2, ask=1.0)
    for number in range(4):
        last = replay.sample(number).find_queries[-1]
        assert last.query_text == "moon" and last.object_ids_output == []


def test_batches_depend_on_their_number_alone(pictures, paster: Paster) -> None:
    recipe = RELEASED.with_length(steps=1)
    recipe = type(recipe)(
        **{**vars(recipe), "batch_size": 3, "replay": 0.34, "changes": Changes(flip=0.5, zoom=1.2)}
    )
    made = [
        FinetuneBatches(
            training_set(pictures, recipe, 64),
            recipe,
            seed=4,
            mask_size=16,
            replay=SceneReplay(64, ("thing 0",), paster, seed=4),
        )
        for _ in range(2)
    ]
    made[1].batch(0, 0.0)
    one, two = (source.batch(3, 0.5) for source in made)
    assert torch.equal(one.img_batch, two.img_batch) and one.img_batch.shape == (3, 3, 64, 64)
    assert one.find_text_batch == two.find_text_batch
    targets = one.find_targets[0]
    assert targets.segments.shape == (len(targets.boxes), 16, 16)
    assert targets.segments.flatten(1).any(1).all()
    assert made[0].batches_per_epoch == 2


def test_every_picture_comes_once_in_an_epoch(pictures) -> None:
    source = FinetuneBatches(training_set(pictures, RELEASED, 64), RELEASED, seed=0, mask_size=None)
    seen = [source.batch(number, 0.0).img_batch.mean().item() for number in range(4)]
    assert len({round(value, 6) for value in seen}) == 4
    assert source.batch(0, 0.0).find_targets[0].segments is None


def test_small_masks_keep_thin_objects(pictures) -> None:
    batch = FinetuneBatches(
        training_set(pictures, RELEASED, 64), RELEASED, seed=0, mask_size=64
    ).batch(0, 0.0)
    targets = batch.find_targets[0]
    targets.segments[:] = False
    targets.segments[:, 10, 10] = True
    small = with_masks_of(batch, 16).find_targets[0].segments
    assert small.flatten(1).sum(1).tolist() == [1] * len(small)
