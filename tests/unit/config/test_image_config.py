"""The typed configuration: round trip, strictness, contradictions."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, replace

import pytest

from sam3.config import NeckConfig, Sam3ImageConfig, TextConfig, VisionConfig, presets


@pytest.mark.parametrize("name", presets.names())
def test_round_trip_through_json(name):
    config = presets.get(name)
    assert Sam3ImageConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_derived_sizes_of_the_released_model():
    config = presets.SAM3_IMAGE
    assert config.vision.grid == 72
    assert config.text.vocab_size == 49408
    with pytest.raises(FrozenInstanceError):
        config.d_model = 1


def test_missing_keys_take_the_released_value():
    assert Sam3ImageConfig.from_dict({"name": "sam3"}) == presets.SAM3_IMAGE


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"d_modle": 256}, "d_modle"),
        ({"vision": {"patch": 14}}, "config.vision"),
        ({"vision": 3}, "mapping"),
        ([], "mapping"),
    ],
)
def test_unknown_keys_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Sam3ImageConfig.from_dict(values)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: VisionConfig(img_size=1000), "patch_size"),
        (lambda: VisionConfig(embed_dim=1000), "num_heads"),
        (lambda: VisionConfig(global_blocks=(40,)), "global_blocks"),
        (lambda: TextConfig(width=1000), "heads"),
        (lambda: TextConfig(num_merges=10**6), "num_merges"),
        (lambda: TextConfig(context_length=2), "context_length"),
        (lambda: NeckConfig(scale_factors=(2, 1)), "4, 2, 1"),
        (lambda: NeckConfig(scalp=0), "4, 2, 1"),
        (lambda: replace(presets.SAM3_IMAGE, num_heads=7), "num_heads"),
        (lambda: replace(presets.SAM3_TINY, d_model=60, num_heads=4), "group_norm_groups"),
    ],
)
def test_contradictions_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_unknown_preset_lists_the_known():
    with pytest.raises(KeyError, match="sam3-tiny"):
        presets.get("sam4")
