"""Schedules, parameter groups, clipping and averaged weights."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from sam3.errors import CheckpointMismatchError, InputError
from sam3.train.optim.clipping import GradientClipper
from sam3.train.optim.ema import WeightEMA
from sam3.train.optim.param_groups import weight_decay_groups
from sam3.train.optim.schedulers import InverseSquareRootParamScheduler, WarmupHoldCosine

GOLDEN = Path(__file__).parents[3] / "golden" / "train" / "optim.json"
SCHEDULES = json.loads(GOLDEN.read_text())["schedulers"]


@pytest.mark.parametrize("case", SCHEDULES, ids=[str(i) for i in range(len(SCHEDULES))])
def test_inverse_square_root_golden(case: dict) -> None:
    schedule = InverseSquareRootParamScheduler(**case["cfg"])
    for step, lr in case["values"]:
        got = schedule(step=step, where=step / case["total"])
        assert math.isclose(got, lr, rel_tol=1e-6, abs_tol=1e-15), step


@pytest.mark.parametrize(
    ("step", "where", "lr"),
    [
        (0, 0.0, 0.1),  # first of ten warm-up steps
        (4, 0.01, 0.5),
        (9, 0.02, 1.0),
        (500, 0.6, 1.0),  # the end of the hold
        (600, 0.8, 0.51),  # half-way down: mean of 1 and 0.02
        (900, 1.0, 0.02),
        (999, 1.5, 0.02),
    ],
)
def test_warmup_hold_cosine(step: int, where: float, lr: float) -> None:
    schedule = WarmupHoldCosine(base_lr=1.0, warmup_steps=10, hold=0.6, final=0.02)
    assert schedule(step, where) == pytest.approx(lr)


@pytest.mark.parametrize(
    "options", [{"base_lr": 0}, {"base_lr": 1, "hold": 2}, {"base_lr": 1, "warmup_steps": -1}]
)
def test_bad_schedule(options: dict) -> None:
    with pytest.raises(InputError):
        WarmupHoldCosine(**options)


def test_decay_only_on_matrices() -> None:
    model = nn.ModuleDict(
        {"linear": nn.Linear(3, 2), "norm": nn.LayerNorm(2), "table": nn.Embedding(4, 2)}
    )
    model.pos_embed = nn.Parameter(torch.zeros(1, 4, 2))
    model.frozen = nn.Parameter(torch.zeros(2, 2), requires_grad=False)
    decay, plain = weight_decay_groups(model, 0.05)
    assert (decay["weight_decay"], plain["weight_decay"]) == (0.05, 0.0)
    assert [tuple(p.shape) for p in decay["params"]] == [(2, 3)]
    assert len(plain["params"]) == 5


def test_parts_by_name_get_a_factor_on_the_learning_rate() -> None:
    model = nn.ModuleDict({"trunk": nn.Linear(3, 2), "trunk_head": nn.Linear(2, 1)})
    groups = weight_decay_groups(model, 0.05, {"trunk.": 0.2})
    found = {id(p): (g["lr_scale"], g["weight_decay"]) for g in groups for p in g["params"]}
    wanted = {
        "trunk.weight": (0.2, 0.05),
        "trunk.bias": (0.2, 0.0),
        "trunk_head.weight": (1.0, 0.05),
        "trunk_head.bias": (1.0, 0.0),
    }
    assert {name: found[id(p)] for name, p in model.named_parameters()} == wanted
    assert len({group["name"] for group in groups}) == 4


def test_clipper_scales_to_the_limit_and_reports_the_norm() -> None:
    model = nn.Linear(2, 1, bias=False)
    model.weight.grad = torch.tensor([[3.0, 4.0]])
    assert float(GradientClipper(None)(model)) == pytest.approx(5.0)
    assert torch.equal(model.weight.grad, torch.tensor([[3.0, 4.0]]))
    assert float(GradientClipper(1.0)(model)) == pytest.approx(5.0)
    torch.testing.assert_close(model.weight.grad, torch.tensor([[0.6, 0.8]]), rtol=1e-4, atol=0)
    with pytest.raises(InputError):
        GradientClipper(0.0)


def test_average_follows_the_formula_and_swaps_back() -> None:
    model = nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(0.0)
    ema = WeightEMA(model, decay=0.5)
    expected = 0.0
    for n, value in enumerate([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0], start=1):
        model.weight.data.fill_(value)
        ema.update()
        decay = min(0.5, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * value
    with ema.averaged():
        assert model.weight.item() == pytest.approx(expected, rel=1e-6)
    assert model.weight.item() == 9.0
    other = WeightEMA(nn.Linear(1, 1), decay=0.5)
    with pytest.raises(CheckpointMismatchError):
        other.load_state_dict(ema.state_dict())
