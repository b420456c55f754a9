"""The text stage: targets from phrases, losses, and the model that keeps both heads."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from sam3.config import presets
from sam3.model.sam3_image import Sam3Image
from sam3.model_builder import build_sam3_image_model
from sam3.train.data.scenes.prerender import PrerenderConfig, prerender
from sam3.train.data.scenes.vocabulary import COLOUR_NAMES, PATTERN_NAMES, SHAPE_NAMES
from sam3.train.tiny.attributes import ATTRIBUTES, CLASSES
from sam3.train.tiny.objective import CurriculumSource, SupervisedModel, TinyObjective
from sam3.train.tiny.recipe import TinyRecipe, make_loss, make_matcher
from sam3.train.tiny.wording import (
    IGNORED,
    PhraseBatches,
    PhraseClassifier,
    PhraseObjective,
    WordHead,
    phrase_classes,
    word_loss,
)

GRID = presets.SAM3_TINY.vision.grid
SIDE = presets.SAM3_TINY.vision.img_size

RED = COLOUR_NAMES.index("red") + 1
CROSS = SHAPE_NAMES.index("cross") + 1
STRIPED = PATTERN_NAMES.index("striped") + 1


@pytest.fixture(scope="module")
def model() -> Sam3Image:
    torch.manual_seed(0)
    return build_sam3_image_model(
        config=presets.SAM3_TINY,
        device="cpu",
        load_from_HF=False,
        eval_mode=False,
        matcher=make_matcher(),
    )


@pytest.mark.parametrize(
    ("phrase", "classes"),
    [
        ("red cross", [RED, CROSS, 0]),
        ("the crosses", [0, CROSS, 0]),
        ("a striped red object", [RED, 0, STRIPED]),
        ("shape", [0, 0, 0]),
        ("visual", [IGNORED] * 3),
        ("red car", [IGNORED] * 3),
    ],
)
def test_phrases_name_their_attributes(phrase: str, classes: list[int]) -> None:
    assert phrase_classes([phrase]).tolist() == [classes]


def test_batches_repeat_and_say_what_they_spell() -> None:
    first, again = (PhraseBatches(64, seed=2).batch(5, 0.0) for _ in range(2))
    assert first.phrases == again.phrases
    assert torch.equal(first.classes, again.classes)
    assert torch.equal(first.classes, phrase_classes(first.phrases))
    assert (first.classes > 0).any(0).all() and (first.classes == 0).any(0).all()


def test_right_words_cost_nothing_and_unknown_phrases_are_left_out() -> None:
    classes = phrase_classes(["red cross", "visual"])
    known = classes.clamp(min=0)
    logits = [20.0 * F.one_hot(c, n).float() for c, n in zip(known.T, CLASSES, strict=True)]
    assert float(word_loss(tuple(logits), classes)["core_loss"]) < 1e-5
    logits[1] = logits[1].roll(1, dims=1)
    losses = word_loss(tuple(logits), classes)
    assert float(losses["loss_shape"]) == pytest.approx(20, abs=0.1)
    assert float(losses["shape_accuracy"]) == 0 and float(losses["colour_accuracy"]) == 1
    only_unknown = word_loss(tuple(x[1:] for x in logits), classes[1:])
    assert float(only_unknown["core_loss"]) == 0


def test_text_stage_learns_and_punishes_large_features(model: Sam3Image) -> None:
    torch.manual_seed(1)
    classifier = PhraseClassifier(
        model.backbone.language_backbone, WordHead(presets.SAM3_TINY.d_model)
    )
    batch = PhraseBatches(16, seed=3).batch(0, 0.0)
    objective = PhraseObjective(TinyRecipe())
    features, logits = classifier(batch)
    plain = objective((features, logits), batch)["core_loss"]
    grown = objective((features * (3 / features.square().mean().sqrt()), logits), batch)
    assert float(grown["core_loss"]) == pytest.approx(
        float(word_loss(logits, batch.classes)["core_loss"]) + 8, rel=1e-3
    )
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=3e-3)
    for _ in range(15):
        optimizer.zero_grad()
        loss = objective(classifier(batch), batch)["core_loss"]
        loss.backward()
        optimizer.step()
    assert float(loss) < 0.7 * float(plain)


def test_heads_see_trunk_and_text_of_the_same_pass(tmp_path: Path, model: Sam3Image) -> None:
    folder = prerender(tmp_path / "train", PrerenderConfig(scenes=4, resolution=SIDE, seed=6))
    recipe = TinyRecipe(images=2)
    source = CurriculumSource(folder, recipe, side=SIDE, mask_size=GRID * 4, seed=0)
    batch = source.batch(0, 0.9)
    assert batch.cells.classes.shape == (2, 3, GRID * 4, GRID * 4)
    assert len(batch.words) == len(batch.datapoint.find_text_batch)

    supervised = SupervisedModel(model).train()
    outputs = supervised(batch)
    features = model.backbone.vision_backbone.trunk(batch.datapoint.img_batch)[-1]
    for seen, expected in zip(outputs.cells, supervised.cell_head(features), strict=True):
        torch.testing.assert_close(seen, expected)
    objective = TinyObjective(make_loss(recipe, presets.SAM3_TINY.decoder.num_queries), recipe)
    losses = objective(outputs, batch)
    alone = TinyRecipe(images=2, cell_weight=0.0, word_weight=0.0)
    queries = presets.SAM3_TINY.decoder.num_queries
    without = TinyObjective(make_loss(alone, queries), alone)(outputs, batch)
    cells = sum(losses[f"cell_loss_{name}"] for name in (*ATTRIBUTES, "pairs", "centre"))
    words = sum(losses[f"word_loss_{name}"] for name in ATTRIBUTES)
    torch.testing.assert_close(
        losses["core_loss"] - without["core_loss"],
        recipe.cell_weight * cells + recipe.word_weight * words,
        rtol=1e-4,
        atol=1e-3,
    )
    losses["core_loss"].backward()
    assert all(p.grad is not None for p in supervised.cell_head.parameters())
    assert all(p.grad is not None for p in supervised.word_head.parameters())
