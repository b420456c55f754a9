"""The demonstration's pictures, and the demonstration itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from skimage.color import rgb2hsv

from sam3.errors import InputError
from sam3.train.data.scenes.vocabulary import COLOURS as KNOWN
from sam3.train.data.scenes.vocabulary import parse
from sam3.train.finetune.data import load_data
from sam3.train.finetune.demo.colours import COLOURS, colour_of
from sam3.train.finetune.demo.command import demonstrate
from sam3.train.finetune.demo.pictures import draw_picture, write_export
from sam3.train.finetune.settings import DataSettings


def test_the_colours_are_new() -> None:
    for name, colour in COLOURS.items():
        assert parse(name) is None
        low, high = colour.hue
        for known in KNOWN.values():
            coloured = known.saturation[1] > 0.4 and known.hue != (0, 360)
            assert not coloured or high < known.hue[0] or low > known.hue[1]
    with pytest.raises(InputError, match="lime, magenta"):
        colour_of("red")


@pytest.mark.parametrize("name", list(COLOURS))
def test_masks_cover_what_has_the_colour(name: str) -> None:
    colour = colour_of(name)
    picture, masks, boxes = draw_picture(colour, np.random.default_rng(3))
    assert len(masks) == len(boxes) >= 1
    hsv = rgb2hsv(picture)
    for mask in masks:
        strong = mask & (hsv[..., 1] > 0.3)
        hue = np.median(hsv[strong][:, 0]) * 360
        assert colour.hue[0] - 3 <= hue <= colour.hue[1] + 3
    none, masks, _ = draw_picture(None, np.random.default_rng(3))
    assert len(masks) == 0 and none.dtype == np.uint8


def test_an_export_is_sound_and_repeats(tmp_path: Path) -> None:
    texts = []
    for folder in ("a", "b"):
        write_export(tmp_path / folder, "lime", train=5, valid=2, seed=3)
        texts.append((tmp_path / folder / "train" / "_annotations.coco.json").read_text())
    assert texts[0] == texts[1]
    loaded = load_data(DataSettings(data=tmp_path / "a"))
    assert len(loaded.train.content["images"]) == 5 and loaded.train.phrases == ("lime",)
    shown = {row["image_id"] for row in loaded.train.content["annotations"]}
    assert shown == {0, 1, 2, 3}


@pytest.mark.slow
def test_fifty_pictures_teach_a_new_colour_and_old_phrases_stay(tmp_path: Path) -> None:
    report = demonstrate(tmp_path, "lime", pictures=50, held_out=60, scenes=150)
    before, after = report["new_AP50"]
    assert before < 0.3 and after > 0.8
    before, after = report["old_AP50"]
    assert after > before - 0.03
    assert report["cpu_seconds"] < 600
    assert json.loads((tmp_path / "demo.json").read_text())["new_AP50"][1] == pytest.approx(
        report["new_AP50"][1]
    )
