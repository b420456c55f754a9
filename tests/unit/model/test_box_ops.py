"""Box formats and geometry against the goldens, plus properties and bad input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision

from sam3.errors import InputError
from sam3.model import box_ops

GOLDEN = np.load(Path(__file__).parents[2] / "golden" / "image" / "tiny.npz")
CONVERSIONS = [
    "box_cxcywh_to_xyxy",
    "box_cxcywh_to_xywh",
    "box_xywh_to_xyxy",
    "box_xywh_to_cxcywh",
    "box_xyxy_to_xywh",
    "box_xyxy_to_cxcywh",
]


def golden(name: str) -> torch.Tensor:
    return torch.from_numpy(GOLDEN[name])


def same(actual: torch.Tensor, name: str) -> None:
    torch.testing.assert_close(actual, golden(name), rtol=2e-6, atol=1e-6)


def random_boxes(*shape: int) -> torch.Tensor:
    corner = torch.rand(*shape, 2, generator=torch.Generator().manual_seed(sum(shape)))
    size = torch.rand(*shape, 2, generator=torch.Generator().manual_seed(7)) + 0.01
    return torch.cat((corner, corner + size), dim=-1)


@pytest.mark.parametrize("name", CONVERSIONS)
def test_golden_conversion(name):
    same(getattr(box_ops, name)(golden("box.cxcywh")), f"box.{name}")


def test_golden_geometry():
    xyxy = golden("box.box_cxcywh_to_xyxy")
    iou, union = box_ops.box_iou(xyxy[:2], xyxy[2:])
    same(box_ops.box_area(xyxy), "box.area")
    same(iou, "box.iou")
    same(union, "box.union")
    same(box_ops.generalized_box_iou(xyxy[:2], xyxy[2:]), "box.giou")
    same(box_ops.fast_diag_box_iou(xyxy[:3], xyxy[3:]), "box.fast_diag_iou")
    same(box_ops.fast_diag_generalized_box_iou(xyxy[:3], xyxy[3:]), "box.fast_diag_giou")


def test_golden_xywh_inter_union():
    raw = golden("box.cxcywh")
    inter, union = box_ops.box_xywh_inter_union(raw[:3], raw[3:])
    same(inter, "box.xywh_inter")
    same(union, "box.xywh_union")


def test_golden_masks_to_boxes():
    same(box_ops.masks_to_boxes(golden("mask.in")[:1]), "mask.box_ops_masks_to_boxes_n1")


@pytest.mark.parametrize("name", CONVERSIONS)
def test_conversion_round_trip(name):
    source, target = name.removeprefix("box_").split("_to_")
    back = getattr(box_ops, f"box_{target}_to_{source}")
    boxes = random_boxes(3, 5)
    torch.testing.assert_close(back(getattr(box_ops, name)(boxes)), boxes)


def test_against_torchvision():
    a, b = random_boxes(7), random_boxes(9)
    torch.testing.assert_close(box_ops.box_iou(a, b)[0], torchvision.ops.box_iou(a, b))
    expected = torchvision.ops.generalized_box_iou(a, b)
    torch.testing.assert_close(box_ops.generalized_box_iou(a, b), expected)


def test_batched_equals_one_by_one():
    a, b = random_boxes(2, 3, 4), random_boxes(2, 3, 5)
    iou = box_ops.box_iou(a, b)[0]
    assert iou.shape == (2, 3, 4, 5)
    torch.testing.assert_close(iou[1, 2], box_ops.box_iou(a[1, 2], b[1, 2])[0])
    diagonal = box_ops.fast_diag_generalized_box_iou(a, a)
    torch.testing.assert_close(diagonal, torch.ones(2, 3, 4))


def test_rows_equal_the_diagonal_of_pairs():
    a, b = random_boxes(6), random_boxes(6).flip(0)
    pairs = box_ops.box_iou(a, b)
    torch.testing.assert_close(box_ops.fast_diag_box_iou(a, b), pairs[0].diagonal())
    giou = box_ops.generalized_box_iou(a, b)
    torch.testing.assert_close(box_ops.fast_diag_generalized_box_iou(a, b), giou.diagonal())
    assert bool((giou >= -1).all()) and bool((giou <= pairs[0] + 1e-6).all())


def test_no_boxes():
    none = torch.zeros(0, 4)
    assert box_ops.box_iou(none, random_boxes(3))[0].shape == (0, 3)
    assert box_ops.generalized_box_iou(random_boxes(3), none).shape == (3, 0)
    assert box_ops.fast_diag_box_iou(none, none).shape == (0,)
    assert box_ops.box_cxcywh_to_xyxy(none).shape == (0, 4)


def test_no_epsilon_and_no_clamp():
    point = torch.zeros(1, 4)
    assert box_ops.box_iou(point, point)[0].isnan().all()
    inverted = torch.tensor([[2.0, 0.0, 1.0, 3.0]])
    assert box_ops.box_area(inverted).item() == -3


def test_gradients_flow():
    boxes = random_boxes(4).double().requires_grad_()
    other = random_boxes(4).flip(0).double() + 0.05
    assert torch.autograd.gradcheck(
        lambda b: box_ops.fast_diag_generalized_box_iou(b, other), (boxes,)
    )


def test_masks_to_boxes_of_many_masks():
    masks = torch.zeros(4, 6, 8, dtype=torch.bool)
    masks[0, 2:5, 1:4] = True
    masks[1, 5, 7] = True
    masks[3, 0, 0] = masks[3, 5, 3] = True
    expected = [[1, 2, 4, 5], [7, 5, 8, 6], [0, 0, 0, 0], [0, 0, 4, 6]]
    boxes = box_ops.masks_to_boxes(masks)
    assert boxes.dtype == torch.float32 and boxes.tolist() == expected
    assert box_ops.masks_to_boxes(masks.float()).tolist() == expected


@pytest.mark.parametrize("shape", [(0, 5, 5), (3, 0, 5), (3, 5, 0)])
def test_masks_to_boxes_of_nothing(shape):
    boxes = box_ops.masks_to_boxes(torch.zeros(shape, dtype=torch.bool))
    assert boxes.shape == (shape[0], 4) and not boxes.any()


@pytest.mark.parametrize("name", [*CONVERSIONS, "box_area"])
@pytest.mark.parametrize("shape", [(), (3,), (4, 5)])
def test_bad_last_dimension(name, shape):
    with pytest.raises(InputError, match="last dimension of 4"):
        getattr(box_ops, name)(torch.zeros(shape))


@pytest.mark.parametrize(
    "name", ["fast_diag_box_iou", "fast_diag_generalized_box_iou", "box_xywh_inter_union"]
)
def test_bad_rows(name):
    with pytest.raises(InputError, match="one shape"):
        getattr(box_ops, name)(torch.zeros(2, 4), torch.zeros(3, 4))


@pytest.mark.parametrize("name", ["box_iou", "generalized_box_iou"])
def test_bad_pairs(name):
    with pytest.raises(InputError, match="pairwise"):
        getattr(box_ops, name)(torch.zeros(4), torch.zeros(3, 4))


def test_bad_masks():
    with pytest.raises(InputError, match=r"\[N, H, W\]"):
        box_ops.masks_to_boxes(torch.zeros(4, 4))
