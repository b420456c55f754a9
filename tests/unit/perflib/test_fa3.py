"""The FlashAttention 3 op, with a CPU stand-in for the optional package."""

from __future__ import annotations

import sys
import types

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from sam3.errors import InputError, MissingDependencyError
from sam3.perflib import capabilities, fa3


@pytest.fixture
def stand_in(monkeypatch):
    """Install a flash_attn_interface that computes attention on the CPU and logs its dtypes."""
    module = types.ModuleType("flash_attn_interface")
    module.dtypes = []

    def attention(q, k, v):
        module.dtypes.append((q.dtype, k.dtype, v.dtype))
        q, k, v = (t.float().transpose(1, 2) for t in (q, k, v))
        out = torch.nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2)
        return (out.bfloat16(), None) if module.returns_tuple else out.bfloat16()

    module.returns_tuple = False
    module.flash_attn_func = attention
    monkeypatch.setitem(sys.modules, "flash_attn_interface", module)
    # A module made by hand has no spec for the real look-up to find.
    monkeypatch.setattr(capabilities, "has_flash_attention_3", lambda: True)
    fa3.prepare.cache_clear()
    yield module
    fa3.prepare.cache_clear()


@pytest.mark.parametrize("returns_tuple", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_casts_to_float8_and_back(stand_in, dtype, returns_tuple):
    stand_in.returns_tuple = returns_tuple
    q, k, v = (torch.randn(2, n, 3, 8, dtype=dtype) for n in (5, 7, 7))
    out = fa3.flash_attn_func(q, k, v)
    assert out.shape == q.shape and out.dtype == dtype
    assert stand_in.dtypes == [(torch.float8_e4m3fn,) * 3]
    exact = torch.nn.functional.scaled_dot_product_attention(
        *(t.float().transpose(1, 2) for t in (q, k, v))
    ).transpose(1, 2)
    torch.testing.assert_close(out.float(), exact, atol=0.25, rtol=0.1)


def test_fake_version_agrees_with_the_real_one(stand_in):
    fa3.prepare()
    q, k, v = (torch.randn(2, n, 3, 8).to(torch.float8_e4m3fn) for n in (5, 7, 7))
    real = torch.ops.flash.flash_attn_func(q, k, v)
    with FakeTensorMode() as mode:
        fake = torch.ops.flash.flash_attn_func(*(mode.from_tensor(t) for t in (q, k, v)))
    assert (fake.shape, fake.dtype, fake.stride()) == (real.shape, real.dtype, real.stride())


def test_can_be_compiled_as_one_graph(stand_in):
    fa3.prepare()
    compiled = torch.compile(fa3.flash_attn_func, backend="eager", fullgraph=True)
    x = torch.randn(1, 4, 2, 8)
    assert torch.equal(compiled(x, x, x), fa3.flash_attn_func(x, x, x))


def test_missing_package_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "flash_attn_interface", None)
    fa3.prepare.cache_clear()
    x = torch.zeros(1, 2, 3, 8)
    with pytest.raises(MissingDependencyError, match="use_fa3=False"):
        fa3.flash_attn_func(x, x, x)


@pytest.mark.parametrize(
    ("q", "k", "v"),
    [
        ((2, 3, 8), (2, 3, 8), (2, 3, 8)),
        ((1, 2, 3, 8), (1, 4, 3, 8), (1, 5, 3, 8)),
        ((1, 2, 3, 8), (1, 4, 3, 16), (1, 4, 3, 16)),
    ],
)
def test_bad_shapes(stand_in, q, k, v):
    with pytest.raises(InputError, match=r"\[B, L, heads, D\]"):
        fa3.flash_attn_func(torch.zeros(q), torch.zeros(k), torch.zeros(v))
