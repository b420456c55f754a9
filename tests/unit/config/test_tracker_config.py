"""The tracker's configuration: round trip, strictness, contradictions, fit with the image model."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from sam3.config import MemoryConfig, Sam3TrackerConfig, TrackingConfig, presets


@pytest.mark.parametrize("name", ["sam3", "sam3-tiny"])
def test_round_trip_through_json(name):
    config = presets.get_tracker(name)
    assert Sam3TrackerConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize("name", ["sam3", "sam3-tiny"])
def test_it_fits_the_image_preset_of_the_same_name(name):
    tracker, image = presets.get_tracker(name), presets.get(name)
    assert tracker.image_size == image.vision.img_size
    assert tracker.patch_size == image.vision.patch_size
    assert tracker.d_model == image.d_model


def test_derived_sizes():
    config = presets.SAM3_TRACKER
    assert (config.grid, config.low_res_mask_size, config.memory_mask_size) == (72, 288, 1152)
    config = presets.SAM3_TINY_TRACKER
    assert (config.grid, config.low_res_mask_size, config.memory_mask_size) == (16, 64, 256)


@pytest.mark.parametrize(
    ("values", "message"),
    [({"d_modle": 1}, "d_modle"), ({"memory": {"size": 7}}, "tracker.memory"), ([], "mapping")],
)
def test_unknown_keys_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Sam3TrackerConfig.from_dict(values)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Sam3TrackerConfig(image_size=1000), "patch_size"),
        (lambda: Sam3TrackerConfig(d_model=252), "multiple of 8"),
        (lambda: Sam3TrackerConfig(d_model=200), "num_heads"),
        (lambda: Sam3TrackerConfig(memory=MemoryConfig(dim=96)), "memory.dim"),
        (lambda: MemoryConfig(dim=30), "sine"),
        (lambda: MemoryConfig(num_maskmem=0), "num_maskmem"),
        (lambda: MemoryConfig(max_cond_frames=1), "max_cond_frames"),
        (lambda: MemoryConfig(max_obj_ptrs=0), "max_obj_ptrs"),
        (lambda: MemoryConfig(temporal_stride=0), "temporal_stride"),
        (lambda: TrackingConfig(multimask_min_pt_num=2), "multimask_min_pt_num"),
        (lambda: replace(presets.SAM3_TINY_TRACKER, d_model=24), "num_heads|memory.dim"),
    ],
)
def test_contradictions_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_an_unknown_preset_names_the_known():
    with pytest.raises(KeyError, match="sam3-tiny"):
        presets.get_tracker("sam4")
