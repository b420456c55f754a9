"""The tracker's network: published names, sizes from the configuration, one step on a frame."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sam3.builders.tracker import assemble_tracker
from sam3.config import MemoryConfig, presets
from sam3.errors import InputError, SessionError
from sam3.model.sam3_tracker_base import NO_OBJ_SCORE, Sam3TrackerBase
from tests.support.golden_video import fill, rnd, smooth_map

NAMES = Path(__file__).parents[2] / "golden" / "image" / "names.json.gz"
TINY = presets.SAM3_TINY_TRACKER
SCORE_BIAS = "sam_mask_decoder.pred_obj_score_head.layers.2.bias"


@pytest.mark.parametrize("selection", [False, True])
def test_names_and_shapes_are_the_published_ones(selection):
    with torch.device("meta"):
        model = assemble_tracker(presets.SAM3_TRACKER, memory_selection=selection)
    have = {k: (list(v.shape), str(v.dtype)) for k, v in model.state_dict().items()}
    published = json.loads(gzip.decompress(NAMES.read_bytes()))["sam3"]
    want = {
        name.removeprefix("tracker."): (shape, f"torch.{dtype}")
        for name, shape, dtype in published
        if name.startswith("tracker.")
    }
    assert have == want
    assert len(have) == 309
    assert sum(v.numel() for v in model.state_dict().values()) == 11_743_618


@pytest.fixture(scope="module")
def tracker() -> Sam3TrackerBase:
    return fill(assemble_tracker(TINY, memory_selection=True), {SCORE_BIAS: 3.0}).eval()


def features(tracker: Sam3TrackerBase, t: float, objects: int):
    """Prepared features of frame t for some objects."""
    width, side = tracker.hidden_dim, tracker.sam_image_embedding_size
    shapes = ((width // 8, 4 * side), (width // 4, 2 * side), (width, side))
    maps = [
        smooth_map(k, c, s, s, t)[None].expand(objects, -1, -1, -1)
        for k, (c, s) in enumerate(shapes)
    ]
    out = {"backbone_fpn": maps, "vision_pos_enc": [torch.zeros_like(m) for m in maps]}
    return tracker._prepare_backbone_features(out)[1:]


def step(tracker: Sam3TrackerBase, t: int, objects: int = 2, **arguments):
    feats, pos, sizes = features(tracker, t, objects)
    arguments = {"is_init_cond_frame": False, "num_frames": 10, **arguments}
    with torch.no_grad():
        return tracker.track_step(
            frame_idx=t,
            current_vision_feats=feats,
            current_vision_pos_embeds=pos,
            feat_sizes=sizes,
            **arguments,
        )


def points(objects: int, *where: tuple[float, float]):
    count = max(len(where), 1)
    coords = torch.tensor([where or [(70.0, 70.0)]], dtype=torch.float32).expand(objects, -1, -1)
    return {
        "point_coords": coords,
        "point_labels": torch.ones(objects, count, dtype=torch.int32),
    }


@pytest.fixture(scope="module")
def bank(tracker):
    first = step(tracker, 0, is_init_cond_frame=True, point_inputs=points(2))
    return {"cond_frame_outputs": {0: first}, "non_cond_frame_outputs": {}}


def test_sizes_follow_the_configuration(tracker, bank):
    out = bank["cond_frame_outputs"][0]
    assert (tracker.low_res_mask_size, tracker.input_mask_size) == (64, 256)
    assert out.pred_masks.shape == (2, 1, 64, 64)
    assert out.pred_masks_high_res.shape == (2, 1, 192, 192)
    assert out.multimasks.shape == (2, 3, 64, 64)
    assert out.obj_ptr.shape == (2, 64)
    assert out.maskmem_features.shape == (2, 32, 16, 16)
    assert out.maskmem_pos_enc[0].shape == (2, 32, 16, 16)
    assert out["iou_score"].shape == (2,)
    assert out["eff_iou_score"].shape == ()


def test_other_sizes_work_too():
    config = replace(TINY, image_size=96, memory=MemoryConfig(dim=16, layers=1, dim_feedforward=32))
    model = fill(assemble_tracker(config, memory_selection=False)).eval()
    bank = {"cond_frame_outputs": {}, "non_cond_frame_outputs": {}}
    bank["cond_frame_outputs"][0] = step(model, 0, 1, is_init_cond_frame=True)
    out = step(model, 1, 1, output_dict=bank)
    assert out.pred_masks.shape == (1, 1, 32, 32)
    assert out.maskmem_features.shape == (1, 16, 8, 8)
    assert "iou_score" not in out and out.get("eff_iou_score") is None


def test_tracking_looks_at_memories_and_does_not_change_them(tracker, bank):
    before = bank["cond_frame_outputs"][0].maskmem_features.clone()
    tracked = step(tracker, 1, output_dict=bank)
    alone = step(tracker, 1, output_dict=bank, use_prev_mem_frame=False)
    assert not torch.allclose(tracked.pred_masks, alone.pred_masks)
    torch.testing.assert_close(bank["cond_frame_outputs"][0].maskmem_features, before)
    assert not bank["non_cond_frame_outputs"]


def test_objects_do_not_see_each_other(tracker, bank):
    one = {
        "cond_frame_outputs": {
            0: {
                "maskmem_features": bank["cond_frame_outputs"][0].maskmem_features[1:],
                "maskmem_pos_enc": [p[1:] for p in bank["cond_frame_outputs"][0].maskmem_pos_enc],
                "obj_ptr": bank["cond_frame_outputs"][0].obj_ptr[1:],
            }
        },
        "non_cond_frame_outputs": {},
    }
    together = step(tracker, 1, output_dict=bank).pred_masks[1:]
    torch.testing.assert_close(
        step(tracker, 1, 1, output_dict=one).pred_masks, together, atol=1e-4, rtol=1e-4
    )


def test_memories_kept_in_bfloat16_are_read(tracker, bank):
    stored = bank["cond_frame_outputs"][0]
    rounded = {**dict(stored.items()), "maskmem_features": stored.maskmem_features.bfloat16()}
    out = step(tracker, 1, output_dict={**bank, "cond_frame_outputs": {0: rounded}})
    exact = step(tracker, 1, output_dict=bank)
    assert out.pred_masks.dtype == torch.float32
    assert (out.pred_masks - exact.pred_masks).abs().max() < 0.1 * exact.pred_masks.abs().max()


def test_absent_objects_have_no_mask():
    model = fill(assemble_tracker(TINY, memory_selection=True), {SCORE_BIAS: -6.0}).eval()
    out = step(model, 0, is_init_cond_frame=True, point_inputs=points(2))
    assert (out.pred_masks == NO_OBJ_SCORE).all()
    torch.testing.assert_close(out.obj_ptr, model.no_obj_ptr.expand(2, -1))
    assert float(out["eff_iou_score"]) == 0


@pytest.mark.parametrize(
    ("count", "init", "candidates"),
    [(0, True, 3), (1, True, 3), (2, True, 1), (1, False, 3), (3, False, 1)],
)
def test_number_of_candidates(tracker, bank, count, init, candidates):
    where = [(10.0 * i, 20.0) for i in range(count)]
    given = points(2, *where) if count else None
    out = step(tracker, 2, is_init_cond_frame=init, point_inputs=given, output_dict=bank)
    assert out.multimasks.shape[1] == candidates


def test_a_mask_is_taken_as_the_answer(tracker):
    mask = torch.zeros(2, 1, 192, 192)
    mask[0, :, 40:120, 60:130] = 1.0
    out = step(tracker, 0, is_init_cond_frame=True, mask_inputs=mask)
    assert out.pred_masks.shape == (2, 1, 64, 64)
    torch.testing.assert_close(out.pred_masks_high_res, mask * 20 - 10)
    assert out.object_score_logits.flatten().tolist() == [10.0, -10.0]
    torch.testing.assert_close(out.obj_ptr[1:], tracker.no_obj_ptr)
    assert not torch.allclose(out.obj_ptr[0], tracker.no_obj_ptr[0])


def test_an_earlier_mask_guides_the_points(tracker):
    plain = step(tracker, 0, is_init_cond_frame=True, point_inputs=points(2))
    earlier = rnd(5, 2, 1, 48, 48, lo=-8, hi=8)
    guided = step(
        tracker, 0, is_init_cond_frame=True, point_inputs=points(2), prev_sam_mask_logits=earlier
    )
    assert not torch.allclose(plain.pred_masks, guided.pred_masks)


def test_gradients_reach_the_memory_encoder(tracker, bank):
    model = fill(assemble_tracker(TINY, memory_selection=False), {SCORE_BIAS: 3.0}).train()
    feats, pos, sizes = features(model, 0, 1)
    common = {
        "current_vision_feats": feats,
        "current_vision_pos_embeds": pos,
        "feat_sizes": sizes,
        "num_frames": 2,
    }
    first = model.track_step(0, True, point_inputs=points(1), **common)
    bank = {"cond_frame_outputs": {0: first}, "non_cond_frame_outputs": {}}
    model.track_step(
        1, False, output_dict=bank, run_mem_encoder=False, **common
    ).pred_masks.sum().backward()
    for part in (model.maskmem_backbone.out_proj, model.obj_ptr_proj.layers[0]):
        assert part.weight.grad.abs().sum() > 0


def test_compiled_components_are_wrapped(monkeypatch):
    """Compilation itself is lazy; the forwards are replaced and still give the same."""
    monkeypatch.setattr(torch, "compile", lambda fn, **_: fn)
    plain = fill(assemble_tracker(TINY, memory_selection=False)).eval()
    compiled = assemble_tracker(TINY, memory_selection=False, compile_all_components=True)
    fill(compiled).eval()
    given = {"is_init_cond_frame": True, "point_inputs": points(2)}
    torch.testing.assert_close(
        step(plain, 0, **given).pred_masks, step(compiled, 0, **given).pred_masks
    )


EMPTY = {"cond_frame_outputs": {}, "non_cond_frame_outputs": {}}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"output_dict": EMPTY}, SessionError, "preflight"),
        (
            {"mask_inputs": torch.zeros(2, 1, 192, 192), "point_inputs": points(2)},
            ValueError,
            "no points",
        ),
        ({"prev_sam_mask_logits": torch.zeros(2, 1, 64, 64)}, ValueError, "pass point_inputs"),
        ({"is_init_cond_frame": True, "point_inputs": points(3)}, InputError, "2 objects"),
    ],
)
def test_bad_input_is_named(tracker, arguments, error, message):
    with pytest.raises(error, match=message):
        step(tracker, 1, **arguments)


def test_a_tracker_without_backbone_says_so(tracker):
    with pytest.raises(SessionError, match="backbone"):
        tracker.forward_image(torch.zeros(1, 3, 192, 192))


def test_unknown_and_fixed_keywords_are_refused(tracker):
    parts = (None, tracker.transformer, tracker.maskmem_backbone)
    with pytest.raises(TypeError, match="colour"):
        Sam3TrackerBase(*parts, colour=1)
    with pytest.raises(ValueError, match="trim_past"):
        Sam3TrackerBase(*parts, trim_past_non_cond_mem_for_eval=True)
    with pytest.raises(ValueError, match="multiple"):
        Sam3TrackerBase(*parts, image_size=100, backbone_stride=14)
