"""The trunk stage: targets from the scenes, classifiers, losses, and the stage inside a run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from sam3.config import presets
from sam3.model_builder import build_sam3_image_model
from sam3.train.data.scenes.prerender import PrerenderConfig, prerender
from sam3.train.data.scenes.prerender_clips import ClipPrerenderConfig, prerender_clips
from sam3.train.tiny import attributes
from sam3.train.tiny.attributes import (
    ANSWERS,
    ATTRIBUTES,
    BACKGROUND_WEIGHT,
    CELLS_PER_PATCH,
    CLASSES,
    UNKNOWN,
    AttributeBatch,
    AttributeBatches,
    AttributeClassifier,
    CellHead,
    CellTargets,
    attribute_loss,
    cell_loss,
    cell_targets,
)
from sam3.train.tiny.boundaries import pair_targets
from sam3.train.tiny.centres import centre_targets

GRID = presets.SAM3_TINY.vision.grid
SIDE = presets.SAM3_TINY.vision.img_size


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scenes") / "train"
    return prerender(path, PrerenderConfig(scenes=6, resolution=SIDE, seed=4))


@pytest.fixture
def batch(folder: Path) -> AttributeBatch:
    return AttributeBatches(folder, 3, grid=GRID, seed=1).batch(0, 0.0)


def test_classes_are_those_of_the_object_at_the_middle_of_a_cell(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attributes, "random_orientation", lambda rng: (False, False, False))
    source = AttributeBatches(folder, 1, grid=GRID, seed=1)
    side = SIDE // (GRID * CELLS_PER_PATCH)
    seen = 0
    for number in range(6):
        found = source.batch(number, 0.0).cells.classes[0]
        candidates = []
        for row in range(len(source.scenes)):
            scene = source.scenes[row]
            wanted = torch.zeros_like(found)
            for y in range(found.shape[1]):
                for x in range(found.shape[2]):
                    label = scene.labels[y * side + side // 2, x * side + side // 2]
                    if label:
                        values = torch.from_numpy(scene.attributes[label - 1].astype("int64"))
                        wanted[:, y, x] = values + 1
            candidates.append(torch.equal(found, wanted))
        assert any(candidates)
        seen += int((found > 0).any())
    assert seen, "no scene of the test had an object"


def test_batches_repeat_by_number(folder: Path, batch: AttributeBatch) -> None:
    again = AttributeBatches(folder, 3, grid=GRID, seed=1)
    assert torch.equal(again.batch(0, 0.9).images, batch.images)
    assert torch.equal(again.batch(0, 0.9).cells.classes, batch.cells.classes)
    assert not torch.equal(again.batch(1, 0.0).images, batch.images)


def test_classifier_reaches_the_trunk(batch: AttributeBatch) -> None:
    torch.manual_seed(0)
    model = build_sam3_image_model(
        config=presets.SAM3_TINY, device="cpu", load_from_HF=False, eval_mode=False
    )
    trunk = model.backbone.vision_backbone.trunk
    classifier = AttributeClassifier(trunk, CellHead(presets.SAM3_TINY.vision.embed_dim))
    outputs = classifier(batch)
    cells = GRID * CELLS_PER_PATCH
    assert [tuple(o.shape) for o in outputs] == [(3, count, cells, cells) for count in ANSWERS]
    losses = attribute_loss(outputs, batch)
    losses["core_loss"].backward()
    gradients = [p.grad for p in trunk.parameters() if p.requires_grad]
    assert all(g is not None and g.abs().sum() > 0 for g in gradients)


def test_right_answers_cost_nothing_and_wrong_ones_only_their_own(batch: AttributeBatch) -> None:
    exact = [
        20.0 * F.one_hot(classes, count).permute(0, 3, 1, 2)
        for classes, count in zip(batch.cells.classes.unbind(1), CLASSES, strict=True)
    ]
    exact.append(40.0 * pair_targets(batch.cells.objects)[0] - 20)
    exact.append(centre_targets(batch.cells.objects))
    losses = attribute_loss(tuple(exact), batch)
    assert float(losses["core_loss"]) < 1e-5
    assert all(float(losses[f"{name}_accuracy"]) == 1 for name in ATTRIBUTES)

    exact[1] = exact[1].roll(1, dims=1)
    losses = attribute_loss(tuple(exact), batch)
    assert float(losses["loss_shape"]) > 10 and float(losses["shape_accuracy"]) == 0
    assert float(losses["loss_colour"]) < 1e-5 and float(losses["loss_pattern"]) < 1e-5


def test_cells_of_small_objects_weigh_more() -> None:
    labels = torch.zeros(48, 48, dtype=torch.uint8).numpy()
    labels[:16, :16], labels[16:, 16:] = 1, 2  # 16 cells and 64
    attributes = torch.tensor([[0, 1, 0], [2, 3, 1]], dtype=torch.int8).numpy()
    classes, weights, objects = cell_targets(labels, attributes, 12)
    assert weights[0, 0] == 2.0 and weights[11, 11] == 1.0  # 4 times the cells, twice the sum
    assert objects[0, 0] == 1 and objects[11, 11] == 2 and objects[11, 0] == 0
    assert weights[11, 0] == pytest.approx(BACKGROUND_WEIGHT)
    assert classes[:, 0, 0].tolist() == [1, 2, 1] and classes[:, 11, 0].tolist() == [0, 0, 0]


def test_a_batch_without_objects_has_finite_losses() -> None:
    logits = tuple(torch.zeros(1, count, 4, 4, requires_grad=True) for count in ANSWERS)
    nothing = cell_targets(
        torch.zeros(8, 8, dtype=torch.uint8).numpy(), torch.zeros(0, 3).numpy(), 4
    )
    losses = cell_loss(logits, CellTargets.stack([nothing]))
    assert float(losses["loss_colour"].detach()) == 0 and float(losses["loss_shape"].detach()) > 0
    losses["core_loss"].backward()
    assert all(torch.isfinite(part.grad).all() for part in logits)


def test_every_other_picture_is_a_frame_of_a_clip(folder: Path, tmp_path: Path) -> None:
    clips = prerender_clips(tmp_path, ClipPrerenderConfig(clips=2, resolution=SIDE, seed=3))
    source = AttributeBatches(folder, 4, grid=GRID, seed=1, clips=clips)
    rows = source.rows(0)
    assert [row >= len(source.scenes) for row in rows] == [False, True, False, True]
    assert max(rows) < len(source.scenes) + 16
    classes, objects = source.batch(0, 0.0).cells.classes, source.batch(0, 0.0).cells.objects
    assert ((classes[1::2] == UNKNOWN).all(1) == (objects[1::2] > 0)).all()
    assert (objects[1::2] > 0).any() and (classes[::2] >= 0).all()


def test_unknown_attributes_cost_nothing_but_their_places_do(batch: AttributeBatch) -> None:
    cells = batch.cells
    there = (cells.objects > 0)[:, None]
    unknown = CellTargets(cells.classes.masked_fill(there, UNKNOWN), cells.weights, cells.objects)
    torch.manual_seed(0)
    logits = [torch.randn(3, count, *cells.objects.shape[1:]) for count in ANSWERS]
    before = cell_loss(tuple(logits), unknown)
    assert before["loss_colour"] == 0 and before["loss_pattern"] == 0
    changed = [torch.where(there, part.roll(1, 1), part) for part in logits[:3]]
    assert cell_loss((*changed, *logits[3:]), unknown)["loss_shape"] == before["loss_shape"]
    turned = cell_loss((*logits[:3], *(-part for part in logits[3:])), unknown)
    assert turned["loss_pairs"] != before["loss_pairs"]
    assert turned["loss_centre"] != before["loss_centre"]


def test_colour_of_background_does_not_matter(batch: AttributeBatch) -> None:
    torch.manual_seed(0)
    logits = [torch.randn(3, count, *batch.cells.objects.shape[1:]) for count in ANSWERS]
    before = attribute_loss(tuple(logits), batch)
    background = (batch.cells.classes[:, :1] == 0).expand(-1, CLASSES[0], -1, -1)
    logits[0] = logits[0].masked_fill(background, 3.0)
    after = attribute_loss(tuple(logits), batch)
    assert after["loss_colour"] == before["loss_colour"]
    logits[1] = logits[1] + 3 * (torch.arange(CLASSES[1]) == 0).view(1, -1, 1, 1)
    assert attribute_loss(tuple(logits), batch)["loss_shape"] != before["loss_shape"]
