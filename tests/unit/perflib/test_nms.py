"""Mask NMS: goldens, order and ties, backends, and the Triton kernel against its CPU twin."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from sam3.errors import InputError
from sam3.perflib import nms
from sam3.perflib.capabilities import has_cuda, has_package
from sam3.perflib.nms import generic_nms, generic_nms_cpu, nms_masks, suppress_in_order

ROOT = Path(__file__).parents[3]
GOLDEN = np.load(ROOT / "tests" / "golden" / "image" / "tiny.npz")


def boxes_as_logits(*boxes: tuple[int, int, int, int]) -> torch.Tensor:
    """Draw xyxy boxes (exclusive) as logits of +1 inside and -1 outside, 10 x 10."""
    logits = torch.full((len(boxes), 10, 10), -1.0)
    for mask, (x0, y0, x1, y1) in zip(logits, boxes, strict=True):
        mask[y0:y1, x0:x1] = 1
    return logits


def brute_force(ious: np.ndarray, order: list[int], threshold: float) -> list[int]:
    kept: list[int] = []
    for i in order:
        if all(not ious[i, k] > np.float32(threshold) for k in kept):
            kept.append(i)
    return kept


@pytest.mark.parametrize(
    ("name", "prob", "iou"), [("nms.keep_p0.3_iou0.5", 0.3, 0.5), ("nms.keep_p0.99", 0.99, 0.5)]
)
def test_golden(name, prob, iou):
    probs, masks = (torch.from_numpy(GOLDEN[f"nms.{k}"]) for k in ("probs", "masks"))
    keep = nms_masks(probs, masks, prob, iou)
    assert keep.dtype == torch.bool and keep.tolist() == GOLDEN[name].tolist()


def test_keeps_the_best_of_a_pile():
    logits = boxes_as_logits((0, 0, 5, 5), (0, 0, 5, 6), (6, 6, 9, 9), (0, 0, 5, 5))
    keep = nms_masks(torch.tensor([0.6, 0.9, 0.7, 0.2]), logits, 0.5, 0.5)
    assert keep.tolist() == [False, True, True, False]


def test_thresholds_are_strict():
    logits = boxes_as_logits((0, 0, 4, 2), (0, 0, 2, 2))  # IoU exactly 0.5
    probs = torch.tensor([0.75, 0.5])
    assert nms_masks(probs, logits, 0.5, 0.9).tolist() == [True, False]
    assert nms_masks(probs, logits, 0.25, 0.5).tolist() == [True, True]
    assert nms_masks(probs, logits, 0.25, 0.49).tolist() == [True, False]


def test_a_dropped_mask_drops_nothing():
    ious = torch.tensor([[1, 0.8, 0.0], [0.8, 1, 0.8], [0.0, 0.8, 1]])
    assert generic_nms(ious, torch.tensor([0.9, 0.8, 0.7]), 0.5).tolist() == [0, 2]


def test_of_equal_scores_the_later_comes_first_on_the_cpu():
    same = torch.ones(5, 5)
    assert generic_nms(same, torch.full((5,), 0.5), 0.5).tolist() == [4]
    assert generic_nms(torch.eye(5), torch.full((5,), 0.5), 0.5).tolist() == [4, 3, 2, 1, 0]


def test_zero_logit_is_outside():
    logits = boxes_as_logits((0, 0, 3, 3), (0, 0, 3, 3))
    logits[0] = torch.where(logits[0] > 0, 0.0, -1.0)
    assert nms_masks(torch.tensor([0.9, 0.8]), logits, 0.5, 0.1).tolist() == [True, True]


@pytest.mark.parametrize("n", [1, 2, 9, 40])
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.7, 1.0])
def test_random_matrices_equal_brute_force(n, threshold):
    rng = np.random.default_rng(n)
    ious = rng.random((n, n), dtype=np.float32)
    ious = (ious + ious.T) / 2
    scores = rng.integers(0, 6, n) / 8  # many ties
    order = sorted(range(n), key=lambda i: (-scores[i], -i))
    kept = generic_nms_cpu(torch.from_numpy(ious), torch.from_numpy(scores), threshold)
    assert kept.dtype == torch.long and kept.tolist() == brute_force(ious, order, threshold)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_score_dtypes(dtype):
    logits = boxes_as_logits((0, 0, 5, 5), (0, 0, 5, 5), (6, 6, 9, 9))
    probs = torch.tensor([0.5, 0.75, 0.625], dtype=dtype)
    assert nms_masks(probs, logits.to(dtype), 0.25, 0.5).tolist() == [False, True, True]


def test_nothing_to_choose_from():
    assert nms_masks(torch.zeros(0), torch.zeros(0, 4, 4), 0.5, 0.5).shape == (0,)
    assert generic_nms(torch.zeros(0, 0), torch.zeros(0), 0.5).shape == (0,)
    assert nms_masks(torch.tensor([float("nan")]), torch.ones(1, 2, 2), 0.5, 0.5).tolist() == [
        False
    ]


def test_bad_shapes():
    with pytest.raises(InputError, match=r"\[n, H, W\]"):
        nms_masks(torch.zeros(3), torch.zeros(2, 4, 4), 0.5, 0.5)
    with pytest.raises(InputError, match=r"\[n, H, W\]"):
        nms_masks(torch.zeros(2), torch.zeros(2, 1, 4, 4), 0.5, 0.5)
    with pytest.raises(InputError, match=r"\[n, n\]"):
        generic_nms(torch.zeros(3, 2), torch.zeros(3), 0.5)


def test_a_failing_backend_is_reported_once_and_left_alone(monkeypatch, caplog):
    calls = []

    def failing(*args, **kwargs):
        calls.append(1)
        raise RuntimeError("no compiler")

    extension = types.ModuleType("torch_generic_nms")
    extension.generic_nms = failing
    monkeypatch.setitem(sys.modules, "torch_generic_nms", extension)
    monkeypatch.setattr(nms, "has_torch_generic_nms", lambda: True)
    monkeypatch.setattr(nms, "_broken_backends", set())
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert (
                nms._try_cuda_backend("torch_generic_nms", torch.eye(2), torch.ones(2), 0.5) is None
            )
    assert len(calls) == 1 and len(caplog.records) == 1 and "no compiler" in caplog.text


def test_the_extension_gets_the_iou_matrix(monkeypatch):
    extension = types.ModuleType("torch_generic_nms")

    def fake(ious, scores, threshold, use_iou_matrix):
        assert use_iou_matrix is True
        return generic_nms_cpu(ious, scores, threshold)

    extension.generic_nms = fake
    monkeypatch.setitem(sys.modules, "torch_generic_nms", extension)
    monkeypatch.setattr(nms, "has_torch_generic_nms", lambda: True)
    kept = nms._try_cuda_backend("torch_generic_nms", torch.eye(3), torch.rand(3), 0.5)
    assert sorted(kept.tolist()) == [0, 1, 2]


# The interpreter must be chosen before Triton is imported, hence a process of its own.
_INTERPRETED = """
import json, sys
import torch
from sam3.perflib.triton.nms import nms_triton, suppress_in_order_triton
cases = torch.load(sys.argv[1], weights_only=True)
print(json.dumps([[suppress_in_order_triton(ious, thr).tolist(),
                   nms_triton(ious, scores, thr).tolist()] for ious, scores, thr in cases]))
