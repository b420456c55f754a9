"""Association losses by hand: labels, what is left out, and that one-to-many outputs skip them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from sam3.train.loss.association import (
    IGNORED,
    Det2TrkAssoc,
    TrackingByDetectionAssoc,
    position_of,
)
from sam3.train.loss.sam3_loss import Sam3LossWrapper

NO_MATCHES = (torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64), None)


def outputs(ids: list[int], num_det: int, object_logit: float = 1.0) -> dict[str, Tensor]:
    """One frame of equal association logits; ``ids`` of detections, then of tracks."""
    num_trk = len(ids) - num_det
    return {
        "det2trk_assoc_logits": torch.zeros(1, num_det, num_trk + 2, requires_grad=True),
        "matched_object_ids": torch.tensor([ids]),
        "pred_logits": torch.full((1, len(ids), 1), object_logit),
    }


def loss_of(module: nn.Module, out: dict[str, Tensor], exhaustive: bool = True) -> float:
    targets = {"is_exhaustive": torch.tensor([exhaustive])}
    return float(module(out, targets, NO_MATCHES, 1.0)["core_loss"].detach())


def test_position_of() -> None:
    ids, among = torch.tensor([[7, -1, 3, 9]]), torch.tensor([[3, 7, 7, -1]])
    assert position_of(ids, among, missing=4).tolist() == [[1, IGNORED, 0, 4]]
    assert position_of(ids, among[:, :0], missing=0).tolist() == [[0, IGNORED, 0, 0]]


def test_frames_without_a_track_do_not_count() -> None:
    assert loss_of(Det2TrkAssoc(), outputs([5, 6, -1, -1], 2)) == 0.0
    assert loss_of(Det2TrkAssoc(), outputs([5, 6, 5, -1], 2)) == pytest.approx(2 * math.log(4))


@pytest.mark.parametrize(
    ("options", "exhaustive", "logit", "counted"),
    [
        ({}, True, 1.0, 1),
        ({"use_fp_loss": True}, True, 1.0, 2),
        ({"use_fp_loss": True}, True, -1.0, 1),
        ({"use_fp_loss": True}, False, 1.0, 1),
        ({"use_fp_loss": True, "fp_loss_on_exhaustive_only": False}, False, 1.0, 2),
        ({"use_fp_loss": True, "treat_fp_as_new_obj": True}, False, 1.0, 2),
    ],
)
def test_when_false_positives_count(
    options: dict, exhaustive: bool, logit: float, counted: int
) -> None:
    out = outputs([5, -1, 5, 8], 2, logit)
    loss = loss_of(Det2TrkAssoc(**options), out, exhaustive)
    assert loss == pytest.approx(counted * math.log(4))


@pytest.mark.parametrize(("as_new", "label"), [(False, 3), (True, 2)])
def test_label_of_a_false_positive(as_new: bool, label: int) -> None:
    out = outputs([5, -1, 5, 8], 2)
    module = Det2TrkAssoc(use_fp_loss=True, treat_fp_as_new_obj=as_new)
    module(out, {"is_exhaustive": torch.tensor([True])}, NO_MATCHES, 1.0)["core_loss"].backward()
    grad = out["det2trk_assoc_logits"].grad
    assert grad is not None
    assert grad[0].argmin(-1).tolist() == [0, label]  # the wanted class is pulled up


def test_both_directions_have_their_own_weight() -> None:
    out = {
        "det2trk_assoc_logits": torch.zeros(1, 3, 2),
        "matched_object_ids": torch.tensor([[4, -1]]),
        "prev_trk_object_ids": torch.tensor([[4]]),
    }
    losses = TrackingByDetectionAssoc({"loss_trk2det_assoc": 10.0})(out, {}, NO_MATCHES, 2.0)
    assert float(losses["loss_det2trk_assoc"]) == pytest.approx(math.log(2) / 2)
    assert float(losses["loss_trk2det_assoc"]) == pytest.approx(math.log(3) / 2)
    assert float(losses["core_loss"]) == pytest.approx(10 * math.log(3) / 2)


def test_the_wrapper_leaves_one_to_many_outputs_out() -> None:
    out = outputs([5, 5], 1) | {"indices": NO_MATCHES, "pred_logits_o2m": torch.zeros(1, 2, 1)}
    wrapper = Sam3LossWrapper(
        [Det2TrkAssoc()], normalization="none", o2m_matcher=lambda *_: NO_MATCHES
    )
    targets = {"num_boxes": torch.tensor([1]), "is_exhaustive": torch.tensor([True])}
    losses = wrapper([[out]], [targets])
    assert set(losses) == {"core_loss", "loss_det2trk_assoc"}
    assert float(losses["core_loss"].detach()) == pytest.approx(math.log(3))
