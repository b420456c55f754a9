"""The distance transform: brute force, edge masks, and both backends against each other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sam3.errors import InputError
from sam3.model.edt import edt, edt_scipy
from sam3.perflib.capabilities import has_cuda, has_package

ROOT = Path(__file__).parents[3]


def brute_force(mask: torch.Tensor) -> torch.Tensor:
    """Every pixel against every zero pixel; 1e9 where there is none."""
    out = torch.full(mask.shape, 1e9)
    ys, xs = torch.meshgrid(*(torch.arange(n) for n in mask.shape[1:]), indexing="ij")
    for image, distance in zip(mask, out, strict=True):
        zeros = (image == 0).nonzero()
        if len(zeros):
            squared = (ys[..., None] - zeros[:, 0]) ** 2 + (xs[..., None] - zeros[:, 1]) ** 2
            distance.copy_(squared.amin(-1).double().sqrt())
    return out


def cases() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    found = [
        torch.rand(shape, generator=generator) < share
        for shape in ((1, 1, 1), (2, 1, 9), (1, 8, 1), (3, 11, 14), (1, 5, 150))
        for share in (0.3, 0.8, 0.99)
    ]
    one_zero = torch.ones(1, 9, 12).bool()
    one_zero[0, 8, 0] = False
    border = torch.zeros(1, 10, 10).bool()
    border[0, 1:-1, 1:-1] = True
    whole_rows = torch.ones(2, 6, 7).bool()
    whole_rows[0, 3] = False  # columns are full in every other row
    edges = [torch.zeros(2, 4, 5).bool(), torch.ones(2, 4, 5).bool(), one_zero, border, whole_rows]
    return found + edges


@pytest.mark.parametrize("mask", cases(), ids=lambda mask: "x".join(map(str, mask.shape)))
def test_equals_brute_force(mask):
    distance = edt(mask)
    assert distance.dtype == torch.float32 and torch.equal(distance, brute_force(mask))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float32, torch.bfloat16])
def test_any_number_but_zero_counts(dtype):
    data = torch.tensor([[[0, 1, 5, 2]]]).to(dtype)
    assert edt(data).tolist() == [[[0, 1, 2, 3]]]


def test_an_image_without_zeros_is_far_from_all():
    assert edt(torch.ones(1, 2, 2)).tolist() == [[[1e9, 1e9], [1e9, 1e9]]]


@pytest.mark.parametrize("shape", [(0, 4, 5), (2, 0, 5)])
def test_nothing_to_measure(shape):
    assert edt(torch.zeros(shape)).shape == shape


def test_bad_shape():
    with pytest.raises(InputError, match=r"\[B, H, W\]"):
        edt(torch.zeros(4, 5))


# The interpreter must be chosen before Triton is imported, hence a process of its own.
_INTERPRETED = """
import sys
import torch
from sam3.model.edt import edt_triton
from sam3.perflib.triton import edt
edt._BLOCK = 8
cases = torch.load(sys.argv[1], weights_only=True)
torch.save([edt_triton(mask) for mask in cases], sys.argv[2])
"""


@pytest.mark.skipif(not has_package("triton"), reason="Triton is not installed")
def test_interpreted_triton_kernel_equals_its_scipy_twin(tmp_path):
    # The interpreter is slow, hence small masks and programs that take few pixels at a time.
    masks = [mask for mask in cases() if mask.numel() <= 120]
    masks.append(torch.zeros(0, 3, 3).bool())
    torch.save(masks, tmp_path / "in.pt")
    run = subprocess.run(
        [sys.executable, "-c", _INTERPRETED, str(tmp_path / "in.pt"), str(tmp_path / "out.pt")],
        env={**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert run.returncode == 0, run.stderr
    results = torch.load(tmp_path / "out.pt", weights_only=True)
    assert len(results) == len(masks)
    for mask, distance in zip(masks, results, strict=True):
        assert torch.equal(distance, edt_scipy(mask))


def test_a_side_too_long_for_the_kernels_integers_is_refused():
    from sam3.perflib.triton.edt import squared_distance

    with pytest.raises(InputError, match="32767"):
        squared_distance(torch.zeros(1, 1, 40000).bool())


@pytest.mark.gpu
@pytest.mark.skipif(not has_cuda() or not has_package("triton"), reason="needs CUDA and Triton")
def test_triton_kernel_on_the_gpu_equals_its_scipy_twin():
    noise = torch.rand(3, 288, 300, generator=torch.Generator().manual_seed(0)) < 0.999
    for mask in (*cases(), noise):
        assert torch.equal(edt(mask.cuda()).cpu(), edt_scipy(mask))
