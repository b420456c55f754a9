"""What the options of the tracker's training mean for its recipe."""

from __future__ import annotations

from sam3.train.tiny.tracking.command import parser, run_of
from sam3.train.tiny.tracking.recipe import TrackingRecipe


def recipe(*options: str) -> TrackingRecipe:
    return run_of(parser().parse_args(["--image-checkpoint", "a", "--out", "b", *options])).recipe


def test_a_trained_tracker_skips_the_stage_of_places() -> None:
    assert recipe() == TrackingRecipe()
    started = recipe("--start", "c", "--picture-stage", "0.1", "--neck-lr", "0.3")
    assert started.place_stage == 0.0
    assert (started.picture_stage, started.neck_lr) == (0.1, 0.3)
