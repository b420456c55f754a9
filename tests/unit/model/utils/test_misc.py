"""copy_data_to_device: every kind of container, types kept, the original left alone."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, namedtuple
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import pytest
import torch

from sam3.model.utils.misc import copy_data_to_device

Pair = namedtuple("Pair", "first second")


def tensor() -> torch.Tensor:
    return torch.ones(2)


def device_of(data: Any) -> str:
    return data.device.type


@dataclass
class Record:
    image: Any
    derived: Any = field(init=False, default=None)
    note: str = "kept"


@dataclass(frozen=True)
class Frozen:
    image: Any
    names: tuple[str, ...] = ("a",)

    def __post_init__(self) -> None:
        assert device_of(self.image) == "cpu", "copying must not construct anew"


class Movable:
    def to(self, device, non_blocking=False):
        return f"moved to {device}, {non_blocking}"


@pytest.mark.parametrize(
    ("data", "reach"),
    [
        (tensor(), lambda d: d),
        ([tensor(), 1], lambda d: d[0]),
        ((1, tensor()), lambda d: d[1]),
        (Pair(tensor(), "x"), lambda d: d.first),
        ({"a": {"b": [tensor()]}}, lambda d: d["a"]["b"][0]),
        (OrderedDict(a=tensor()), lambda d: d["a"]),
        (MappingProxyType({"a": tensor()}), lambda d: d["a"]),
        (defaultdict(list, a=[tensor()]), lambda d: d["a"][0]),
        (Record(tensor()), lambda d: d.image),
        (Frozen(tensor()), lambda d: d.image),
        (Record([Pair(1, {"k": Frozen(tensor())})]), lambda d: d.image[0].second["k"].image),
    ],
    ids=lambda value: type(value).__name__,
)
def test_tensors_move_and_types_stay(data, reach):
    moved = copy_data_to_device(data, "meta")
    assert type(moved) is type(data)
    assert device_of(reach(moved)) == "meta" and device_of(reach(data)) == "cpu"


def test_fields_that_are_no_constructor_arguments_move_too():
    record = Record(1)
    record.derived = tensor()
    moved = copy_data_to_device(record, torch.device("meta"))
    assert device_of(moved.derived) == "meta" and moved.note == "kept"
    assert device_of(record.derived) == "cpu"


def test_a_defaultdict_keeps_its_factory():
    moved = copy_data_to_device(defaultdict(list, a=[tensor()]), "meta")
    assert moved["new"] == []


def test_other_values_come_back_themselves():
    for value in (None, 3, "text", b"bytes", object(), {1, 2}, torch.float32, Record, Movable):
        assert copy_data_to_device(value, "meta") is value


def test_everything_with_a_method_to_is_moved():
    data = {"x": Movable()}
    moved = copy_data_to_device(data, "cpu", non_blocking=True)
    assert moved == {"x": "moved to cpu, True"}
    assert device_of(copy_data_to_device(torch.nn.Linear(1, 1).weight, "meta")) == "meta"


def test_containers_are_new_even_without_tensors():
    inner = [1]
    moved = copy_data_to_device({"a": inner}, "cpu")
    moved["a"].append(2)
    assert inner == [1]
