"""Matchers against stored assignments, and the edges the stored cases do not reach."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from sam3.errors import InputError
from sam3.train import matcher as matchers

GOLDEN = Path(__file__).parents[2] / "golden" / "train"
CASES = json.loads((GOLDEN / "cases.json").read_text())["matchers"]


def load_case(name: str) -> tuple[dict, dict, dict]:
    with np.load(GOLDEN / "matchers.npz") as archive:
        parts = {k.split("/", 1)[1]: torch.from_numpy(archive[k]) for k in archive.files
                 if k.startswith(f"{name}/")}  # fmt: skip
    inputs = {k[3:]: v for k, v in parts.items() if k.startswith("in/")}
    wanted = {k[4:]: v for k, v in parts.items() if k.startswith("out/")}
    outputs = {k: inputs.pop(k) for k in ("pred_logits", "pred_boxes")}
    return outputs, inputs, wanted


@pytest.mark.parametrize("name", sorted(CASES))
def test_golden(name: str) -> None:
    case = CASES[name]
    outputs, inputs, wanted = load_case(name)
    flags = {k: inputs.pop(k) for k in ("out_is_valid", "target_is_valid_padded") if k in inputs}
    matcher = getattr(matchers, case["cls"])(**case["cfg"])
    result = matcher(outputs, inputs, **case["call"], **flags)
    for key, got in zip(("batch_idx", "src_idx", "tgt_idx"), result, strict=False):
        if key in wanted:
            assert got is not None and got.dtype == torch.int64
            np.testing.assert_array_equal(got.numpy(), wanted[key].numpy())
        else:
            assert got is None


def test_diverged_predictions_match_nothing() -> None:
    outputs, inputs, _ = load_case("v2_focal")
    outputs = {k: torch.full_like(v, float("nan")) for k, v in outputs.items()}
    batch_idx, src_idx, tgt_idx = matchers.BinaryHungarianMatcherV2(2, 5, 2, focal=True)(
        outputs, inputs
    )
    assert len(batch_idx) == len(src_idx) == 0
    assert tgt_idx is not None and len(tgt_idx) == 0


def test_old_matcher_rejects_repeat_batch() -> None:
    outputs, inputs, _ = load_case("binary")
    with pytest.raises(InputError, match="repeat_batch"):
        matchers.BinaryHungarianMatcher(2, 5, 2)(outputs, inputs, repeat_batch=2)


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (lambda: matchers.BinaryHungarianMatcherV2(0, 0, 0), "costs are 0"),
        (lambda: matchers.BinaryHungarianMatcherV2(stable=True), "focal"),
        (lambda: matchers.BinaryOneToManyMatcher(topk=0), "topk"),
    ],
)
def test_bad_options(factory: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        factory()  # type: ignore[operator]
