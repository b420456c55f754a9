"""Whole sessions on the full-size tracker with formula-made weights, against golden arrays.

The features are given, so there is no backbone. Tolerances are those of the arrays' own README:
memories are rounded to bfloat16 and clicked frames are binarised before they are encoded, so tiny
differences flip roundings and pixels; the first frames of each session hold much closer.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from sam3.builders.tracker import assemble_tracker
from sam3.config.presets import SAM3_TRACKER
from sam3.model.sam3_tracking_predictor import Sam3TrackerPredictor
from sam3.model.tracker.state import InferenceState
from tests.support import golden
from tests.support.golden_video import cached_features, fill, smooth_map

SEED, HEIGHT, WIDTH, FRAMES = 11, 96, 128, 5
SCORE_BIAS = "sam_mask_decoder.pred_obj_score_head.layers.2.bias"
CLOSE = 1e-4
FIRST = ("s1.add1", "s1.add7", "s1.f0", "s2.f3", "s3.f0")
SCRIPT = json.loads((golden.FOLDER / "tracker" / "track.json").read_text())


class Checker:
    """Compares what a session gives with the arrays of one file."""

    def __init__(self, name: str) -> None:
        self.arrays = golden.load(f"tracker/{name}.npz")
        self.seen: set[str] = set()

    def close(self, key: str, actual: Any, tolerance: float) -> None:
        """max |difference| <= tolerance x max |golden|."""
        expected = self.arrays[key]
        actual = golden.to_numpy(actual)
        assert actual.shape == expected.shape, f"{key}: {actual.shape} != {expected.shape}"
        if key.startswith(FIRST):
            tolerance = CLOSE
        peak = np.abs(expected).max()
        np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * peak, err_msg=key)
        self.seen.add(key)

    def strided(self, key: str, actual: torch.Tensor, step: int, tolerance: float) -> None:
        """A strided copy, and [sum, sum of magnitudes, norm] of the whole."""
        self.stats(key, actual)
        self.close(key, actual[..., ::step, ::step], tolerance)

    def stats(self, key: str, actual: torch.Tensor) -> None:
        whole = golden.to_numpy(actual).astype(np.float64)
        assert whole.shape == tuple(self.arrays[f"{key}.fullshape"]), key
        stats = self.arrays[f"{key}.stats"]
        mine = np.array([whole.sum(), np.abs(whole).sum(), np.sqrt((whole**2).sum())])
        assert abs(mine[0] - stats[0]) <= 1e-2 * stats[1], key
        np.testing.assert_allclose(mine[1:], stats[1:], rtol=1e-2, err_msg=key)
        self.seen.update((f"{key}.stats", f"{key}.fullshape"))

    def bits(self, key: str, actual: torch.Tensor) -> None:
        """At least 99.5 % of the pixels agree."""
        shape = tuple(self.arrays[f"{key}.shape"])
        expected = np.unpackbits(self.arrays[f"{key}.bits"])[: np.prod(shape)].reshape(shape)
        assert tuple(actual.shape) == shape, key
        agree = (golden.to_numpy(actual) == expected.astype(bool)).mean()
        assert agree >= 0.995, f"{key}: only {agree:.4f} of the pixels agree"
        self.seen.update((f"{key}.bits", f"{key}.shape"))

    def prompt(self, key: str, result: tuple[Any, ...], logits: bool = True) -> None:
        masks = result[3]
        self.bits(f"{key}.video", masks > 0)
        if logits:
            self.strided(f"{key}.logits", masks, 8, 2e-2)

    def frame(self, tag: str, state: InferenceState, result: tuple[Any, ...]) -> None:
        frame_idx, _, low, video, score = result
        key = f"{tag}.f{frame_idx}"
        self.strided(f"{key}.low", low, 6, 2e-2)
        self.bits(f"{key}.video", video > 0)
        self.strided(f"{key}.video_logits", video, 8, 2e-2)
        self.close(f"{key}.score", score, 5e-3)
        is_cond = frame_idx in state["output_dict"]["cond_frame_outputs"]
        assert is_cond == bool(self.arrays[f"{key}.is_cond"][0])
        kind = "cond_frame_outputs" if is_cond else "non_cond_frame_outputs"
        out = state["output_dict"][kind][frame_idx]
        self.close(f"{key}.obj_ptr", out["obj_ptr"], 5e-3)
        self.memory(f"{key}.mem", out["maskmem_features"])
        for name in ("iou_score", "eff_iou_score"):
            assert (name in out) == (f"{key}.{name}" in self.arrays), f"{key}.{name}"
            if name in out:
                expected = self.arrays[f"{key}.{name}"]
                self.close(f"{key}.{name}", out[name].reshape(expected.shape), 5e-3)
        self.seen.add(f"{key}.is_cond")

    def memory(self, key: str, memory: torch.Tensor) -> None:
        """Single elements flip between bfloat16 values; their mean difference and norms hold."""
        assert memory.dtype == torch.bfloat16
        memory = memory.float()
        self.stats(key, memory[:, ::8])
        expected = self.arrays[key]
        actual = memory[:, ::8, ::12, ::12].numpy()
        assert actual.shape == expected.shape
        assert np.abs(actual - expected).mean() <= 5e-3 * np.abs(expected).max(), key
        norm = memory.flatten(1).norm(dim=1).numpy()
        np.testing.assert_allclose(norm, self.arrays[f"{key}.norm"], rtol=1e-3, err_msg=key)
        self.seen.update((key, f"{key}.norm"))

    def finish(self) -> None:
        """Every array of the file was compared."""
        assert set(self.arrays) == self.seen


def tracker(selection: bool, bias: float = 3.0) -> Sam3TrackerPredictor:
    return fill(
        assemble_tracker(SAM3_TRACKER, memory_selection=selection), {SCORE_BIAS: bias}
    ).eval()


def session(model: Sam3TrackerPredictor, seed: int) -> InferenceState:
    return model.init_state(
        video_height=HEIGHT,
        video_width=WIDTH,
        num_frames=FRAMES,
        cached_features=cached_features(seed, FRAMES),
    )


def bookkeeping(state: InferenceState) -> dict[str, list[int]]:
    outputs = state["output_dict"]
    return {
        "cond": sorted(outputs["cond_frame_outputs"]),
        "non_cond": sorted(outputs["non_cond_frame_outputs"]),
    }


@pytest.mark.slow
def test_two_objects_with_memory_selection() -> None:
    """Points, box and points, tracking, a refinement, a removal."""
    model, check, script = tracker(True), Checker("track_s1"), SCRIPT["s1"]
    state = session(model, SEED)

    def propagate(tag: str, start: int, count: int | None) -> None:
        for result in model.propagate_in_video(state, start, count, False, tqdm_disable=True):
            check.frame(tag, state, result)

    add = model.add_new_points_or_box
    check.prompt("s1.add1", add(state, 0, 1, points=script["point_obj1"], labels=[1]))
    box = torch.tensor(script["box_obj7"])
    result = add(state, 0, 7, points=script["point_obj7"], labels=[0], box=box)
    check.prompt("s1.add7", result)
    model.propagate_in_video_preflight(state)
    propagate("s1", 0, None)
    result = add(state, 2, 1, points=script["points_refine"], labels=[1, 0])
    check.prompt("s1.refine", result)
    model.propagate_in_video_preflight(state)
    propagate("s1r", 2, 1)

    ids, updated = model.remove_object(state, 7)
    removed = {
        "ids": ids,
        "updated_frames": [t for t, _ in updated],
        **bookkeeping(state),
        "tracked": sorted(state["frames_already_tracked"]),
    }
    assert removed == SCRIPT["steps"]["s1_removed"]
    for frame_idx, masks in updated:
        check.bits(f"s1.removed.f{frame_idx}.video", masks > 0)
    propagate("s1x", 4, 0)
    check.finish()


@pytest.mark.slow
def test_a_mask_tracked_backwards() -> None:
    """A mask, tracking in reverse, a click with memory, tracking forward."""
    model, check, script = tracker(False), Checker("track_s2"), SCRIPT["s2"]
    state = session(model, SEED + 1)
    mask = smooth_map(SEED + 61, 1, 60, 80)[0] > 0.3
    check.prompt("s2.add", model.add_new_mask(state, 3, 5, mask), logits=False)
    model.propagate_in_video_preflight(state)
    for result in model.propagate_in_video(state, 3, 2, True, tqdm_disable=True):
        check.frame("s2", state, result)
    result = model.add_new_points_or_box(
        state, 1, 5, points=script["point_refine"], labels=[1], use_prev_mem_frame=True
    )
    check.prompt("s2.refine", result)
    model.propagate_in_video_preflight(state)
    own = state["output_dict_per_obj"][0]
    after = {**bookkeeping(state), "per_obj_non_cond": sorted(own["non_cond_frame_outputs"])}
    assert after == SCRIPT["steps"]["s2_after"]
    for result in model.propagate_in_video(state, 1, 1, False, tqdm_disable=True):
        check.frame("s2f", state, result)
    check.finish()


def test_an_object_that_is_absent() -> None:
    model, check = tracker(True, bias=-6.0), Checker("track_s3")
    state = session(model, SEED + 2)
    points = SCRIPT["s3"]["points"]
    result = model.add_new_points_or_box(state, 0, 3, points=points, labels=[1, 1])
    check.prompt("s3.add", result, logits=False)
    model.propagate_in_video_preflight(state)
    for result in model.propagate_in_video(state, 0, None, False, tqdm_disable=True):
        check.frame("s3", state, result)
        if result[0] == 1:
            break
    check.finish()
