"""Losses and their gradients against stored values."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sam3.train.loss import loss_fns
from sam3.train.loss.mask_sampling import (
    calculate_uncertainty,
    get_uncertain_point_coords_with_randomness,
    point_sample,
)
from sam3.train.loss.sam3_loss import Sam3LossWrapper
from sam3.train.matcher import BinaryHungarianMatcherV2, BinaryOneToManyMatcher

GOLDEN = Path(__file__).parents[3] / "golden" / "train"
CASES = json.loads((GOLDEN / "cases.json").read_text())["losses"]
MODULES = [
    name
    for name, case in CASES.items()
    if case.get("cls") in {"Boxes", "IABCEMdetr", "Masks", "SemanticSegCriterion"}
]
ASSOCIATION = [
    name
    for name, case in CASES.items()
    if case.get("cls") in {"Det2TrkAssoc", "TrackingByDetectionAssoc"}
]
TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}


def load_case(name: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    with np.load(GOLDEN / "losses.npz") as archive:
        parts = {k[len(name) + 1 :]: torch.from_numpy(archive[k]) for k in archive.files
                 if k.startswith(f"{name}/")}  # fmt: skip
    inputs = {k[3:]: v for k, v in parts.items() if k.startswith("in/")}
    return inputs, {k[4:]: v for k, v in parts.items() if k.startswith("out/")}


def check(got: Tensor, wanted: Tensor, what: str) -> None:
    np.testing.assert_allclose(got.detach().numpy(), wanted.numpy(), **TOLERANCE, err_msg=what)


def targets_of(inputs: dict[str, Tensor]) -> dict[str, Tensor | None]:
    targets: dict[str, Tensor | None] = {"masks": None, "semantic_masks": None}
    for key in [k for k in inputs if k.startswith("tgt_")]:
        targets[key[4:]] = inputs.pop(key)
    return targets


@pytest.mark.parametrize("name", MODULES)
def test_module(name: str) -> None:
    case = CASES[name]
    inputs, wanted = load_case(name)
    targets = targets_of(inputs)
    module = getattr(loss_fns, case["cls"])(**case["cfg"])
    num_boxes = inputs.pop("num_boxes", None)
    indices = (inputs.pop("batch_idx", None), inputs.pop("src_idx", None), None)
    outputs = {k: v.requires_grad_() for k, v in inputs.items()}
    if name == "iabce_det_trk":
        outputs["Q_det"] = 8  # the stored case has 8 detection and 4 tracking queries
    if case.get("seed") is not None:
        torch.manual_seed(case["seed"])
    if case["cls"] == "SemanticSegCriterion":
        losses = module(outputs, targets)
    else:
        losses = module(outputs, targets, indices, num_boxes)
    assert set(losses) == {k for k in wanted if not k.startswith("grad_")}
    for key, value in losses.items():
        check(value, wanted[key], key)
    losses["core_loss"].backward()
    for key, value in wanted.items():
        if key.startswith("grad_"):
            check(outputs[key[5:]].grad, value, key)


@pytest.mark.parametrize("name", ASSOCIATION)
def test_association(name: str) -> None:
    inputs, wanted = load_case(name)
    num_boxes = inputs.pop("num_boxes")
    targets = {"is_exhaustive": inputs.pop("is_exhaustive", None)}
    module = getattr(loss_fns, CASES[name]["cls"])(**CASES[name]["cfg"])
    losses = module(inputs, targets, (None, None, None), num_boxes)
    assert set(losses) == set(wanted)
    for key, value in losses.items():
        check(value, wanted[key], key)


def test_contrastive_align() -> None:
    inputs, wanted = load_case("contrastive_align")
    loss = loss_fns.contrastive_align_loss(inputs["logits"], inputs["positive_map"])
    check(loss, wanted["loss"], "loss")


@pytest.mark.parametrize(
    ("name", "function"),
    [("dice", loss_fns.dice_loss), ("focal_reduce", loss_fns.sigmoid_focal_loss)],
)
def test_reduced(name: str, function: object) -> None:
    inputs, wanted = load_case(name)
    x = inputs["x"].requires_grad_()
    loss = function(x, inputs["t"], inputs["num_boxes"])  # type: ignore[operator]
    check(loss, wanted["loss"], name)
    loss.backward()
    check(x.grad, wanted["grad"], "gradient")


def test_focal_without_alpha() -> None:
    inputs, wanted = load_case("focal_reduce_plain")
    x = inputs["x"].requires_grad_()
    loss = loss_fns.sigmoid_focal_loss(x, inputs["t"], inputs["num_boxes"], alpha=-1)
    check(loss, wanted["loss"], "loss")
    loss.backward()
    check(x.grad, wanted["grad"], "gradient")


def test_unreduced() -> None:
    inputs, wanted = load_case("dice_noreduce")
    check(loss_fns.dice_loss(inputs["x"], inputs["t"], reduce=False), wanted["loss"], "dice")
    inputs, wanted = load_case("focal_noreduce")
    loss = loss_fns.sigmoid_focal_loss(inputs["x"], inputs["t"], alpha=0.6, gamma=1.6, reduce=False)
    check(loss, wanted["loss"], "focal")


def test_multimask() -> None:
    inputs, wanted = load_case("multimask")
    x, t, ious = inputs["x"], inputs["t"], inputs["pred_ious"]
    many = {"loss_on_multimask": True}
    check(loss_fns.dice_loss(x, t, 2, **many), wanted["dice"], "dice")
    check(loss_fns.sigmoid_focal_loss(x, t, 2, **many), wanted["focal"], "focal")
    check(loss_fns.iou_loss(x, t, ious, 2, **many), wanted["iou_mse"], "mse")
    check(loss_fns.iou_loss(x, t, ious, 2, use_l1_loss=True, **many), wanted["iou_l1"], "l1")
    check(loss_fns.iou_loss(x, t, ious, 2), wanted["iou_sum"], "sum")


def test_instances_to_semantic() -> None:
    inputs, wanted = load_case("inst_to_sem")
    united = loss_fns.instance_masks_to_semantic_masks(inputs["masks"], inputs["n"])
    np.testing.assert_array_equal(united.numpy(), wanted["sem"].numpy())
    nothing = loss_fns.instance_masks_to_semantic_masks(
        torch.zeros(0, 6, 7, dtype=torch.bool), torch.zeros(3, dtype=torch.int64)
    )
    assert nothing.shape == (3, 1, 1) and not nothing.any()


def test_segment_miou() -> None:
    inputs, wanted = load_case("segment_miou")
    check(loss_fns.segment_miou(inputs["a"], inputs["b"]), wanted["miou"], "miou")


def test_points() -> None:
    case = CASES["points"]
    inputs, wanted = load_case("points")
    check(point_sample(inputs["logits"], inputs["coords"]), wanted["sampled"], "sampled")
    torch.manual_seed(case["seed"])
    chosen = get_uncertain_point_coords_with_randomness(
        inputs["logits"],
        calculate_uncertainty,
        case["num_points"],
        case["oversample_ratio"],
        case["importance_sample_ratio"],
    )
    check(chosen, wanted["selected"], "selected")


@pytest.mark.parametrize("name", ["wrapper_a", "wrapper_b"])
def test_wrapper(name: str) -> None:
    case = CASES[name]
    inputs, wanted = load_case(name)
    targets = targets_of(inputs)
    matcher = BinaryHungarianMatcherV2(2, 5, 2, focal=True)
    layers: dict[str, dict[str, Tensor | None]] = {"final": {"presence_logit": None}}
    for key, value in inputs.items():
        layer, key = key.split("_", 1)
        layers.setdefault(layer, {})[key] = value
    for layer in layers.values():
        layer["indices"] = matcher(layer, targets)
    outputs = {**layers["final"], "aux_outputs": [layers["aux0"], layers["aux1"]]}
    semantic = loss_fns.SemanticSegCriterion(
        focal=True,
        focal_alpha=0.6,
        focal_gamma=2,
        downsample=True,
        presence_head=True,
        presence_loss=False,
        weight_dict={
            "loss_semantic_seg": 20,
            "loss_semantic_dice": 30,
            "loss_semantic_presence": 1,
        },
    )
    wrapper = Sam3LossWrapper(
        loss_fns_find=[
            loss_fns.Boxes(weight_dict={"loss_bbox": 5, "loss_giou": 2}),
            loss_fns.IABCEMdetr(**CASES["iabce_config"]["cfg"]),
            loss_fns.Masks(weight_dict={"loss_mask": 200, "loss_dice": 10}),
        ],
        normalization="local",
        matcher=matcher,
        o2m_matcher=BinaryOneToManyMatcher(alpha=0.3, threshold=0.4, topk=4),
        o2m_weight=2,
        use_o2m_matcher_on_o2m_aux=case["use_o2m_matcher_on_o2m_aux"],
        loss_fn_semantic_seg=semantic,
        scale_by_find_batch_size=case["scale_by_find_batch_size"],
    )
    losses = wrapper([[outputs]], [targets])
    assert sorted(losses) == case["keys"]
    for key, value in losses.items():
        check(value, wanted[key], key)


def test_every_stored_case_is_compared() -> None:
    with np.load(GOLDEN / "losses.npz") as archive:
        stored = {name.split("/")[0] for name in archive.files}
    by_hand = {
        *("dice", "dice_noreduce", "focal_reduce", "focal_reduce_plain", "focal_noreduce"),
        *("multimask", "inst_to_sem", "segment_miou", "points", "contrastive_align"),
        *("wrapper_a", "wrapper_b"),
    }
    assert stored == by_hand | set(MODULES) | set(ASSOCIATION)
