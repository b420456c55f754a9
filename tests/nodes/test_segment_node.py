"""The node's behaviour, line by line of its contract, with a processor that sees colours."""

from __future__ import annotations

import inspect
import logging
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

COLORS = {"red": (1.0, 0.0, 0.0), "green": (0.0, 1.0, 0.0), "blue": (0.0, 0.0, 1.0)}


class ColorProcessor:
    """Finds the pixels of exactly the named colour; "object" is whatever is not black."""

    def __init__(self, confidence_threshold: float = 0.5) -> None:
        self.confidence_threshold = confidence_threshold
        self.images: list[Image.Image] = []
        self.asked: list[list[str]] = []
        self.fail_at: int | None = None

    def set_image(self, image: Image.Image) -> dict[str, Any]:
        if self.fail_at == len(self.images):
            raise RuntimeError("out of memory")
        self.images.append(image)
        return {"pixels": torch.from_numpy(np.array(image))}

    def segment_phrases(self, phrases: list[str], state: dict[str, Any]) -> list[dict[str, Any]]:
        self.asked.append(list(phrases))
        return [self._find(phrase, state["pixels"]) for phrase in phrases]

    def _find(self, phrase: str, pixels: torch.Tensor) -> dict[str, Any]:
        if phrase == "object":
            found = pixels.sum(-1) > 0
        else:
            wanted = torch.tensor(COLORS[phrase]) * 255
            found = (pixels == wanted).all(-1)
        n = int(found.any())
        return {
            "masks": found[None, None].expand(n, 1, *found.shape),
            "boxes": torch.zeros(n, 4),
            "scores": torch.full((n,), 0.9),
            "best_score": 0.9 if n else 0.123,
        }


class SpaceTokenizer:
    def encode(self, text: str) -> list[int]:
        return list(range(len(text.split())))


class Bench:
    """The node with a fake model; ``run`` fills in defaults."""

    def __init__(self, node: Any) -> None:
        self.node = node
        self.processor = ColorProcessor()
        self.released: list[Any] = []

    def run(self, image: torch.Tensor, prompt: str = "red", **options: Any) -> Any:
        options = {"sam3_model": "sam3", "device": "Auto", "confidence_threshold": 0.5} | options
        with torch.inference_mode():  # as ComfyUI does
            return self.node.segment(image, prompt, **options)


