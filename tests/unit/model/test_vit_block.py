"""Pieces of the trunk's blocks that the golden arrays do not separate."""

from __future__ import annotations

import pytest
import torch

from sam3.model.vitdet import Attention, Block, Mlp


@pytest.mark.parametrize("shape", [(1, 5, 7, 16), (3, 40, 40, 16), (2, 0, 4, 16)])
def test_mlp_by_rows_equals_the_plain_form(shape):
    torch.manual_seed(0)
    mlp = Mlp(16, 40).eval()
    mlp.CPU_ROWS = 17
    x = torch.randn(shape)
    plain = mlp(x)  # gradients are recorded: the plain form
    assert plain.requires_grad
    before = x.clone()
    with torch.no_grad():
        by_rows = mlp(x)
    torch.testing.assert_close(by_rows, plain.detach(), atol=1e-6, rtol=1e-5)
    assert torch.equal(x, before)


def test_attention_refuses_another_grid():
    attention = Attention(16, 2, (4, 4), rope_pt_size=4)
    with pytest.raises(ValueError, match=r"\(4, 4\) token grid, got \(5, 4\)"):
        attention(torch.zeros(1, 5, 4, 16))


def test_windows_do_not_see_each_other():
    torch.manual_seed(0)
    block = Block(16, 2, (8, 8), mlp_ratio=2, window_size=4, rope_pt_size=4).eval()
    x = torch.randn(1, 8, 8, 16)
    changed = x.clone()
    changed[:, :4, :4] += 1
    with torch.no_grad():
        a, b = block(x), block(changed)
    same = (a == b).all(-1)[0]
    assert not same[:4, :4].any()
    assert same[4:].all() and same[:, 4:].all()
