"""Transforms of pictures and coordinates, clean-up of masks."""

from __future__ import annotations

import numpy as np
import PIL.Image
import pytest
import torch

from sam3.errors import InputError, UnsupportedInputError
from sam3.model.utils import sam1_utils
from sam3.model.utils.sam1_utils import InteractiveTransforms, small_components


def test_pictures_of_the_right_size_are_only_scaled():
    pixels = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
    out = InteractiveTransforms(8, 0.0)(pixels)
    expected = torch.from_numpy(pixels).permute(2, 0, 1) / 127.5 - 1
    torch.testing.assert_close(out, expected)


def test_any_kind_of_picture_gives_the_same():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (20, 31, 3), dtype=np.uint8)
    transforms = InteractiveTransforms(16, 0.0)
    expected = transforms(pixels)
    assert expected.shape == (3, 16, 16) and expected.dtype == torch.float32
    assert torch.equal(transforms(PIL.Image.fromarray(pixels)), expected)
    assert torch.equal(transforms(pixels.astype(np.float32) / 255), expected)
    assert torch.equal(transforms(np.dstack([pixels, pixels[..., 0]])), expected)


@pytest.mark.parametrize("bad", [torch.zeros(3, 4, 4), "photo.png", [[1, 2]], None])
def test_other_types_are_named(bad):
    with pytest.raises(UnsupportedInputError, match=type(bad).__name__) as info:
        InteractiveTransforms(16, 0.0)(bad)
    assert isinstance(info.value, NotImplementedError) and isinstance(info.value, InputError)


def test_coordinates():
    transforms = InteractiveTransforms(100, 0.0)
    points = torch.tensor([[40.0, 30.0]])
    assert transforms.transform_coords(points, True, (60, 80)).tolist() == [[50, 50]]
    assert transforms.transform_coords(torch.tensor([[0.5, 0.1]]), False).tolist() == [[50, 10]]
    boxes = transforms.transform_boxes(torch.tensor([8.0, 6.0, 40.0, 60.0]), True, (60, 80))
    torch.testing.assert_close(boxes, torch.tensor([[[10.0, 10.0], [50.0, 100.0]]]))
    with pytest.raises(ValueError, match="orig_hw"):
        transforms.transform_coords(points)


def masks_with_holes_and_specks() -> torch.Tensor:
    """A square with a hole of 4 pixels beside a speck of 2, and an empty mask: 12 x 12."""
    masks = torch.full((1, 2, 12, 12), -1.0)
    masks[0, 0, 1:9, 1:9] = 1.0
    masks[0, 0, 4:6, 4:6] = -1.0
    masks[0, 0, 10, 10:12] = 1.0
    return masks


@pytest.mark.parametrize(
    ("holes", "specks", "filled", "removed"),
    [
        (0, 0, False, False),
        (3, 1, False, False),
        (4, 0, True, False),
        (0, 2, False, True),
        (4, 2, True, True),
    ],
)
def test_clean_up(holes, specks, filled, removed):
    masks = masks_with_holes_and_specks()
    before = masks.clone()
    out = InteractiveTransforms(8, 0.5, holes, specks).clean_masks(masks)
    assert torch.equal(masks, before)
    expected = before.clone()
    if filled:
        expected[0, 0, 4:6, 4:6] = 10.5
    if removed:
        expected[0, 0, 10, 10:12] = -9.5
    assert torch.equal(out, expected)


def test_specks_are_found_on_the_mask_as_it_came():
    """A speck inside a filled hole goes, although the filling would have joined it."""
    masks = torch.full((1, 1, 9, 9), 1.0)
    masks[..., 2:7, 2:7] = -1.0
    masks[..., 4, 4] = 1.0
    out = InteractiveTransforms(8, 0.0, 24, 1).clean_masks(masks)
    assert out[0, 0, 4, 4] == -10 and out[0, 0, 3, 3] == 10 and out[0, 0, 0, 0] == 1


def test_clean_up_that_cannot_run_warns_and_goes_on(monkeypatch):
    def fail(_):
        raise RuntimeError("no backend here")

    monkeypatch.setattr(sam1_utils, "connected_components", fail)
    masks = masks_with_holes_and_specks()
    with pytest.warns(UserWarning, match="no backend here"):
        out = InteractiveTransforms(8, 0.0, 4, 2).postprocess_masks(masks, (24, 24))
    assert out.shape == (1, 2, 24, 24)


def test_masks_come_at_picture_size():
    masks = torch.randn(2, 3, 12, 12)
    out = InteractiveTransforms(8, 0.0).postprocess_masks(masks.bfloat16(), (20, 30))
    assert out.shape == (2, 3, 20, 30) and out.dtype == torch.float32


def test_small_components_keep_their_shape():
    region = torch.zeros(2, 3, 5, 5, dtype=torch.bool)
    region[1, 2, 0, 0] = region[1, 2, 1, 1] = True  # joined over the corner
    assert small_components(region, 1).sum() == 0
    assert torch.equal(small_components(region, 2), region)
    assert small_components(region[:0], 2).shape == (0, 3, 5, 5)
