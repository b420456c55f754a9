"""Fused focal losses against the plain form, on Triton's interpreter or on CUDA."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sam3.errors import InputError
from sam3.perflib.capabilities import has_package
from sam3.train.loss import elementary
from sam3.train.loss.sigmoid_focal_loss import (
    can_fuse,
    elementwise_sigmoid_focal_loss,
    triton_sigmoid_focal_loss,
    triton_sigmoid_focal_loss_reduce,
)

ROOT = Path(__file__).resolve().parents[4]
OPTIONS = [(0.25, 2.0), (0.6, 1.6), (0.5, 0.0), (0.25, 1.0), (0.9, 3.0)]
# Runs both fused forms on every input with every option, forward and backward.
_FUSED = """
import sys, torch
from sam3.train.loss.sigmoid_focal_loss import (
    triton_sigmoid_focal_loss, triton_sigmoid_focal_loss_reduce)

source, target, options = sys.argv[1:3] + [[float(v) for v in sys.argv[3:]]]
results = []
for x, t, weight in torch.load(source, weights_only=True):
    for alpha, gamma in zip(options[::2], options[1::2]):
        a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
        loss = triton_sigmoid_focal_loss(a, t, alpha, gamma)
        (loss * weight).sum().backward()
        total = triton_sigmoid_focal_loss_reduce(b, t, alpha, gamma)
        (total * 3).backward()
        results.append((loss.detach(), a.grad, total.detach(), b.grad))
torch.save(results, target)
"""


def inputs() -> list[tuple[Tensor, Tensor, Tensor]]:
    """Logits, targets and weights of the loss: ordinary, extreme, soft, half-precision, none."""
    generator = torch.Generator().manual_seed(3)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    x, soft = random(7, 331) * 4, random(7, 331).sigmoid()
    extreme = torch.tensor([[-60.0, -15.0, 0.0, 15.0, 60.0]]).repeat(2, 1)
    sides = torch.tensor([0.0, 1.0])[:, None].expand(2, 5).contiguous()
    half = random(3, 40).to(torch.bfloat16)
    return [
        (x, (random(7, 331) > 0.5).float(), random(7, 331)),
        (x.T, soft.T, random(331, 7)),
        (extreme, sides, torch.ones(2, 5)),
        (half, (random(3, 40) > 0).to(torch.bfloat16), random(3, 40)),
        (torch.zeros(0, 4), torch.zeros(0, 4), torch.zeros(0, 4)),
    ]


def plain(
    x: Tensor, t: Tensor, weight: Tensor, alpha: float, gamma: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The same four results by the plain form in float64."""
    a, b = (x.double().requires_grad_() for _ in range(2))
    loss = elementwise_sigmoid_focal_loss(a, t, alpha, gamma)
    (loss * weight).sum().backward()
    total = elementwise_sigmoid_focal_loss(b, t, alpha, gamma).sum()
    (total * 3).backward()
    assert a.grad is not None and b.grad is not None
    return loss.detach(), a.grad, total.detach(), b.grad


def check(results: list[tuple[Tensor, ...]]) -> None:
    cases = [(*case, *option) for case in inputs() for option in OPTIONS]
    assert len(results) == len(cases)
    for got, case in zip(results, cases, strict=True):
        loss, grad, total, total_grad = (v.cpu() for v in got)
        assert loss.dtype == total.dtype == torch.float32 and grad.dtype == case[0].dtype
        rtol = 1e-2 if grad.dtype == torch.bfloat16 else 2e-5
        wanted = plain(*case)
        torch.testing.assert_close(loss.double(), wanted[0], rtol=2e-5, atol=1e-6)
        torch.testing.assert_close(grad.double(), wanted[1], rtol=rtol, atol=1e-6)
        torch.testing.assert_close(total.double(), wanted[2], rtol=2e-5, atol=1e-6)
        torch.testing.assert_close(total_grad.double(), wanted[3], rtol=rtol, atol=1e-6)


@pytest.mark.skipif(not has_package("triton"), reason="Triton is not installed")
def test_interpreted_kernels_equal_the_plain_form(tmp_path: Path) -> None:
    source, target = tmp_path / "in.pt", tmp_path / "out.pt"
    torch.save(inputs(), source)
    numbers = [str(v) for option in OPTIONS for v in option]
    run = subprocess.run(
        [sys.executable, "-c", _FUSED, str(source), str(target), *numbers],
        env={**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert run.returncode == 0, run.stderr
    check(torch.load(target, weights_only=True))


@pytest.mark.gpu
def test_kernels_on_cuda_equal_the_plain_form() -> None:
    results = []
    for case in inputs():
        x, t, weight = (v.cuda() for v in case)
        for alpha, gamma in OPTIONS:
            a, b = (x.clone().requires_grad_() for _ in range(2))
            assert can_fuse(a, t, alpha)
            loss = triton_sigmoid_focal_loss(a, t, alpha, gamma)
            (loss * weight).sum().backward()
            total = triton_sigmoid_focal_loss_reduce(b, t, alpha, gamma)
            (total * 3).backward()
            results.append((loss.detach(), a.grad, total.detach(), b.grad))
    check(results)


def test_plain_form_where_kernels_cannot_run() -> None:
    x, t = torch.randn(2, 3), torch.ones(2, 3)
    assert not can_fuse(x, t, 0.25)
    with pytest.raises(InputError, match="alpha >= 0"):
        triton_sigmoid_focal_loss(x, t, alpha=-1)
    with pytest.raises(InputError, match="equal shapes"):
        triton_sigmoid_focal_loss_reduce(x, t[:1])


def test_reduced_loss_takes_the_fused_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    def total(x: Tensor, t: Tensor, alpha: float, gamma: float) -> Tensor:
        return elementwise_sigmoid_focal_loss(x, t, alpha, gamma).sum()

    x, t, _ = inputs()[0]
    wanted = elementary.sigmoid_focal_loss(x, t, 5, alpha=0.3, gamma=1)
    monkeypatch.setattr(elementary, "can_fuse", lambda *_: True)
    monkeypatch.setattr(elementary, "triton_sigmoid_focal_loss_reduce", total)
    got = elementary.sigmoid_focal_loss(x, t, 5, alpha=0.3, gamma=1)
    torch.testing.assert_close(got, wanted)


def test_dice_goes_to_the_cpu_when_memory_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    plain_dice, calls = elementary._smoothed_dice, []

    def runs_out_once(x: Tensor, t: Tensor) -> Tensor:
        calls.append(x.shape)
        if len(calls) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return plain_dice(x, t)

    x, t, _ = inputs()[0]
    wanted = elementary.dice_loss(x, t, 2)
    monkeypatch.setattr(elementary, "_smoothed_dice", runs_out_once)
    assert torch.equal(elementary.dice_loss(x, t, 2), wanted)
    assert len(calls) == 2
