"""The video model: published names, strict loading, and the whole of it on a small size."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from sam3.config import presets
from sam3.errors import CheckpointMismatchError, InputError
from sam3.model.sam3_image import Sam3ImageOnVideoMultiGPU
from sam3.model.sam3_image_processor import Sam3Processor
from sam3.model_builder import (
    assemble_video_model,
    build_sam3_video_model,
    build_sam3_video_predictor,
)
from tests.support import golden
from tests.support.video import picture, pictures, small_config

CONFIG = small_config()


def test_released_model_has_exactly_the_published_names():
    names = json.loads(gzip.open(golden.FOLDER / "image" / "names.json.gz").read())["sam3"]
    with torch.device("meta"):
        state = assemble_video_model(presets.SAM3_VIDEO).state_dict()
    found = {name: (list(t.shape), str(t.dtype)) for name, t in state.items()}
    assert found == {name: (shape, f"torch.{dtype}") for name, shape, dtype in names}
    assert len(found) == 1465 and sum(t.numel() for t in state.values()) == 861_235_128


@pytest.fixture(scope="module")
def tiny():
    torch.manual_seed(5)
    return build_sam3_video_model(config=CONFIG, load_from_HF=False, device="cpu")


def published(model):
    """The tensors a file holds."""
    return {n: t.clone() for n, t in model.state_dict().items() if not n.endswith(".freqs_cis")}


def test_loads_what_was_saved(tiny, tmp_path):
    path = tmp_path / "a.safetensors"
    save_file(published(tiny), path)
    loaded = build_sam3_video_model(path, config=CONFIG, device="cpu")
    assert not loaded.training
    for name, tensor in tiny.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("tracker.no_mem_embed"), "1 missing: tracker.no_mem_embed"),
        (lambda s: s.update({"tracker.spare": torch.zeros(1)}), "1 unexpected: tracker.spare"),
        (lambda s: [s.pop(n) for n in list(s) if n.startswith("tracker.")], "holds no tracker"),
        (lambda s: s.update({"tracker.no_mem_embed": torch.zeros(2)}), "no_mem_embed: file"),
    ],
)
def test_loading_is_strict(change, message, tiny, tmp_path):
    state = published(tiny)
    change(state)
    save_file(state, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointMismatchError, match=message):
        build_sam3_video_model(tmp_path / "a.safetensors", config=CONFIG, device="cpu")


def test_another_version_is_named(tiny, tmp_path):
    state = {
        name.replace("tracker.", "tracker.model.", 1) if name.startswith("tracker.") else name: t
        for name, t in published(tiny).items()
    }
    save_file(state, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointMismatchError, match=r"SAM 3\.1.*build_sam3_image_model"):
        build_sam3_video_model(tmp_path / "a.safetensors", config=CONFIG, device="cpu")


def test_text_and_clicks_on_the_small_model(tiny):
    assert isinstance(tiny.detector, Sam3ImageOnVideoMultiGPU)
    with torch.random.fork_rng():
        state = tiny.init_state(resource_path=pictures(3))
    frame, out = tiny.add_prompt(state, 0, text_str="red circle")
    assert frame == 0 and sorted(state.feature_cache["multigpu_buffer"]) == [0, 1]
    order = [f for f, _ in tiny.propagate_in_video(state, start_frame_idx=0)]
    assert order == [0, 1, 2]
    click = {"points": [[0.5, 0.5]], "point_labels": [1]}
    _, out = tiny.add_prompt(state, 1, obj_id=50, **click)
    assert 50 in state.tracker_metadata.obj_id_to_score
    assert out["out_binary_masks"].shape[1:] == (48, 64)
    partial = dict(tiny.propagate_in_video(state, start_frame_idx=1))
    assert list(partial) == [1, 2] and not torch.is_autocast_enabled("cpu")


def test_clicks_alone_track_an_object(tiny):
    state = tiny.init_state(resource_path=pictures(4))
    tiny.add_prompt(state, 1, points=[[0.4, 0.6]], point_labels=[1], obj_id=3)
    assert state.action_history[-1].type == "add"
    forward = dict(tiny.propagate_in_video(state, start_frame_idx=1))
    backward = dict(tiny.propagate_in_video(state, start_frame_idx=1, reverse=True))
    assert list(forward) == [1, 2, 3] and list(backward) == [0]
    assert sorted(state.cached_frame_outputs) == [0, 1, 2, 3]
    assert all(3 in cached for cached in state.cached_frame_outputs.values())


def test_joint_scores_only_change_the_logits(tiny):
    plain = build_sam3_video_model(
        config=CONFIG, load_from_HF=False, device="cpu", has_presence_token=False
    )
    assert tiny.detector.supervise_joint_box_scores
    assert not plain.detector.supervise_joint_box_scores


def test_image_prompts_share_the_weights(tiny):
    processor = Sam3Processor(tiny.detector)
    state = processor.set_text_prompt("red circle", processor.set_image(picture(0)))
    assert len(state["scores"]) == len(state["boxes"])
    assert processor.model is tiny.detector


def test_half_precision_keeps_the_tracker_in_float32():
    model = build_sam3_video_model(
        config=CONFIG, load_from_HF=False, device="cpu", precision="bf16"
    )
    assert model.detector.dtype == torch.bfloat16
    assert {p.dtype for p in model.tracker.parameters()} == {torch.float32}
    state = model.init_state(resource_path=pictures(2))
    model.add_prompt(state, 0, text_str="red circle")
    model.add_prompt(state, 0, points=[[0.5, 0.5]], point_labels=[1], obj_id=9)
    cached = state.feature_cache[0][1]["tracker_backbone_out"]["backbone_fpn"]
    assert {level.dtype for level in cached} == {torch.float32}


def test_predictor_from_the_same_arguments():
    predictor = build_sam3_video_predictor(config=CONFIG, load_from_HF=False, device="cpu")
    try:
        session = predictor.handle_request({"type": "start_session", "resource_path": pictures(2)})[
            "session_id"
        ]
        prompt = {"type": "add_prompt", "session_id": session, "frame_index": 0}
        found = predictor.handle_request({**prompt, "text": "red circle"})["outputs"]
        assert found["out_binary_masks"].dtype == np.bool_
        stream = {"type": "propagate_in_video", "session_id": session}
        assert [s["frame_index"] for s in predictor.handle_stream_request(stream)] == [0, 1]
    finally:
        predictor.shutdown()


def tensor_bytes(value, seen=None):
    """Bytes of all tensors that can be reached from ``value``, each storage once."""
    seen = set() if seen is None else seen
    if id(value) in seen:
        return 0
    seen.add(id(value))
    if isinstance(value, torch.Tensor):
        storage = value.untyped_storage()
        if storage.data_ptr() in seen:
            return 0
        seen.add(storage.data_ptr())
        return storage.nbytes()
    if isinstance(value, dict):
        return sum(tensor_bytes(v, seen) for v in value.values())
    if isinstance(value, (list, tuple, set)):
        return sum(tensor_bytes(v, seen) for v in value)
    names = [*getattr(value, "__dict__", {}), *getattr(type(value), "__slots__", ())]
    return sum(tensor_bytes(getattr(value, n, None), seen) for n in names if n != "img_batch")


def test_memory_is_flat(tiny):
    state = tiny.init_state(resource_path=pictures(60))
    tiny.add_prompt(state, 0, points=[[0.4, 0.6]], point_labels=[1], obj_id=3)
    held = {}
    for frame, _ in tiny.propagate_in_video(state, start_frame_idx=0):
        held[frame] = tensor_bytes(state.tracker_inference_states) + tensor_bytes(
            state.feature_cache
        )
    assert held[5] < held[20]  # the bank fills
    assert max(held[f] for f in range(40, 60)) == max(held[f] for f in range(20, 40))


def test_several_processes_choose_their_devices():
    with pytest.raises(InputError, match="leave out device"):
        build_sam3_video_predictor(config=CONFIG, gpus_to_use=[0, 1], device="cpu")
    with pytest.raises(InputError, match="different device numbers"):
        build_sam3_video_predictor(config=CONFIG, gpus_to_use=[0, 0])
