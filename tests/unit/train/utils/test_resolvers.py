"""Functions of configurations: values, and what they refuse."""

from __future__ import annotations

import math
from typing import Any

import pytest
from torch import nn

pytest.importorskip("omegaconf", reason="hydra-core is not installed")

from omegaconf import OmegaConf  # noqa: E402
from omegaconf.errors import InterpolationResolutionError  # noqa: E402

from sam3.errors import InputError  # noqa: E402
from sam3.train.utils.train_utils import register_omegaconf_resolvers  # noqa: E402


def value_of(text: str, **others: Any) -> Any:
    register_omegaconf_resolvers()
    return OmegaConf.create({"value": text, **others}).value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${add:1,2,3}", 6),
        ("${add:${size},2}", 258),
        ("${times:8e-4,0.1}", 8e-5),
        ("${times:2,3,4}", 24),
        ("${divide:7,2}", 3.5),
        ("${subtract:7,2}", 5),
        ("${pow:2,10}", 1024),
        ("${range:3}", [0, 1, 2]),
        ("${range:1,8,3}", [1, 4, 7]),
        ("${int:3.9}", 3),
        ("${ceil_int:3.1}", 4),
        ("${string:12}", "12"),
        ("${merge:${first},${second}}", {"a": 1, "b": 3}),
        ("${names.${string:1}}", "dog"),
    ],
)
def test_values(text: str, expected: Any) -> None:
    found = value_of(text, size=256, first={"a": 1, "b": 2}, second={"b": 3}, names=["cat", "dog"])
    assert found == expected
    assert isinstance(found, type(expected)) or OmegaConf.is_config(found)


def test_functions_and_classes_by_name() -> None:
    assert value_of("${get_method:math.sqrt}") is math.sqrt
    assert value_of("${get_class:torch.nn.LayerNorm}") is nn.LayerNorm


@pytest.mark.parametrize("text", ["${get_method:eval}", "${get_class:'os.system(1)'}"])
def test_only_full_names(text: str) -> None:
    with pytest.raises(InterpolationResolutionError, match=f"{InputError.__name__}.*full name"):
        value_of(text)


def test_registering_twice_changes_nothing() -> None:
    register_omegaconf_resolvers()
    register_omegaconf_resolvers()
    assert value_of("${add:1,2}") == 3
