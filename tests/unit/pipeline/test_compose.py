"""Cut-outs and coloured backgrounds keep the input's own pixels."""

from __future__ import annotations

import pytest
import torch

from sam3.errors import InputError
from sam3.pipeline.compose import compose_alpha, compose_color

GREEN = (0.0, 1.0, 0.0, 1.0)


@pytest.fixture
def image() -> torch.Tensor:
    # Values an 8-bit copy could not hold, and some beyond white.
    return torch.rand(2, 7, 9, 3, generator=torch.Generator().manual_seed(0)) * 1.5


@pytest.fixture
def mask() -> torch.Tensor:
    mask = torch.zeros(2, 7, 9)
    mask[:, 2:5, 3:6] = 1
    return mask


def test_alpha_keeps_colours_and_adds_the_mask(image: torch.Tensor, mask: torch.Tensor) -> None:
    result = compose_alpha(image, mask)
    assert result.shape == (2, 7, 9, 4)
    assert torch.equal(result[..., :3], image) and torch.equal(result[..., 3], mask)


def test_color_is_bit_equal_inside_and_the_colour_outside(
    image: torch.Tensor, mask: torch.Tensor
) -> None:
    result = compose_color(image, mask, (0.2, 1 / 3, 0.7, 1.0))
    assert result.shape == (2, 7, 9, 3)
    assert torch.equal(result[mask == 1], image[mask == 1])
    assert (result[mask == 0] == torch.tensor([0.2, 1 / 3, 0.7])).all()


def test_soft_mask_mixes(image: torch.Tensor) -> None:
    result = compose_color(image, torch.full((2, 7, 9), 0.25), GREEN)
    assert torch.allclose(result, image * 0.25 + torch.tensor(GREEN[:3]) * 0.75)


def test_the_colours_alpha_lets_the_picture_shine_through(
    image: torch.Tensor, mask: torch.Tensor
) -> None:
    half = compose_color(image, mask, (0.0, 1.0, 0.0, 0.5))
    outside = mask == 0
    assert torch.allclose(half[outside], image[outside] * 0.5 + torch.tensor([0.0, 0.5, 0.0]))
    assert torch.equal(half[mask == 1], image[mask == 1])
    assert torch.equal(compose_color(image, mask, (0.0, 1.0, 0.0, 0.0)), image)


@pytest.mark.parametrize(
    ("image_shape", "mask_shape"), [((4, 5, 3), (5, 4)), ((4, 5, 4), (4, 5)), ((4, 5), (4, 5))]
)
def test_shapes_that_do_not_fit(image_shape: tuple[int, ...], mask_shape: tuple[int, ...]) -> None:
    for function in (compose_alpha, lambda i, m: compose_color(i, m, GREEN)):
        with pytest.raises(InputError, match="do not fit"):
            function(torch.zeros(image_shape), torch.zeros(mask_shape))