"""


def triton_cases() -> list[tuple[torch.Tensor, torch.Tensor, float]]:
    generator = torch.Generator().manual_seed(0)
    cases = []
    for n in (0, 1, 2, 16, 17, 40):
        for threshold in (0.0, 0.5, 0.8, 1.0):
            # Eighths make IoUs that equal the threshold 0.5 and scores that tie.
            ious = torch.randint(0, 9, (n, n), generator=generator) / 8
            ious = torch.maximum(ious, ious.T).fill_diagonal_(1.0) if n else ious
            scores = torch.randint(0, 5, (n,), generator=generator) / 4
            cases.append((ious, scores, threshold))
    return cases


@pytest.mark.skipif(not has_package("triton"), reason="Triton is not installed")
def test_interpreted_triton_kernel_equals_its_cpu_twin(tmp_path):
    cases = triton_cases()
    torch.save(cases, tmp_path / "cases.pt")
    run = subprocess.run(
        [sys.executable, "-c", _INTERPRETED, str(tmp_path / "cases.pt")],
        env={**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    results = json.loads(run.stdout.splitlines()[-1])
    assert len(results) == len(cases)
    for (ious, scores, threshold), (flags, kept) in zip(cases, results, strict=True):
        assert flags == suppress_in_order(ious.numpy(), threshold).tolist()
        order = sorted(range(len(scores)), key=lambda i: (-scores[i].item(), i))
        assert kept == brute_force(ious.numpy(), order, threshold)


@pytest.mark.gpu
@pytest.mark.skipif(not has_cuda() or not has_package("triton"), reason="needs CUDA and Triton")
def test_triton_kernel_on_the_gpu_equals_its_cpu_twin():
    from sam3.perflib.triton.nms import suppress_in_order_triton

    for ious, _, threshold in triton_cases():
        flags = suppress_in_order_triton(ious.cuda(), threshold).cpu()
        assert flags.tolist() == suppress_in_order(ious.numpy(), threshold).tolist()
