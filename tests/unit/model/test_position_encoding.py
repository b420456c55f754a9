"""Sine position encodings against the goldens, caching, devices and bad input."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from sam3.errors import InputError
from sam3.model.position_encoding import PositionEmbeddingSine, gen_sineembed_for_position

GOLDEN = np.load(Path(__file__).parents[2] / "golden" / "image" / "tiny.npz")
GRIDS = ["256_3x5", "64_4x2", "16_1x1", "8_72x72"]


def golden(name: str) -> torch.Tensor:
    return torch.from_numpy(GOLDEN[name])


def same(actual: torch.Tensor, name: str) -> None:
    torch.testing.assert_close(actual, golden(name), rtol=0, atol=2e-6)


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_golden_grid(name, dtype):
    feats, size = name.split("_")
    height, width = map(int, size.split("x"))
    encode = PositionEmbeddingSine(int(feats))
    out = encode(torch.randn(2, 3, height, width, dtype=dtype))
    assert out.shape == (2, int(feats), height, width)
    same(out[0], f"sine.{name}")
    same(out[1], f"sine.{name}")


def test_golden_boxes_and_points():
    encode = PositionEmbeddingSine(256)
    boxes = golden("box.cxcywh")
    same(encode.encode_boxes(*boxes.unbind(1)), "sine.encode_boxes")
    same(encode.encode(*boxes.unbind(1)), "sine.encode_boxes")
    points = encode.encode_points(
        boxes[None, :, 0], boxes[None, :, 1], torch.tensor([[1, 0, 1, 1, 0, 1]])
    )
    same(points, "sine.encode_points")


def test_golden_decoder_codes():
    boxes = golden("box.cxcywh")[:, None]
    same(gen_sineembed_for_position(boxes), "sine.embed4")
    same(gen_sineembed_for_position(boxes[..., :2]), "sine.embed2")


def test_grid_from_the_definition():
    feats, height, width = 12, 3, 4
    out = PositionEmbeddingSine(feats)(torch.zeros(1, 1, height, width))[0]
    for channel in range(feats):
        k = channel % 6
        for y in range(height):
            for x in range(width):
                index, last = (y + 1, height) if channel < 6 else (x + 1, width)
                angle = index / (last + 1e-6) * 2 * math.pi / 10000 ** (2 * (k // 2) / 6)
                wanted = math.cos(angle) if k % 2 else math.sin(angle)
                assert abs(out[channel, y, x].item() - wanted) < 1e-5


def test_without_normalisation_indices_are_raw():
    out = PositionEmbeddingSine(8, normalize=False)(torch.zeros(1, 1, 2, 3))[0]
    torch.testing.assert_close(out[0, :, 0], torch.tensor([1.0, 2.0]).sin())
    torch.testing.assert_close(out[4, 0], torch.tensor([1.0, 2.0, 3.0]).sin())


def test_tables_are_made_once_per_size():
    encode = PositionEmbeddingSine(8)
    first = encode(torch.zeros(1, 1, 4, 6))
    again = encode(torch.ones(2, 5, 4, 6))
    assert first.data_ptr() == again.data_ptr()
    encode(torch.zeros(1, 1, 6, 4))
    assert sorted((h, w) for h, w, _ in encode.cache) == [(4, 6), (6, 4)]


def test_holds_no_parameters_and_follows_moves():
    encode = PositionEmbeddingSine(8, precompute_resolution=112)
    assert not encode.state_dict() and not list(encode.buffers())
    assert sorted(h for h, _, _ in encode.cache) == [4, 8, 16, 32]
    assert not encode.half().cache
    assert encode(torch.zeros(1, 1, 8, 8)).dtype == torch.float32


def test_meta_device_allocates_nothing_and_still_works():
    with torch.device("meta"):
        encode = PositionEmbeddingSine(256, precompute_resolution=1008)
    assert not encode.cache
    same(encode(torch.zeros(1, 1, 3, 5))[0], "sine.256_3x5")
    assert encode(torch.zeros(1, 1, 3, 5, device="meta")).device.type == "meta"
    same(encode(torch.zeros(1, 1, 3, 5))[0], "sine.256_3x5")


def test_table_made_in_inference_mode_can_be_trained_with():
    encode = PositionEmbeddingSine(8)
    with torch.inference_mode():
        encode(torch.zeros(1, 1, 2, 2))
    weight = torch.ones(1, requires_grad=True)
    (encode(torch.zeros(1, 1, 2, 2)) * weight).sum().backward()
    assert weight.grad is not None


def test_grid_code_equals_point_code():
    encode = PositionEmbeddingSine(16)
    grid = encode(torch.zeros(1, 1, 4, 4))[0]
    coords = torch.arange(1, 5) / 4
    y, x = torch.meshgrid(coords, coords, indexing="ij")
    points = encode.encode_points(x.reshape(1, -1), y.reshape(1, -1), torch.zeros(1, 16))[0]
    torch.testing.assert_close(points[:, :16].T.reshape(16, 4, 4), grid, atol=1e-5, rtol=0)


def test_decoder_code_has_gradients():
    boxes = torch.rand(2, 3, 4, requires_grad=True)
    gen_sineembed_for_position(boxes, 16).sum().backward()
    assert boxes.grad is not None and bool((boxes.grad != 0).all())


def test_half_precision_input_is_coded_in_float32():
    boxes = torch.rand(5, 4).bfloat16()
    out = gen_sineembed_for_position(boxes)
    torch.testing.assert_close(out, gen_sineembed_for_position(boxes.float()))
    assert PositionEmbeddingSine(16).encode_boxes(*boxes.unbind(1)).dtype == torch.float32


def test_no_prompts():
    encode, none = PositionEmbeddingSine(256), torch.zeros(0)
    assert encode.encode_boxes(none, none, none, none).shape == (0, 258)
    none = torch.zeros(3, 0)
    assert encode.encode_points(none, none, none).shape == (3, 0, 257)
    assert gen_sineembed_for_position(torch.zeros(0, 2, 4)).shape == (0, 2, 512)


@pytest.mark.parametrize("feats", [0, -4, 3, 6])
def test_bad_width(feats):
    with pytest.raises(InputError, match="multiple of 4"):
        PositionEmbeddingSine(feats)
    with pytest.raises(InputError, match="multiple of 4"):
        gen_sineembed_for_position(torch.zeros(1, 4), feats)


def test_bad_input():
    encode, flat = PositionEmbeddingSine(8), torch.zeros(3)
    with pytest.raises(InputError, match="normalize=True"):
        PositionEmbeddingSine(8, normalize=False, scale=1.0)
    with pytest.raises(InputError, match=r"\[B, C, H, W\]"):
        encode(torch.zeros(3, 4, 5))
    with pytest.raises(InputError, match="one length"):
        encode.encode_boxes(flat, flat, flat[:2], flat)
    with pytest.raises(InputError, match="1-D"):
        encode.encode_boxes(flat, flat[:2], flat, flat)
    with pytest.raises(InputError, match=r"\[B, N\]"):
        encode.encode_points(flat, flat, flat)
    with pytest.raises(InputError, match="2 or 4"):
        gen_sineembed_for_position(torch.zeros(5, 3))
