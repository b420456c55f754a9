"""The rules of the video model and their flat keywords."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sam3.config import presets
from sam3.config.video import CLASS_DEFAULTS, HotstartConfig, Sam3VideoConfig, VideoRules


def test_defaults_are_the_released_values():
    released = VideoRules().keywords()
    assert released["new_det_thresh"] == 0.7 and released["hotstart_delay"] == 15
    assert released["det_nms_thresh"] == 0.1 and released["recondition_every_nth_frame"] == 16
    differing = {k for k, v in released.items() if v != CLASS_DEFAULTS[k]}
    assert len(differing) == 11


def test_keywords_round_trip():
    rules = replace(VideoRules(), max_num_objects=7)
    assert VideoRules.from_keywords(rules.keywords()) == rules
    assert rules.object_limit == 7 and VideoRules().object_limit == 10_000


def test_nothing_given_is_the_class_default():
    assert VideoRules.from_keywords({}).keywords() == CLASS_DEFAULTS


def test_unknown_keyword():
    with pytest.raises(TypeError, match="hot_start"):
        VideoRules.from_keywords({"hot_start": 1})


@pytest.mark.parametrize("change", [{"delay": -1}, {"unmatch_thresh": 16}, {"dup_thresh": 16}])
def test_contradictions(change):
    with pytest.raises(ValueError, match="hotstart"):
        HotstartConfig(**change)


def test_the_plain_variant_differs_in_four_values_and_memory_selection():
    released, plain = presets.SAM3_VIDEO, presets.SAM3_VIDEO_PLAIN
    keywords = plain.rules.keywords()
    assert {k: v for k, v in keywords.items() if v != released.rules.keywords()[k]} == {
        "hotstart_delay": 0,
        "hotstart_unmatch_thresh": 0,
        "hotstart_dup_thresh": 0,
        "recondition_every_nth_frame": 0,
    }
    assert released.memory_selection and not plain.memory_selection


def test_detector_and_tracker_must_fit():
    with pytest.raises(ValueError, match="1008, 14, 256"):
        Sam3VideoConfig(image=presets.SAM3_TINY)
