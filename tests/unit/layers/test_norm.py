"""Layer normalisation over channels."""

from __future__ import annotations

import torch

from sam3.layers.norm import LayerNorm2d


def test_every_pixel_is_normalised_over_its_channels():
    torch.manual_seed(0)
    norm = LayerNorm2d(5)
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2)
        norm.bias.uniform_(-1, 1)
    x = 3 * torch.randn(2, 5, 4, 3) + 7
    mean = x.mean(1, keepdim=True)
    variance = ((x - mean) ** 2).mean(1, keepdim=True)  # divided by C, not by C - 1
    expected = (x - mean) / (variance + norm.eps).sqrt()
    expected = expected * norm.weight[:, None, None] + norm.bias[:, None, None]
    torch.testing.assert_close(norm(x), expected)
    assert norm.eps == 1e-6
