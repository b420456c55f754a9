"""Offset, blur and invert against independent references."""

from __future__ import annotations

import time

import pytest
import torch
from scipy import ndimage

from sam3.errors import InputError
from sam3.pipeline.mask_edit import blur_mask, edit_mask, invert, offset_mask


def square(height: int, width: int, top: int, left: int, side: int) -> torch.Tensor:
    mask = torch.zeros(height, width)
    mask[top : top + side, left : left + side] = 1
    return mask


@pytest.mark.parametrize("dtype", [torch.float32, torch.bool, torch.float16])
@pytest.mark.parametrize("offset", [1, 2, 3, 4, 5, 7, 8, 12, 15, 16, 17, 31])
def test_offset_grows_and_shrinks_by_exactly_n_pixels(offset: int, dtype: torch.dtype) -> None:
    small, large = (
        square(150, 170, 60, 70, 20),
        square(150, 170, 60 - offset, 70 - offset, 20 + 2 * offset),
    )
    assert torch.equal(offset_mask(small.to(dtype), offset), large.to(dtype))
    assert torch.equal(offset_mask(large.to(dtype), -offset), small.to(dtype))


@pytest.mark.parametrize("offset", [-9, -4, -1, 1, 3, 6, 40, 64])
@pytest.mark.parametrize("shape", [(33, 47), (1, 40), (40, 1), (1, 1), (2, 3)])
def test_offset_equals_a_max_filter_that_repeats_the_border(
    shape: tuple[int, int], offset: int
) -> None:
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    rank = ndimage.maximum_filter if offset > 0 else ndimage.minimum_filter
    expected = rank(mask.numpy(), size=2 * abs(offset) + 1, mode="nearest")
    result = offset_mask(mask, offset)
    assert result.shape == shape
    assert torch.equal(result, torch.from_numpy(expected))


def test_shrinking_does_not_eat_from_the_border() -> None:
    assert torch.equal(offset_mask(torch.ones(20, 30), -5), torch.ones(20, 30))
    touching = square(40, 40, 0, 0, 20)
    assert torch.equal(offset_mask(touching, -5), square(40, 40, 0, 0, 15))


def test_frames_of_a_batch_do_not_touch_each_other() -> None:
    batch = torch.stack([torch.zeros(30, 30), square(30, 30, 10, 10, 5), torch.ones(30, 30)])
    for function in (lambda m: offset_mask(m, 4), lambda m: blur_mask(m, 4.0)):
        together = function(batch)
        assert torch.equal(together, torch.stack([function(frame) for frame in batch]))
        assert together[0].max() == 0 and together[2].min() == 1


@pytest.mark.parametrize("offset", [64, -64])
def test_offset_64_on_4k_is_fast(offset: int) -> None:
    mask = square(2160, 4096, 500, 700, 900).bool()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        start = time.process_time()
        offset_mask(mask, offset)
        assert time.process_time() - start < 1.0
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("radius", [0.3, 1, 2.5, 8, 20, 64])
@pytest.mark.parametrize("shape", [(61, 83), (1, 50), (50, 1), (1, 1)])
def test_blur_is_a_gaussian_of_that_deviation(shape: tuple[int, int], radius: float) -> None:
    mask = (torch.rand(shape, generator=torch.Generator().manual_seed(1)) > 0.5).float()
    expected = ndimage.gaussian_filter(mask.double().numpy(), radius, mode="nearest", truncate=6)
    result = blur_mask(mask, radius)
    assert result.shape == shape and result.dtype == torch.float32
    assert (result - torch.from_numpy(expected)).abs().max() < 1e-3
    assert result.min() >= 0 and result.max() <= 1


def test_blur_leaves_constant_regions_exact() -> None:
    mask = square(200, 200, 50, 50, 100)
    blurred = blur_mask(mask, 3)
    assert blurred[100, 100] == 1 and blurred[5, 5] == 0
    assert torch.equal(blur_mask(torch.ones(40, 40), 9), torch.ones(40, 40))
    assert torch.equal(blur_mask(torch.zeros(40, 40), 9), torch.zeros(40, 40))


def test_invert() -> None:
    assert torch.equal(invert(torch.zeros(2, 3, 4)), torch.ones(2, 3, 4))
    assert torch.equal(invert(torch.tensor([[True, False]])), torch.tensor([[0.0, 1.0]]))


def test_order_is_offset_blur_invert_each_once() -> None:
    mask = square(120, 120, 40, 40, 30)
    expected = 1 - blur_mask(offset_mask(mask, 6), 3)
    assert torch.equal(edit_mask(mask, offset=6, blur=3, invert_mask=True), expected)
    # Any other order differs, so the equality above says something.
    assert not torch.allclose(offset_mask(1 - blur_mask(mask, 3), 6), expected)
    assert not torch.allclose(1 - offset_mask(blur_mask(mask, 3), 6), expected)


def test_nothing_found_inverted_is_all_ones_whatever_else_is_set() -> None:
    empty = torch.zeros(3, 20, 30, dtype=torch.bool)
    assert torch.equal(edit_mask(empty, 5, 4, True), torch.ones(3, 20, 30))


def test_no_edit_keeps_the_mask_and_gives_floats() -> None:
    mask = square(9, 9, 2, 2, 3)
    assert torch.equal(edit_mask(mask), mask)
    assert edit_mask(mask.bool()).dtype == torch.float32


def test_an_empty_batch_stays_empty() -> None:
    assert edit_mask(torch.zeros(0, 5, 6), 3, 2, True).shape == (0, 5, 6)


@pytest.mark.parametrize("bad", [torch.zeros(3), torch.zeros(1, 1, 2, 2), None, [[1.0]]])
def test_wrong_masks(bad: object) -> None:
    with pytest.raises(InputError, match=r"\[H, W\] or \[B, H, W\]"):
        edit_mask(bad)  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", [-1, float("nan"), float("inf")])
def test_wrong_blur(bad: float) -> None:
    with pytest.raises(InputError, match="blur"):
        blur_mask(torch.zeros(2, 2), bad)


@pytest.mark.parametrize("bad", [1.5, float("nan"), float("inf"), True, "3"])
def test_wrong_offset(bad: object) -> None:
    with pytest.raises(InputError, match="whole number"):
        offset_mask(torch.zeros(2, 2), bad)  # type: ignore[arg-type]
