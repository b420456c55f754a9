"""Joining phrases, boxes and points of one picture, with a processor that keeps a diary."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from PIL import Image

from sam3.errors import InputError
from sam3.pipeline.segment import BoxPrompt, PointPrompt, segment_frame

WIDTH, HEIGHT = 20, 10


class DiaryProcessor:
    """Finds one square per letter of a phrase; writes down every call."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def set_image(self, image: Image.Image) -> dict[str, Any]:
        self.calls.append(("image", image.size))
        return {}

    def add_geometric_prompt(
        self, box: Any, label: bool, state: dict[str, Any], *, run: bool = True
    ) -> dict[str, Any]:
        self.calls.append(("box", tuple(box), label))
        return state

    def add_point_prompt(
        self, point: Any, label: bool, state: dict[str, Any], *, run: bool = True
    ) -> dict[str, Any]:
        self.calls.append(("point", tuple(point), label))
        return state

    def segment_phrases(self, phrases: list[str], state: dict[str, Any]) -> list[dict[str, Any]]:
        self.calls.append(("phrases", tuple(phrases)))
        return [self._find(phrase) for phrase in phrases]

    def _find(self, phrase: str) -> dict[str, Any]:
        found = [ord(letter) - ord("a") for letter in phrase if letter in "abcdef"]
        masks = torch.zeros(len(found), 1, HEIGHT, WIDTH, dtype=torch.bool)
        for row, column in enumerate(found):
            masks[row, 0, 2:4, column] = True
        return {
            "masks": masks,
            "boxes": torch.tensor([[c, 2.0, c + 1, 4.0] for c in found]).reshape(-1, 4),
            "scores": torch.tensor([0.9 - 0.1 * c for c in found]),
            "best_score": max([0.9 - 0.1 * c for c in found], default=0.3),
        }


@pytest.fixture
def picture() -> Image.Image:
    return Image.new("RGB", (WIDTH, HEIGHT))


def test_phrases_are_united_and_remembered(picture: Image.Image) -> None:
    processor = DiaryProcessor()
    result = segment_frame(processor, picture, ["b", "--", "cd"])
    assert processor.calls == [("image", (WIDTH, HEIGHT)), ("phrases", ("b", "--", "cd"))]
    assert result.phrases == ("b", "cd", "cd")
    assert result.masks.shape == (3, HEIGHT, WIDTH) and result.boxes.shape == (3, 4)
    expected = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    expected[2:4, 1:4] = True
    assert torch.equal(result.mask, expected)
    assert result.scores.tolist() == pytest.approx([0.8, 0.7, 0.6])
    assert result.best_score == pytest.approx(0.8) and result.best_phrase == "b"


def test_nothing_found_gives_an_empty_mask_of_the_pictures_size(picture: Image.Image) -> None:
    result = segment_frame(DiaryProcessor(), picture, ["--"])
    assert result.mask.shape == (HEIGHT, WIDTH) and not result.mask.any()
    assert result.masks.shape == (0, HEIGHT, WIDTH) and result.boxes.shape == (0, 4)
    assert result.scores.shape == (0,) and result.phrases == ()
    assert result.best_score == pytest.approx(0.3)


def test_boxes_and_points_are_normalised(picture: Image.Image) -> None:
    processor = DiaryProcessor()
    boxes = [BoxPrompt(2, 1, 6, 5), BoxPrompt(-5, 0, 30, 10, positive=False)]
    segment_frame(processor, picture, ["a"], boxes, [PointPrompt(10, 5, positive=False)])
    assert processor.calls[1:4] == [
        ("box", pytest.approx((0.2, 0.3, 0.2, 0.4)), True),
        ("box", (0.5, 0.5, 1.0, 1.0), False),
        ("point", (0.5, 0.5), False),
    ]


def test_boxes_alone_are_searched_as_visual(picture: Image.Image) -> None:
    processor = DiaryProcessor()
    segment_frame(processor, picture, [], [BoxPrompt(0, 0, 5, 5)])
    assert processor.calls[-1] == ("phrases", ("visual",))


def test_no_prompt_at_all(picture: Image.Image) -> None:
    with pytest.raises(InputError, match="nothing to look for"):
        segment_frame(DiaryProcessor(), picture, [])


@pytest.mark.parametrize(
    "box", [(5, 5, 5, 8), (8, 2, 4, 6), (21, 0, 30, 5), (-9, 0, -1, 5), (float("nan"), 0, 5, 5)]
)
def test_boxes_that_cover_nothing(picture: Image.Image, box: tuple[float, ...]) -> None:
    processor = DiaryProcessor()
    with pytest.raises(InputError, match="covers nothing"):
        segment_frame(processor, picture, ["a"], [BoxPrompt(*box)])
    assert not processor.calls, "bad input must be found before the picture is encoded"


@pytest.mark.parametrize("point", [(-1, 0), (0, -0.5), (21, 5), (5, 11), (float("nan"), 1)])
def test_points_outside(picture: Image.Image, point: tuple[float, float]) -> None:
    with pytest.raises(InputError, match="outside"):
        segment_frame(DiaryProcessor(), picture, ["a"], points=[PointPrompt(*point)])
