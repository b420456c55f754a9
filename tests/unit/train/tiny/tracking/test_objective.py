"""The losses: all candidates learn, absent objects have no mask, presence always counts."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from sam3.train.tiny.centres import ANSWERS
from sam3.train.tiny.tracking.batches import ClipBatch
from sam3.train.tiny.tracking.evaluation import answer_iou, first_frames
from sam3.train.tiny.tracking.model import Prediction, WindowOutputs
from sam3.train.tiny.tracking.objective import TrackingObjective, pixel_loss, shrink_masks
from sam3.train.tiny.tracking.recipe import TrackingRecipe

_SIDE, _GRID = 48, 16


def _batch(visible: list[bool]) -> ClipBatch:
    masks = torch.zeros(2, 2, _SIDE, _SIDE, dtype=torch.bool)
    masks[0, :, :24], masks[1, :, :, 30:] = True, True
    seen = torch.tensor(visible).reshape(2, 2)
    shown = masks & seen[..., None, None]
    return ClipBatch(
        images=torch.zeros(1, 2, 3, _SIDE, _SIDE),
        clips=torch.zeros(2, dtype=torch.int64),
        objects=torch.where(shown[1], 2, shown[0].long())[None].to(torch.uint8),
        masks=shown,
        visible=seen,
        prompt="points",
        corrections=0,
        centred=True,
        num_frames=2,
        seed=0,
    )


def _prediction(batch: ClipBatch, frame: int, right: int, candidates: int = 3) -> Prediction:
    """One candidate is right, the others are its opposite."""
    truth = (shrink_masks(batch.masks, _GRID)[:, frame, None] - 0.5) * 40
    masks = -truth.expand(-1, candidates, -1, -1).clone()
    masks[:, right] = truth[:, 0]
    ious = torch.zeros(2, candidates)
    ious[:, right] = 1.0
    presence = torch.where(batch.visible[:, frame, None], 9.0, -9.0)
    return Prediction(frame, masks.requires_grad_(), ious, presence, truth)


def _losses(predictions: list[Prediction], batch: ClipBatch) -> dict[str, torch.Tensor]:
    """Of predictions whose features tell no objects apart."""
    fine, middle, coarse = (torch.zeros(2, n, s, s) for n, s in ((8, 16), (16, 8), (ANSWERS, 4)))
    outputs = WindowOutputs(predictions, [fine, middle], coarse)
    return TrackingObjective(TrackingRecipe())(outputs, batch)


@pytest.mark.parametrize("right", [0, 2])
def test_every_candidate_learns_the_mask_and_its_own_iou(right: int) -> None:
    batch = _batch([True] * 4)
    outputs = [_prediction(batch, frame, right) for frame in (0, 1)]
    losses = _losses(outputs, batch)
    assert losses["loss_dice"].item() == pytest.approx(2 / 3, abs=0.02)
    assert losses["loss_iou"].item() < 1e-6 and losses["presence_accuracy"].item() == 1.0
    losses["core_loss"].backward()
    for prediction in outputs:
        pushed = prediction.masks.grad.abs().sum((0, 2, 3))
        assert bool((pushed[[k for k in range(3) if k != right]] > 1e-3).all())
        assert pushed[right] < 1e-3


def test_right_masks_cost_next_to_nothing() -> None:
    batch = _batch([True] * 4)
    losses = _losses([_prediction(batch, 0, 0, candidates=1)], batch)
    assert losses["loss_pixel"].item() < 1e-3 and losses["loss_dice"].item() < 1e-2


def test_object_and_background_weigh_alike_and_false_alarms_more() -> None:
    wanted = torch.zeros(1, 1, 10, 10)
    wanted[..., :1, :5] = 1
    empty, full = torch.full_like(wanted, -8.0), torch.full_like(wanted, 8.0)
    for masks in (empty, full):
        assert pixel_loss(masks, wanted, hard=0.0).item() == pytest.approx(4.0, abs=0.01)
    alarm = torch.where(wanted > 0, 8.0, -8.0)
    alarm[..., 5, :5] = 8.0  # as large as the object, 5 of 95 background pixels
    plain, strict = (pixel_loss(alarm, wanted, hard).item() for hard in (0.0, 8.0))
    assert plain == pytest.approx(4.0 * 5 / 95, abs=0.01)
    assert strict == pytest.approx(4.0 * 45 / 135, abs=0.01)


def test_single_masks_and_candidates_may_be_mixed() -> None:
    batch = _batch([True] * 4)
    outputs = [_prediction(batch, 0, 0, candidates=1), _prediction(batch, 1, 0, candidates=1)]
    repeated = {"masks": (-1, 3, -1, -1), "ious": (-1, 3)}
    outputs[1] = replace(
        outputs[1], **{name: getattr(outputs[1], name).expand(to) for name, to in repeated.items()}
    )
    losses = _losses(outputs, batch)
    assert losses["loss_dice"].item() < 1e-2
    worst = [_prediction(batch, 0, 0, candidates=1), outputs[1]]
    worst[0].masks.data.neg_()
    assert _losses(worst, batch)["loss_dice"].item() > 0.4


def test_an_absent_object_has_no_mask_to_learn() -> None:
    batch = _batch([True, False, True, True])  # object 0 leaves
    outputs = [_prediction(batch, frame, 0) for frame in (0, 1)]
    losses = _losses(outputs, batch)
    losses["core_loss"].backward()
    assert not outputs[1].masks.grad[0].any() and outputs[1].masks.grad[1].any()
    assert losses["presence_accuracy"].item() == 1.0
    wrong = [
        outputs[0],
        Prediction(
            1, *[outputs[1].masks, outputs[1].ious], torch.full((2, 1), 9.0), outputs[1].answer
        ),
    ]
    again = _losses(wrong, batch)
    assert again["presence_accuracy"].item() == 0.75
    assert again["loss_presence"].item() == pytest.approx(9.0 / 4, abs=1e-2)


def test_nothing_to_see_is_no_error() -> None:
    batch = _batch([False] * 4)
    losses = _losses([_prediction(batch, 0, 0)], batch)
    assert losses["loss_dice"].item() == 0.0 and torch.isfinite(losses["core_loss"])


def test_answers_are_measured_where_there_is_something_to_see() -> None:
    batch = _batch([True, True, True, False])
    right = _prediction(batch, 1, 0)
    assert answer_iou(right, batch).tolist() == pytest.approx([1.0], abs=0.05)
    nothing = Prediction(
        0, right.masks, right.ious, right.presence, torch.full((2, 1, 16, 16), -9.0)
    )
    assert answer_iou(nothing, batch).tolist() == [0.0, 0.0]
    assert first_frames(batch).masks.shape[1] == 1
