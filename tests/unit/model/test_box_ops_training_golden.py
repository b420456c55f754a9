"""Box geometry on the batches that losses and matchers see, against stored values."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from sam3.model import box_ops
from tests.support import golden

ARRAYS = golden.load("train/box_ops.npz")


def stored(name: str) -> Tensor:
    return torch.from_numpy(ARRAYS[f"ops/{name}"])


def computed() -> dict[str, Tensor]:
    a, b = stored("in/a"), stored("in/b")
    a_xyxy, b_xyxy = box_ops.box_cxcywh_to_xyxy(a), box_ops.box_cxcywh_to_xyxy(b)
    iou, union = box_ops.box_iou(a_xyxy, b_xyxy)
    first, second = a_xyxy[:, :4].reshape(-1, 4), b_xyxy.reshape(-1, 4)
    return {
        "a_xyxy": a_xyxy,
        "a_xywh": box_ops.box_cxcywh_to_xywh(a),
        "back": box_ops.box_xyxy_to_cxcywh(a_xyxy),
        "xywh2xyxy": box_ops.box_xywh_to_xyxy(a),
        "xywh2cxcywh": box_ops.box_xywh_to_cxcywh(a),
        "xyxy2xywh": box_ops.box_xyxy_to_xywh(a_xyxy),
        "area": box_ops.box_area(a_xyxy),
        "iou": iou,
        "union": union,
        "giou": box_ops.generalized_box_iou(a_xyxy, b_xyxy),
        "diag_iou": box_ops.fast_diag_box_iou(first, second),
        "diag_giou": box_ops.fast_diag_generalized_box_iou(first, second),
    }


OUTPUTS = {key[8:] for key in ARRAYS if key.startswith("ops/out/")} - {"masks_to_boxes"}


@pytest.mark.parametrize("name", sorted(OUTPUTS))
def test_golden(name: str) -> None:
    value = computed()[name]
    np.testing.assert_allclose(value, stored(f"out/{name}"), rtol=1e-4, atol=1e-5)
    assert value.shape == stored(f"out/{name}").shape


def test_golden_masks_to_boxes() -> None:
    """The stored boxes carry the published fault: column j is cleared where mask j is empty."""
    masks = stored("in/masks")
    boxes, wanted = box_ops.masks_to_boxes(masks), stored("out/masks_to_boxes")
    filled = masks.flatten(1).any(1)
    assert filled.tolist() == [True, True, True, False]
    np.testing.assert_array_equal((boxes * filled)[filled], wanted[filled])
    np.testing.assert_array_equal(boxes[~filled], np.zeros((1, 4)))
    bottom = [int(rows.any(1).nonzero().max()) + 1 for rows in masks[filled]]
    assert boxes[filled, 3].tolist() == bottom
