"""What the options of the tracker's training mean for its recipe."""

from __future__ import annotations

import pytest

from sam3.errors import InputError
from sam3.train.tiny.tracking.command import parser, run_of
from sam3.train.tiny.tracking.recipe import TrackingRecipe


def recipe(*options: str) -> TrackingRecipe:
    return run_of(parser().parse_args(["--image-checkpoint", "a", "--out", "b", *options])).recipe


def test_a_trained_tracker_skips_the_stage_of_places() -> None:
    assert recipe() == TrackingRecipe()
    started = recipe("--start", "c", "--picture-stage", "0.1", "--neck-lr", "0.3")
    assert started.place_stage == 0.0
    assert (started.picture_stage, started.neck_lr) == (0.1, 0.3)


def test_any_field_of_the_recipe_can_be_given() -> None:
    given = recipe("--recipe", '{"windows": [[4, 0.25], [8, 0.75]], "picture_share": 0.1}')
    assert given == TrackingRecipe(windows=((4, 0.25), (8, 0.75)), picture_share=0.1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"speed": 1}', "no field"),
        ('{"windows": [[4, 0.5]]}', "windows"),
        ('{"prompt_shares": [0.5, 0.5, 0.5]}', "prompt_shares"),
    ],
)
def test_fields_that_make_no_sense_are_named(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        recipe("--recipe", text)


@pytest.mark.parametrize("text", ["windows=4", "[1, 2]"])
def test_a_recipe_that_is_no_json_object_is_refused(text: str, capsys) -> None:
    with pytest.raises(SystemExit):
        recipe("--recipe", text)
    assert "JSON" in capsys.readouterr().err
