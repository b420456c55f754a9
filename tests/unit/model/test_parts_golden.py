"""Small parts of the image model against numbers measured on the reference."""

from __future__ import annotations

import numpy as np
import PIL.Image
import pytest
import torch
from torch import nn

from sam3.layers.basic import inverse_sigmoid
from sam3.layers.mlp import MLP
from sam3.model.data_misc import interpolate
from sam3.model.frames import preprocess, to_uint8_rgb
from sam3.model.geometry_encoders import concat_padded_sequences
from sam3.model.maskformer_segmentation import PixelDecoder
from sam3.model.model_misc import DotProductScoring
from sam3.model.necks import Sam3DualViTDetNeck
from sam3.model.position_encoding import PositionEmbeddingSine
from sam3.model.vitdet import (
    apply_rotary_enc,
    compute_axial_cis,
    get_abs_pos,
    window_partition,
    window_unpartition,
)
from tests.support import golden
from tests.support.fill import fill_state


@pytest.fixture(scope="module")
def gold():
    return golden.load("image/tiny.npz")


@pytest.fixture(scope="module")
def tensors(gold):
    return {k: torch.from_numpy(v) for k, v in gold.items() if v.dtype.kind in "fib"}


def test_inverse_sigmoid(gold, tensors):
    golden.assert_matches(
        gold, "inverse_sigmoid.out", inverse_sigmoid(tensors["inverse_sigmoid.in"]), 1e-6
    )


