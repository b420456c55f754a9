"""mask_iou and masks_to_boxes: goldens, brute force, bounded memory, bad input."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from sam3.errors import InputError
from sam3.perflib import masks_ops
from sam3.perflib.masks_ops import mask_iou, masks_to_boxes

GOLDEN = np.load(Path(__file__).parents[2] / "golden" / "image" / "tiny.npz")
MASKS = torch.from_numpy(GOLDEN["mask.in"])


def random_masks(n: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    share = torch.rand(n, 1, 1, generator=generator)
    return torch.rand(n, height, width, generator=generator) < share


def brute_force_iou(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    inter = (a[:, None] & b[None]).flatten(2).sum(-1)
    union = (a[:, None] | b[None]).flatten(2).sum(-1)
    return inter.float() / union.clamp(min=1).float()


def test_golden():
    assert mask_iou(MASKS, MASKS).dtype == torch.float32
    np.testing.assert_array_equal(mask_iou(MASKS, MASKS).numpy(), GOLDEN["mask.iou"])
    boxes = masks_to_boxes(MASKS, list(range(5)))
    assert boxes.dtype == torch.float32
    np.testing.assert_array_equal(boxes.numpy(), GOLDEN["mask.perflib_masks_to_boxes"])


@pytest.mark.parametrize("slice_bytes", [1, 200, 4096, 64 << 20])
@pytest.mark.parametrize(("n", "m"), [(1, 1), (7, 4), (3, 12)])
def test_iou_equals_brute_force_at_any_slice_size(monkeypatch, slice_bytes, n, m):
    monkeypatch.setattr(masks_ops, "_SLICE_BYTES", slice_bytes)
    a, b = random_masks(n, 13, 17), random_masks(m, 13, 17, seed=1)
    a[0] = False
    b[-1] = False
    assert torch.equal(mask_iou(a, b), brute_force_iou(a, b))
    assert torch.equal(mask_iou(a, b), mask_iou(b, a).T)


@pytest.mark.parametrize(("n", "m"), [(0, 0), (0, 3), (3, 0)])
def test_iou_without_masks(n, m):
    assert mask_iou(random_masks(n, 4, 4), random_masks(m, 4, 4)).shape == (n, m)


def test_iou_of_empty_pictures_is_zero():
    assert mask_iou(torch.zeros(2, 0, 5, dtype=torch.bool), torch.zeros(3, 0, 5).bool()).sum() == 0


def test_autocast_does_not_round_the_counts():
    a, b = random_masks(3, 199, 201), random_masks(3, 199, 201, seed=3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(mask_iou(a, b), brute_force_iou(a, b))


class _LargestResult(TorchDispatchMode):
    """Remember the largest tensor that any operation makes; views count as nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0
        self.calls = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.calls += 1
        if isinstance(out, torch.Tensor) and not func.is_view:
            self.bytes = max(self.bytes, out.numel() * out.element_size())
        return out


def test_iou_makes_no_large_tensor():
    with FakeTensorMode(), _LargestResult() as largest:
        a = torch.empty(200, 1008, 1008, dtype=torch.bool)
        b = torch.empty(200, 1008, 1008, dtype=torch.bool)
        largest.bytes = 0
        assert mask_iou(a, b).shape == (200, 200)
    assert 0 < largest.bytes <= masks_ops._SLICE_BYTES
    assert largest.calls > 20


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux only")
def test_iou_of_two_hundred_large_masks_stays_under_a_gigabyte():
    a = torch.zeros(200, 1008, 1008, dtype=torch.bool)
    for i in range(200):
        a[i, i : i + 300, 2 * i : 2 * i + 300] = True
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    iou = mask_iou(a, a)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 1 << 20
    assert iou[0, 1].item() == pytest.approx(299 * 298 / (2 * 90000 - 299 * 298))


@pytest.mark.parametrize("shape", [(4, 1, 1), (5, 1, 9), (6, 8, 1), (9, 12, 7)])
def test_boxes_equal_brute_force(shape):
    masks = random_masks(*shape)
    masks[0] = False
    for mask, box in zip(masks, masks_to_boxes(masks).tolist(), strict=True):
        y, x = mask.nonzero(as_tuple=True)
        empty = [shape[2], shape[1], 0, 0]
        full = [x.min(), y.min(), x.max(), y.max()] if len(x) else empty
        assert box == [float(v) for v in full]


def test_boxes_without_masks():
    assert masks_to_boxes(torch.zeros(0, 3, 4, dtype=torch.bool)).shape == (0, 4)
    assert masks_to_boxes(torch.zeros(2, 3, 0, dtype=torch.bool)).tolist() == [[0, 3, 0, 0]] * 2


@pytest.mark.parametrize(
    "masks", [torch.zeros(2, 3, 4), torch.zeros(3, 4).bool(), torch.zeros(1, 2, 3, 4).bool()]
)
def test_bad_masks(masks):
    with pytest.raises(InputError, match=r"bool \[N, H, W\]"):
        mask_iou(masks, masks)
    with pytest.raises(InputError, match=r"bool \[N, H, W\]"):
        masks_to_boxes(masks)


def test_masks_that_do_not_fit_together():
    a = torch.zeros(2, 3, 4, dtype=torch.bool)
    with pytest.raises(InputError, match="one size"):
        mask_iou(a, a[:, :, :3])
    with pytest.raises(InputError, match="one device"):
        mask_iou(a, a.to("meta"))
    with pytest.raises(InputError, match="object ids"):
        masks_to_boxes(a, [1, 2, 3])
