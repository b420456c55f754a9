"""Optimisers from a configuration: golden rates and decays per parameter, and what is refused."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sam3.errors import InputError
from sam3.train.optim.optimizer import (
    Optimizer,
    ValueScaler,
    construct_optimizer,
    layer_decay_param_modifier,
)
from sam3.train.optim.schedulers import InverseSquareRootParamScheduler

GOLDEN = Path(__file__).parents[3] / "golden" / "train" / "optim.json"
STORED = json.loads(GOLDEN.read_text())["param_groups"]
TRUNK = "backbone.vision_backbone.trunk"


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.fc = nn.Linear(8, 8)


class Trunk(nn.Module):
    def __init__(self, num_blocks: int) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.zeros(1, 4, 8))
        self.patch_embed = nn.Linear(3, 8)
        self.ln_pre = nn.LayerNorm(8)
        self.blocks = nn.ModuleList(Block() for _ in range(num_blocks))

    def get_num_layers(self) -> int:
        return len(self.blocks)

    def get_layer_id(self, name: str) -> int:
        return int(name.split(".")[1]) + 1 if name.startswith("blocks") else 0


def toy_model() -> nn.Module:
    vision = nn.Module()
    vision.trunk, vision.convs = Trunk(STORED["num_blocks"]), nn.Linear(8, 8)
    backbone = nn.Module()
    backbone.vision_backbone = vision
    backbone.language_backbone = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8))
    model = nn.Module()
    model.backbone, model.head = backbone, nn.Linear(8, 2)
    return model


def constant(value: float) -> Any:
    return lambda where: value


def inverse_sqrt(base: float) -> InverseSquareRootParamScheduler:
    return InverseSquareRootParamScheduler(base, 20, 20, 20)


def options() -> dict[str, list[dict[str, Any]]]:
    return {
        "lr": [
            {"scheduler": inverse_sqrt(8e-5)},
            {"scheduler": inverse_sqrt(2.5e-5), "param_names": ["backbone.vision_backbone.*"]},
            {"scheduler": inverse_sqrt(5e-6), "param_names": ["backbone.language_backbone.*"]},
        ],
        "weight_decay": [
            {"scheduler": constant(0.1)},
            {
                "scheduler": constant(0.0),
                "param_names": ["*bias*"],
                "module_cls_names": ["torch.nn.LayerNorm"],
            },
        ],
    }


def decay(**settings: Any) -> Any:
    settings = {"layer_decay_value": 0.9, "apply_to": TRUNK} | settings
    return partial(layer_decay_param_modifier, **settings)


def values(model: nn.Module, optimizer: Optimizer) -> dict[str, list[float]]:
    """Learning rate and weight decay of every parameter."""
    names = {id(p): name for name, p in model.named_parameters()}
    return {
        names[id(p)]: [group["lr"], group["weight_decay"]]
        for group in optimizer.optimizer.param_groups
        for p in group["params"]
    }


def test_golden_groups() -> None:
    model = toy_model()
    keep = [{"pattern": "*pos_embed*", "value": 1.0}]
    optimizer = construct_optimizer(model, torch.optim.AdamW, options(), [decay(overrides=keep)])
    assert len(optimizer.optimizer.param_groups) == STORED["num_groups"]
    assert all(lr == 0.0 for lr, _ in values(model, optimizer).values())  # warm-up begins at 0
    optimizer.step_schedulers(where=0.1, step=20)
    got = values(model, optimizer)
    assert got.keys() == STORED["values"].keys()
    for name, wanted in STORED["values"].items():
        assert got[name] == pytest.approx(wanted, rel=1e-6), name


def test_scale_has_a_floor_and_the_first_override_counts() -> None:
    model = toy_model()
    overrides = [{"pattern": "*ln_pre*", "value": 0.5}, {"pattern": "*ln_pre.bias", "value": 0.1}]
    modifier = decay(layer_decay_min=0.8, overrides=overrides)
    optimizer = construct_optimizer(
        model, torch.optim.SGD, {"lr": [{"scheduler": constant(1.0)}]}, [modifier]
    )
    rates = {name: lr for name, (lr, _) in values(model, optimizer).items()}
    assert rates[f"{TRUNK}.ln_pre.bias"] == rates[f"{TRUNK}.ln_pre.weight"] == 0.5
    assert rates[f"{TRUNK}.blocks.2.fc.weight"] == pytest.approx(0.9)
    assert rates[f"{TRUNK}.blocks.0.fc.weight"] == rates[f"{TRUNK}.pos_embed"] == 0.8
    assert rates["head.weight"] == 1.0


def test_without_options_there_is_one_group() -> None:
    model = toy_model()
    optimizer = construct_optimizer(model, partial(torch.optim.SGD, lr=0.3))
    assert [g["lr"] for g in optimizer.optimizer.param_groups] == [0.3]
    assert len(values(model, optimizer)) == len(list(model.parameters()))


def test_a_step_sets_options_first() -> None:
    model = nn.Linear(1, 1, bias=False)
    schedule = {"lr": [{"scheduler": lambda step, where: 10.0 * step + where}]}
    optimizer = construct_optimizer(model, torch.optim.SGD, schedule)
    model.weight.data.fill_(0.0)
    model.weight.grad = torch.ones(1, 1)
    optimizer.step(where=0.5, step=2)
    assert model.weight.item() == pytest.approx(-20.5)
    optimizer.zero_grad()
    assert model.weight.grad is None


def test_value_scaler_wraps_both_kinds_of_schedulers() -> None:
    assert ValueScaler(constant(4.0), 0.5)(step=3, where=0.1) == 2.0
    assert ValueScaler(lambda step, where: step * where, 2.0)(step=3, where=0.5) == 3.0


def test_tied_parameters_are_taken_once() -> None:
    model = nn.ModuleDict({"a": nn.LayerNorm(3), "b": nn.LayerNorm(3)})
    model["b"].weight = model["a"].weight
    decays = [
        {"scheduler": constant(0.1)},
        {"scheduler": constant(0.0), "module_cls_names": ["torch.nn.LayerNorm"]},
    ]
    optimizer = construct_optimizer(
        model, partial(torch.optim.SGD, lr=1.0), {"weight_decay": decays}
    )
    assert [len(g["params"]) for g in optimizer.optimizer.param_groups] == [3]


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([{"param_names": ["nothing.*"]}, {}], "matches no parameter"),
        ([{"module_cls_names": ["torch.nn.Conv2d"]}, {}], "no parameter in a torch.nn.Conv2d"),
        ([{"module_cls_names": ["torch.nn.NoSuch"]}, {}], "no class"),
        ([{"module_cls_names": ["torch.nn.functional"]}, {}], "not a class"),
        ([{}, {}], "several entries without"),
        ([{"param_names": ["head.*"]}], "no entry takes"),
        ([{"param_names": ["head.*"]}, {"param_names": ["*.bias"]}, {}], "disjoint"),
    ],
)
def test_bad_entries(entries: list[dict[str, Any]], message: str) -> None:
    entries = [entry | {"scheduler": constant(1.0)} for entry in entries]
    with pytest.raises(InputError, match=message):
        construct_optimizer(toy_model(), torch.optim.SGD, {"lr": entries})


def test_bad_layer_decay() -> None:
    lr = {"lr": [{"scheduler": constant(1.0)}]}
    for apply_to, message in (("head", "get_num_layers"), ("trunk", "no sub-module")):
        with pytest.raises(InputError, match=message):
            construct_optimizer(toy_model(), torch.optim.SGD, lr, [decay(apply_to=apply_to)])


def test_bad_schedulers() -> None:
    sgd = torch.optim.SGD(toy_model().parameters(), lr=1.0)
    with pytest.raises(InputError, match="as many schedulers"):
        Optimizer(sgd, [])
    with pytest.raises(InputError, match="no options"):
        Optimizer(sgd, [{"beta": constant(1.0)}])


def test_hydra_nodes() -> None:
    pytest.importorskip("hydra", reason="hydra-core is not installed")
    root = "sam3.train.optim"
    inverse = f"{root}.schedulers.InverseSquareRootParamScheduler"
    schedule = {
        "_target_": inverse,
        "base_lr": 1.0,
        "warmup_steps": 0,
        "cooldown_steps": 0,
        "timescale": 1,
    }
    model = toy_model()
    optimizer = construct_optimizer(
        model,
        {"_target_": "torch.optim.AdamW", "betas": [0.8, 0.9]},
        {"lr": [{"scheduler": schedule}]},
        [
            {
                "_target_": f"{root}.optimizer.layer_decay_param_modifier",
                "_partial_": True,
                "layer_decay_value": 0.5,
                "apply_to": TRUNK,
                "overrides": [{"pattern": "*pos_embed*", "value": 1.0}],
            }
        ],
    )
    optimizer.step_schedulers(where=0.5, step=3)
    rates = {name: lr for name, (lr, _) in values(model, optimizer).items()}
    assert rates["head.weight"] == pytest.approx(0.5)  # 1 / sqrt(3 + 1)
    assert rates[f"{TRUNK}.blocks.2.fc.weight"] == pytest.approx(0.25)
    assert rates[f"{TRUNK}.pos_embed"] == pytest.approx(0.5)
    assert list(optimizer.optimizer.param_groups[0]["betas"]) == [0.8, 0.9]
