"""Comparing a video run with recorded arrays and records."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

Arrays = dict[str, np.ndarray]


def unpack(arrays: Arrays, key: str) -> np.ndarray:
    """The bool masks kept as bits under ``key``."""
    shape = tuple(int(n) for n in arrays[f"{key}.shape"])
    bits = np.unpackbits(arrays[f"{key}.bits"])[: int(np.prod(shape))]
    return bits.reshape(shape).astype(bool)


def assert_outputs(
    arrays: Arrays,
    key: str,
    outputs: dict[str, Any],
    *,
    tolerance: float = 1e-6,
    box_tolerance: float | None = None,
    same_pixels: float = 1.0,
) -> None:
    """Public outputs of a frame equal the recorded ones; ``same_pixels``: part that must agree."""
    np.testing.assert_array_equal(outputs["out_obj_ids"], arrays[f"{key}.ids"], err_msg=key)
    for name, ours, limit in (
        ("probs", "out_probs", tolerance),
        ("boxes", "out_boxes_xywh", tolerance if box_tolerance is None else box_tolerance),
    ):
        np.testing.assert_allclose(
            outputs[ours], arrays[f"{key}.{name}"], rtol=0, atol=limit, err_msg=f"{key}.{name}"
        )
    expected = unpack(arrays, f"{key}.masks")
    assert outputs["out_binary_masks"].shape == expected.shape, key
    same = (outputs["out_binary_masks"] == expected).mean() if expected.size else 1.0
    assert same >= same_pixels, f"{key}: {same:.4%} of the pixels agree"


def int_keys(values: dict[str, Any]) -> dict[int, Any]:
    return {int(k): v for k, v in values.items()}


def assert_metadata(metadata: Any, expected: dict[str, Any]) -> None:
    """The session's track records equal the recorded ones."""
    notes = metadata["rank0_metadata"]
    assert metadata["obj_ids_all_gpu"].tolist() == expected["ids"]
    scores = {i: pytest.approx(s, abs=1e-6) for i, s in int_keys(expected["scores"]).items()}
    assert metadata["obj_id_to_score"] == scores
    assert metadata["max_obj_id"] == expected["max_obj_id"]
    last = {i: t.tolist() for i, t in metadata["obj_id_to_last_occluded"].items()}
    assert last == int_keys(expected["last_occluded"])
    assert notes["obj_first_frame_idx"] == int_keys(expected["first_frame"])
    assert notes["unmatched_frame_inds"] == int_keys(expected["unmatched"])
    assert notes["trk_keep_alive"] == int_keys(expected["keep_alive"])
    pairs = {f"{a}>{b}": f for (a, b), f in notes["overlap_pair_to_frame_inds"].items()}
    assert pairs == expected["overlap"]
    assert sorted(notes["removed_obj_ids"]) == expected["removed"]
    hidden = {f: sorted(ids) for f, ids in notes["suppressed_obj_ids"].items()}
    assert hidden == int_keys(expected["suppressed"])
    if expected["confirmation"] is None:
        assert "masklet_confirmation" not in notes
    else:
        found = {k: v.tolist() for k, v in notes["masklet_confirmation"].items()}
        assert found == expected["confirmation"]


def actions(state: Any) -> list[list[Any]]:
    """The history as plain lists."""
    return [[a["type"], a["frame_idx"], a["obj_ids"]] for a in state["action_history"]]


def assert_strided(
    arrays: Arrays,
    key: str,
    actual: np.ndarray,
    steps: tuple[int, ...],
    tolerance: float,
    *,
    mean: bool = False,
) -> None:
    """Every n-th value agrees within ``tolerance`` of the largest, or on average."""
    expected = arrays[key]
    if f"{key}.fullshape" in arrays:
        assert tuple(actual.shape) == tuple(arrays[f"{key}.fullshape"]), key
    part = actual[tuple(slice(None, None, s) for s in steps)]
    assert part.shape == expected.shape, key
    off = np.abs(part - expected)
    found = off.mean() if mean else off.max()
    assert found <= tolerance * np.abs(expected).max(), f"{key}: {found}"
    if f"{key}.stats" in arrays:
        stats, whole = arrays[f"{key}.stats"], actual.astype(np.float64)
        assert abs(whole.sum() - stats[0]) <= 1e-2 * stats[1], key
        np.testing.assert_allclose(np.abs(whole).sum(), stats[1], rtol=1e-2, err_msg=key)