@pytest.fixture
def bench(node: Any, part: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> Bench:
    bench = Bench(node)
    loading = part("nodes.loading")
    shared = SimpleNamespace(tokenizer=SpaceTokenizer())

    def make_processor(_: Any, threshold: float) -> ColorProcessor:
        bench.processor.confidence_threshold = threshold
        return bench.processor

    monkeypatch.setattr(loading, "shared_model", lambda name, device: shared)
    monkeypatch.setattr(loading, "make_processor", make_processor)
    monkeypatch.setattr(loading, "release", bench.released.append)
    return bench


def scene(*squares: tuple[str, int, int], size: tuple[int, int] = (24, 32)) -> torch.Tensor:
    """``[1, H, W, 3]`` black picture with 6 x 6 squares of (colour, top, left)."""
    image = torch.zeros(1, *size, 3)
    for color, top, left in squares:
        image[0, top : top + 6, left : left + 6] = torch.tensor(COLORS[color])
    return image


def square_mask(top: int, left: int, side: int = 6, size: tuple[int, int] = (24, 32)) -> Any:
    mask = torch.zeros(size)
    mask[top : top + side, left : left + side] = 1
    return mask


def test_shapes_and_types(bench: Bench) -> None:
    images = scene(("red", 5, 5)).repeat(3, 1, 1, 1)
    picture, mask, mask_image = bench.run(images)
    assert picture.shape == (3, 24, 32, 4)
    assert mask.shape == (3, 24, 32)
    assert mask_image.shape == (3, 24, 32, 3)
    assert {t.dtype for t in (picture, mask, mask_image)} == {torch.float32}
    assert torch.equal(mask_image, mask[..., None].expand(3, 24, 32, 3))
    assert mask_image.is_contiguous()
    color, _, _ = bench.run(images, background="Color")
    assert color.shape == (3, 24, 32, 3)


def test_mask_is_the_union_of_all_phrases(bench: Bench) -> None:
    image = scene(("red", 2, 2), ("green", 12, 20), ("blue", 16, 4))
    _, mask, _ = bench.run(image, "red, blue\nred")
    assert bench.processor.asked == [["red", "blue"]]
    assert torch.equal(mask[0], torch.maximum(square_mask(2, 2), square_mask(16, 4)))


@pytest.mark.parametrize("prompt", ["", "  \n", ","])
def test_an_empty_prompt_segments_object(bench: Bench, prompt: str) -> None:
    _, mask, _ = bench.run(scene(("red", 2, 2), ("blue", 10, 10)), prompt)
    assert bench.processor.asked == [["object"]]
    assert mask.sum() == 72


def test_a_long_phrase_is_cut_with_a_warning(
    bench: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = " ".join(["very"] * 30)
    monkeypatch.setitem(COLORS, kept, (1.0, 0.0, 0.0))
    bench.run(scene(("red", 2, 2)), kept + " red circle")
    assert bench.processor.asked == [[kept]]
    assert any('"red circle" is ignored' in r.message for r in caplog.records)


def test_mixed_frames_keep_their_rows(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    images = torch.cat(
        [scene(("red", 1, 1)), scene(("blue", 1, 1)), scene(("red", 10, 20)), scene()]
    )
    for background, channels in (("Alpha", 4), ("Color", 3)):
        picture, mask, _ = bench.run(images, background=background)
        assert picture.shape == (4, 24, 32, channels)
        assert mask.sum(dim=(1, 2)).tolist() == [36, 0, 36, 0]
        assert torch.equal(mask[2], square_mask(10, 20))


def test_nothing_found_is_logged_with_the_best_score(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    images = torch.cat([scene(("red", 1, 1)), scene()])
    bench.run(images, "red", confidence_threshold=0.4)
    messages = [r.message for r in caplog.records if "nothing found" in r.message]
    assert len(messages) == 1
    for piece in ('"red"', "frame 2 of 2", "0.12", "0.40"):
        assert piece in messages[0]


def test_invert_with_nothing_found_is_all_ones(bench: Bench) -> None:
    image = scene()
    picture, mask, _ = bench.run(image, invert_output=True, mask_blur=3, mask_offset=4)
    assert torch.equal(mask, torch.ones(1, 24, 32))
    assert torch.equal(picture[..., :3], image) and (picture[..., 3] == 1).all()


def test_nothing_found_is_all_zeros(bench: Bench) -> None:
    _, mask, _ = bench.run(scene(("blue", 2, 2)), mask_offset=5, mask_blur=2)
    assert not mask.any()


def test_invert_is_the_complement_of_the_union(bench: Bench) -> None:
    image = scene(("red", 2, 2), ("blue", 12, 20))
    _, mask, _ = bench.run(image, "red, blue")
    _, inverted, _ = bench.run(image, "red, blue", invert_output=True)
    assert torch.equal(inverted, 1 - mask) and inverted.mean() > 0.8


@pytest.mark.parametrize(("offset", "top", "side"), [(3, 6, 12), (-2, 11, 2), (0, 9, 6)])
def test_offset(bench: Bench, offset: int, top: int, side: int) -> None:
    _, mask, _ = bench.run(scene(("red", 9, 9)), mask_offset=offset)
    assert torch.equal(mask[0], square_mask(top, top, side))


def test_offset_blur_invert_each_once_in_this_order(
    bench: Bench, part: Callable[[str], Any]
) -> None:
    edit = part("sam3.pipeline.mask_edit")
    _, mask, _ = bench.run(scene(("red", 9, 9)), mask_offset=2, mask_blur=2, invert_output=True)
    grown = square_mask(7, 7, 10)
    assert torch.allclose(mask[0], 1 - edit.blur_mask(grown, 2))


def test_kept_pixels_are_the_inputs_own(bench: Bench) -> None:
    image = scene(("red", 9, 9))
    image += torch.rand(image.shape, generator=torch.Generator().manual_seed(0)) * 1e-3
    image[0, 9:15, 9:15, 0] = 1.5  # beyond white is kept too
    bench.processor._find = lambda phrase, pixels: {  # type: ignore[method-assign]
        "masks": square_mask(9, 9).bool()[None, None],
        "boxes": torch.zeros(1, 4), "scores": torch.ones(1), "best_score": 1.0,
    }  # fmt: skip
    alpha, mask, _ = bench.run(image)
    color, _, _ = bench.run(image, background="Color", background_color="#00ff00")
    inside = mask == 1
    assert torch.equal(alpha[..., :3], image)
    assert torch.equal(color[inside], image[inside])
    assert (color[~inside] == torch.tensor([0.0, 1.0, 0.0])).all()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("#fff", (1, 1, 1)), ("#ff0000", (1, 0, 0)), ("#ff0000ff", (1, 0, 0)), ("00f", (0, 0, 1)),
        ("rgb(0, 255, 0)", (0, 1, 0)), ("rgba(0%, 0%, 100%, 1)", (0, 0, 1)), ("white", (1, 1, 1)),
        ("#ff000000", (0, 0, 0)), ("rgba(255, 0, 0, 0.5)", (0.5, 0, 0)),
    ],
)  # fmt: skip
def test_background_colours(bench: Bench, text: str, expected: tuple[float, ...]) -> None:
    picture, _, _ = bench.run(scene(("red", 9, 9)), background="Color", background_color=text)
    assert picture[0, 0, 0].tolist() == pytest.approx(expected)


def test_a_bad_colour_is_told_before_the_model_is_touched(bench: Bench, errors: Any) -> None:
    with pytest.raises(errors.InputError, match="#rrggbb"):
        bench.run(scene(), background="Color", background_color="#12345")
    assert not bench.processor.images and not bench.released


def test_an_unused_bad_colour_is_no_error(bench: Bench) -> None:
    bench.run(scene(("red", 1, 1)), background="Alpha", background_color="nonsense")


def test_unknown_background(bench: Bench, errors: Any) -> None:
    with pytest.raises(errors.InputError, match="Alpha, Color"):
        bench.run(scene(), background="Blur")


@pytest.mark.parametrize("size", [(1, 64), (64, 1), (1, 1)])
def test_one_pixel_sides(bench: Bench, size: tuple[int, int]) -> None:
    image = torch.zeros(2, *size, 3)
    image[1] = torch.tensor(COLORS["red"])
    picture, mask, mask_image = bench.run(image, mask_offset=2, mask_blur=2)
    assert picture.shape == (2, *size, 4) and mask.shape == (2, *size)
    assert mask_image.shape == (2, *size, 3)
    assert mask[0].max() == 0 and mask[1].min() == 1


def test_rgba_input_drops_its_alpha(bench: Bench) -> None:
    rgb = scene(("red", 2, 2))
    rgba = torch.cat([rgb, torch.full((1, 24, 32, 1), 0.3)], dim=-1)
    picture, mask, _ = bench.run(rgba)
    assert bench.processor.images[0].mode == "RGB"
    assert torch.equal(picture[..., :3], rgb) and torch.equal(picture[..., 3], mask)
    assert bench.run(rgba, background="Color")[0].shape == (1, 24, 32, 3)


def test_grey_input(bench: Bench) -> None:
    grey = torch.zeros(1, 24, 32, 1)
    grey[0, 4:8, 4:8] = 0.5
    picture, mask, _ = bench.run(grey, "")
    assert bench.processor.images[0].mode == "RGB"
    assert picture.shape == (1, 24, 32, 4) and mask.sum() == 16
    assert torch.equal(picture[..., 0:1], grey)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf"), 1e30, -7.0])
def test_bad_pixels_are_cleaned(bench: Bench, bad: float) -> None:
    image = scene(("red", 9, 9))
    image[0, 0, :] = bad
    for background in ("Alpha", "Color"):
        picture, mask, mask_image = bench.run(image, background=background)
        assert torch.equal(mask[0], square_mask(9, 9))
        for result in (picture, mask, mask_image):
            assert torch.isfinite(result).all()


def test_no_frames(bench: Bench) -> None:
    for background, channels in (("Alpha", 4), ("Color", 3)):
        picture, mask, mask_image = bench.run(torch.zeros(0, 5, 7, 3), background=background)
        assert picture.shape == (0, 5, 7, channels)
        assert mask.shape == (0, 5, 7) and mask_image.shape == (0, 5, 7, 3)
    assert not bench.processor.images


@pytest.mark.parametrize(
    "image", [torch.zeros(4, 5, 3), torch.zeros(1, 4, 5, 2), torch.zeros(1, 0, 5, 3), None]
)
def test_bad_images(bench: Bench, errors: Any, image: Any) -> None:
    with pytest.raises(errors.InputError, match="image"):
        bench.run(image)


@pytest.mark.parametrize("bad", [{"mask_blur": -1}, {"mask_offset": 1.5}])
def test_bad_numbers_through_a_link(bench: Bench, errors: Any, bad: dict[str, Any]) -> None:
    with pytest.raises(errors.InputError):
        bench.run(scene(), **bad)


def test_half_precision_images(bench: Bench) -> None:
    picture, _, _ = bench.run(scene(("red", 2, 2)).half())
    assert picture.dtype == torch.float32


def test_results_lie_on_the_intermediate_device(
    bench: Bench, part: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(part("nodes.host"), "intermediate_device", lambda: torch.device("meta"))
    monkeypatch.setattr(part("AILab_SAM3Segment"), "edit_mask", lambda mask, *edits: mask.float())
    assert {r.device.type for r in bench.run(scene(("red", 2, 2)))} == {"meta"}


def test_progress_counts_the_frames(bench: Bench, host: Any) -> None:
    bench.run(scene(("red", 2, 2)).repeat(4, 1, 1, 1))
    assert host.bars == [[1, 2, 3, 4]]


def test_cancel_stops_within_one_frame_and_is_not_swallowed(bench: Bench, host: Any) -> None:
    host.cancel_after_updates = 2
    interrupted = host.management.InterruptProcessingException
    with pytest.raises(interrupted):
        bench.run(scene(("red", 2, 2)).repeat(9, 1, 1, 1), unload_model=True)
    assert len(bench.processor.images) == 2
    assert len(bench.released) == 1
    host.cancelled = True
    with pytest.raises(interrupted):
        bench.run(scene(("red", 2, 2)))
    assert len(bench.processor.images) == 2, "a cancel before the first frame starts none"


@pytest.mark.parametrize("unload", [True, False])
def test_unload_happens_after_success_and_after_failure(bench: Bench, unload: bool) -> None:
    bench.run(scene(("red", 2, 2)), unload_model=unload)
    assert len(bench.released) == unload
    bench.processor.fail_at = 2
    with pytest.raises(RuntimeError, match="out of memory"):
        bench.run(scene(("red", 2, 2)).repeat(4, 1, 1, 1), unload_model=unload)
    assert len(bench.released) == 2 * unload


def test_threshold_reaches_the_processor(bench: Bench) -> None:
    bench.run(scene(("red", 2, 2)), confidence_threshold=0.77)
    assert bench.processor.confidence_threshold == 0.77


def test_4k_with_the_largest_offset_is_quick(bench: Bench) -> None:
    image = torch.zeros(1, 2160, 4096, 3)
    image[0, 500:1500, 1000:3000, 0] = 1
    plain, edited = [], []
    for offset, times in ((0, plain), (64, edited)):
        for _ in range(2):
            start = time.process_time()
            bench.run(image, mask_offset=offset)
            times.append(time.process_time() - start)
    assert min(edited) - min(plain) < 1.0


def test_methods_are_short(node: Any) -> None:
    for name in ("INPUT_TYPES", "VALIDATE_INPUTS", "segment"):
        source = inspect.getsource(getattr(type(node), name))
        body = source.split('"""')[-1]
        assert len(body.splitlines()) < 40


def test_nothing_is_logged_when_all_is_well(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        bench.run(scene(("red", 2, 2)))
    assert not caplog.records