@pytest.mark.parametrize(
    ("name", "dim", "width", "height", "scale"),
    [("win24", 64, 24, 24, 1.0), ("glob72", 64, 72, 72, 1 / 3), ("rect", 16, 3, 5, 0.5)],
)
def test_rotary_table(gold, name, dim, width, height, scale):
    freqs = compute_axial_cis(dim, width, height, scale_pos=scale)
    assert freqs.shape == (width * height, dim // 2)
    rows = freqs[:: int(gold[f"rope.{name}.step"])]
    golden.assert_matches(gold, f"rope.{name}.real", rows.real, 2e-6)
    golden.assert_matches(gold, f"rope.{name}.imag", rows.imag, 2e-6)


def test_rotation(gold, tensors):
    q, k = apply_rotary_enc(tensors["rope.q"], tensors["rope.k"], compute_axial_cis(16, 3, 5))
    golden.assert_matches(gold, "rope.q_out", q, 1e-6)
    golden.assert_matches(gold, "rope.k_out", k, 1e-6)


def test_rotation_compiled_form_is_the_same(tensors, monkeypatch):
    """The real-valued form that the compiler and MPS use equals the complex one."""
    freqs = compute_axial_cis(16, 3, 5)
    eager = apply_rotary_enc(tensors["rope.q"], tensors["rope.k"], freqs)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    compiled = apply_rotary_enc(tensors["rope.q"], tensors["rope.k"], freqs)
    for a, b in zip(eager, compiled, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-6)


def test_rotation_of_repeated_and_no_keys(tensors):
    freqs = compute_axial_cis(16, 3, 5)
    k = tensors["rope.k"]
    _, once = apply_rotary_enc(k, k, freqs)
    _, twice = apply_rotary_enc(k, torch.cat([k, k], dim=2), freqs, repeat_freqs_k=True)
    torch.testing.assert_close(twice, torch.cat([once, once], dim=2))
    _, none = apply_rotary_enc(k, k[:, :, :0], freqs)
    assert none.shape == (2, 3, 0, 16)
    with pytest.raises(ValueError, match="multiple"):
        apply_rotary_enc(k, torch.cat([k, k[:, :, :1]], dim=2), freqs, repeat_freqs_k=True)


def test_absolute_positions(gold, tensors):
    table = tensors["abs_pos.in"]
    golden.assert_matches(
        gold, "abs_pos.tile_7x5", get_abs_pos(table, True, (7, 5), tiling=True), 0
    )
    golden.assert_matches(gold, "abs_pos.same_3x3", get_abs_pos(table, True, (3, 3)), 0)
    assert get_abs_pos(table, True, (6, 6)).shape == (1, 6, 6, 4)
    assert get_abs_pos(table, True, (3, 3), retain_cls_token=True).shape == (1, 10, 4)
    with pytest.raises(ValueError, match="square"):
        get_abs_pos(table, False, (3, 3))


def test_windows(gold, tensors):
    parts, padded = window_partition(tensors["win.in"], 3)
    golden.assert_matches(gold, "win.parts", parts, 0)
    assert padded == tuple(gold["win.pad_hw"])
    golden.assert_matches(gold, "win.back", window_unpartition(parts, 3, padded, (5, 7)), 0)


def test_concat_padded(gold, tensors):
    t = {k: tensors[f"concat.{k}"] for k in ("s1", "m1", "s2", "m2")}
    out = concat_padded_sequences(t["s1"], t["m1"], t["s2"], t["m2"], return_index=True)
    for key, value in zip(("out", "mask", "index"), out, strict=True):
        golden.assert_matches(gold, f"concat.{key}", value, 0)
    with pytest.raises(ValueError, match="fit together"):
        concat_padded_sequences(t["s1"], t["m2"], t["s2"], t["m1"])


@torch.no_grad()
def test_scoring(gold, tensors):
    scoring = DotProductScoring(
        16, 16, MLP(16, 32, 16, 2, residual=True, out_norm=nn.LayerNorm(16))
    )
    fill_state(scoring.state_dict(), prefix="tiny.scoring.")
    out = scoring(*(tensors[f"scoring.{k}"] for k in ("hs", "prompt", "mask")))
    golden.assert_matches(gold, "scoring.out", out, 1e-5)


@torch.no_grad()
def test_pixel_decoder(gold, tensors):
    decoder = PixelDecoder(hidden_dim=16, num_upsampling_stages=3)
    fill_state(decoder.state_dict(), prefix="tiny.pixdec.")
    out = decoder([tensors[f"pixdec.in{i}"] for i in range(3)])
    golden.assert_matches(gold, "pixdec.out", out, 1e-5)


class _Trunk(nn.Module):
    channel_list = [32]

    def forward(self, x):
        return [x]


@torch.no_grad()
def test_neck(gold, tensors):
    neck = Sam3DualViTDetNeck(_Trunk(), PositionEmbeddingSine(8), d_model=8)
    fill_state(neck.state_dict(), prefix="tiny.neck.")
    features, positions, second, second_positions = neck(tensors["neck.in"])
    assert second is None and second_positions is None
    for i in range(4):
        golden.assert_matches(gold, f"neck.out{i}", features[i], 1e-5)
        golden.assert_matches(gold, f"neck.pos{i}", positions[i], 1e-5)


def test_neck_refuses_other_scales():
    with pytest.raises(NotImplementedError, match="8"):
        Sam3DualViTDetNeck(_Trunk(), PositionEmbeddingSine(8), 8, scale_factors=[8.0])


def test_interpolate_empty(gold):
    out = interpolate(torch.zeros(0, 1, 3, 4), size=(7, 9), mode="bilinear")
    assert out.shape == gold["interpolate.empty"].shape
    assert interpolate(torch.zeros(2, 0, 3, 4), size=(7, 9)).shape == (2, 0, 7, 9)
    with pytest.raises(ValueError, match="batch or a channel"):
        interpolate(torch.zeros(0, 0, 3, 4), size=(7, 9))


@pytest.mark.parametrize("key", ["1x1", "3x7", "2000x30", "1008x1008"])
def test_preprocess(gold, key):
    height, width = (int(n) for n in key.split("x"))
    y, x = np.mgrid[:height, :width]
    picture = np.stack([(7 * x + 13 * y) % 256, (29 * x + 3 * y) % 256, (x * y) % 256], axis=-1)
    picture = PIL.Image.fromarray(picture.astype(np.uint8))
    pixels = preprocess([to_uint8_rgb(picture)], 1008, torch.device("cpu"), torch.float32)
    # one step of the uint8 resize apart on CPUs without the native kernel
    exact = torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
    golden.assert_matches(gold, f"preprocess.{key}", pixels[0], 0.0 if exact else 2.01 / 255)
