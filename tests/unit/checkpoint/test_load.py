"""Loading every published layout: right tensor at the right name, strict, all or nothing."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from sam3.checkpoint import load_image_weights, read_checkpoint, to_huggingface
from sam3.errors import CheckpointFormatError, CheckpointMismatchError

PUBLISHED = "sam3"


def without_complex(state):
    return {name: t.contiguous() for name, t in state.items() if not t.is_complex()}


def add_prefix(state, prefix):
    return {prefix + name: tensor for name, tensor in state.items()}


def detector_part(state):
    return {
        name.removeprefix("detector."): tensor
        for name, tensor in state.items()
        if name.startswith("detector.")
    }


def assert_holds(model, state, *, dtype=torch.float32, rtol=0.0):
    """Every tensor of the model equals the one of the same name in ``state``."""
    for name, tensor in model.state_dict().items():
        if tensor.is_meta:
            assert name.endswith(".freqs_cis"), name
            continue
        expected = state[name]
        assert tensor.dtype == (torch.complex64 if expected.is_complex() else dtype), name
        torch.testing.assert_close(tensor, expected.to(tensor.dtype), rtol=rtol, atol=0.0)


LAYOUTS = {
    "published": lambda s: s,
    "wrapped": lambda s: {"model": s},
    "training snapshot": lambda s: {"model": s, "epoch": 3, "optimizer": {"lr": 0.1}},
    "bare": detector_part,
    "module": lambda s: add_prefix(s, "module."),
    "module bare": lambda s: add_prefix(detector_part(s), "module."),
    "internal": lambda s: {
        name.replace("detector.", "sam3_model.", 1).replace("tracker.", "sam2_predictor.", 1): t
        for name, t in s.items()
    },
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_torch_file_of_every_prefix(layout, legacy, tmp_path, small, random_state, image_model):
    state = random_state(small[PUBLISHED])
    path = tmp_path / "sam3.pt"
    torch.save(LAYOUTS[layout](state), path, _use_new_zipfile_serialization=not legacy)
    report = load_image_weights(image_model, path)
    assert_holds(image_model, detector_part(state))
    assert len(report.loaded) == 1134 and report.computed == () and report.zeroed == ()
    assert len(report.dropped) == (22 if "bare" in layout else 331)
    assert report.version == "3.0" and read_checkpoint(path).layout_details.neck_levels == 4


def test_a_model_without_masks_leaves_the_mask_head_out(tmp_path, small, random_state, build):
    state = random_state(small[PUBLISHED])
    torch.save(state, tmp_path / "sam3.pt")
    boxes = [entry for entry in small["image"] if not entry[0].startswith("segmentation_head.")]
    model = build(boxes)
    report = load_image_weights(model, tmp_path / "sam3.pt")
    assert_holds(model, detector_part(state))
    head = {name for name in state if name.startswith("detector.segmentation_head.")}
    assert head and head <= set(report.dropped)
    part = [entry for entry in small["image"] if "mask_embed" not in entry[0]]
    with pytest.raises(CheckpointMismatchError, match="unexpected.*mask_embed"):
        load_image_weights(build(part), tmp_path / "sam3.pt")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("copy", [None, False, True])
def test_safetensors_in_every_precision(dtype, copy, tmp_path, small, random_state, image_model):
    state = random_state(small[PUBLISHED], dtype)
    path = tmp_path / "sam3.safetensors"
    save_file(without_complex(state), path)
    report = load_image_weights(image_model, path, copy=copy)
    assert_holds(image_model, detector_part(state))
    assert len(report.computed) == 32 and all(n.endswith("freqs_cis") for n in report.computed)


def test_dtype_policy_per_parameter(tmp_path, small, random_state, image_model):
    state = random_state(small[PUBLISHED])
    path = tmp_path / "sam3.pt"
    torch.save(state, path)

    def policy(name, tensor):
        assert tensor.is_meta and tensor.dtype == torch.float32
        return torch.bfloat16 if tensor.ndim > 1 else None

    load_image_weights(image_model, path, dtype_for=policy)
    for name, tensor in image_model.state_dict().items():
        expected = detector_part(state)[name]
        if expected.is_complex():
            assert tensor.dtype == torch.complex64
        else:
            assert tensor.dtype == (torch.bfloat16 if expected.ndim > 1 else torch.float32)
            assert torch.equal(tensor, expected.to(tensor.dtype))


@pytest.mark.parametrize("video", [False, True], ids=["Sam3Model", "Sam3Video"])
def test_huggingface_file(video, tmp_path, small, random_state, image_model, caplog):
    state = detector_part(random_state(small[PUBLISHED]))
    image = {name: t for name, t in state.items() if "sam2_convs" not in name}
    stored = to_huggingface(image, keep_extras=False)
    if video:
        stored = add_prefix(stored, "detector_model.")
        stored["tracker_model.no_memory_embedding"] = torch.zeros(3)
        stored["tracker_neck.fpn_layers.0.proj1.weight"] = torch.zeros(3)
    path = tmp_path / "model.safetensors"
    save_file({name: t.contiguous() for name, t in stored.items()}, path)
    report = load_image_weights(image_model, path)
    expected = dict(image)
    table = "backbone.vision_backbone.trunk.pos_embed"
    expected[table] = expected[table].clone()
    expected[table][:, 0] = 0  # the layout has no place for this unused row
    for name in report.zeroed:
        expected[name] = torch.zeros_like(expected[name])
    assert_holds(image_model, expected)
    assert len(report.zeroed) == 6 and not report.supports_points
    assert "point prompts" in caplog.text
    assert len(report.dropped) == (2 if video else 0)


def test_sharded_folder(tmp_path, small, random_state, image_model):
    state = without_complex(random_state(small["image"]))
    weight_map = {}
    for index, names in enumerate((list(state)[::2], list(state)[1::2])):
        file = f"model-{index + 1:05d}-of-00002.safetensors"
        save_file({name: state[name] for name in names}, tmp_path / file)
        weight_map |= dict.fromkeys(names, file)
    index_file = tmp_path / "model.safetensors.index.json"
    index_file.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    load_image_weights(image_model, tmp_path)
    assert_holds(image_model, state)

    weight_map[next(iter(state))] = "../elsewhere.safetensors"
    index_file.write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(CheckpointFormatError, match="plain file name"):
        read_checkpoint(index_file)
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    weight_map[next(iter(state))] = "model-00001-of-00002.safetensors"
    index_file.write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(CheckpointFormatError, match="missing"):
        read_checkpoint(index_file)


def three_levels(entries):
    return [entry for entry in entries if ".convs.3." not in entry[0]]


@pytest.mark.parametrize("prefix", ["published", "internal"])
def test_sam31_half_precision(prefix, tmp_path, small, random_state, build):
    state = without_complex(random_state(small["sam31"], torch.float16))
    del state["detector.backbone.language_backbone.encoder.text_projection"]
    assert len(state) == 1590
    path = tmp_path / "sam3.1_multiplex_fp16.safetensors"
    save_file(LAYOUTS[prefix](state), path)
    raw = read_checkpoint(path)
    assert raw.version == "3.1" and raw.layout_details.neck_levels == 3
    model = build(three_levels(small["image"]))
    report = load_image_weights(model, raw)
    text_projection = "backbone.language_backbone.encoder.text_projection"
    assert report.zeroed == (text_projection,)
    expected = detector_part(state) | {text_projection: torch.zeros(16, 8)}
    assert_holds(model, expected)
    assert len(report.loaded) == 1097 and len(report.dropped) == 36 + 457


def test_sam31_file_does_not_fit_a_four_level_neck(tmp_path, small, random_state, image_model):
    path = tmp_path / "sam31.pt"
    torch.save(random_state(small["sam31"]), path)
    with pytest.raises(CheckpointMismatchError, match=r"version 3\.1.*4 missing.*convs\.3") as info:
        load_image_weights(image_model, path)
    assert str(path) in str(info.value)
    assert all(tensor.is_meta for tensor in image_model.state_dict().values())


def test_tracker_feeds_the_interactive_predictor(tmp_path, small, random_state, build):
    state = random_state(small[PUBLISHED])
    path = tmp_path / "sam3.pt"
    torch.save(state, path)
    model = build(small["image"] + small["image_interactive_extra"])
    report = load_image_weights(model, path)
    assert len(report.loaded) == 1465 and report.dropped == ()
    loaded = model.state_dict()
    for name, tensor in state.items():
        ours = name.removeprefix("detector.")
        ours = ours.replace("tracker.", "inst_interactive_predictor.model.", 1)
        assert torch.equal(loaded[ours], tensor), name


def test_sam31_feeds_the_interactive_heads(tmp_path, small, random_state, build):
    state = random_state(small["sam31"])
    path = tmp_path / "sam31.pt"
    torch.save(state, path)
    predictor = "inst_interactive_predictor.model."
    heads = ("sam_prompt_encoder", "sam_mask_decoder", "mask_downsample", "obj_ptr_proj")
    extra = [
        entry
        for entry in small["image_interactive_extra"]
        if entry[0].startswith(tuple(predictor + head for head in heads))
        or entry[0] == predictor + "no_mem_embed"
        or ("sam2_convs" in entry[0] and "sam2_convs.3" not in entry[0])
    ]
    assert len(extra) == 157 + 18
    model = build(three_levels(small["image"]) + extra)
    load_image_weights(model, path)
    loaded = model.state_dict()
    pairs = {
        predictor + "no_mem_embed": "tracker.model.interactivity_no_mem_embed",
        predictor + "sam_mask_decoder.iou_token.weight": (
            "tracker.model.interactive_sam_mask_decoder.iou_token.weight"
        ),
        predictor + "obj_ptr_proj.layers.0.weight": (
            "tracker.model.interactive_obj_ptr_proj.layers.0.weight"
        ),
        "backbone.vision_backbone.sam2_convs.0.conv_1x1.bias": (
            "detector.backbone.vision_backbone.interactive_convs.0.conv_1x1.bias"
        ),
    }
    for ours, theirs in pairs.items():
        assert torch.equal(loaded[ours], state[theirs]), ours


FIRST = "detector.backbone.vision_backbone.trunk.patch_embed.proj.weight"


def drop(state):
    del state[FIRST]


def add(state):
    state["detector.backbone.extra.weight"] = torch.zeros(1)


def stray(state):
    state["ema_decay"] = torch.zeros(1)


def reshape(state):
    state[FIRST] = state[FIRST].flatten(1)


def integers(state):
    state[FIRST] = state[FIRST].to(torch.int64)


def twice(state):
    # A wholly bare copy of one tensor beside the prefixed one.
    state["sam3_model." + FIRST.removeprefix("detector.")] = state[FIRST].clone()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (drop, r"1 missing: backbone\.vision_backbone\.trunk\.patch_embed"),
        (add, r"1 unexpected: detector\.backbone\.extra\.weight"),
        (stray, r"1 unexpected: ema_decay"),
        (reshape, r"patch_embed.*file \[16, 588\], model \[16, 3, 14, 14\]"),
        (integers, r"patch_embed.*torch\.int64, expected fp32, fp16 or bf16"),
        (twice, r"with and without prefix"),
    ],
)
@pytest.mark.parametrize("on", ["meta", "cpu"])
def test_mismatch_names_the_key_and_leaves_the_model_alone(
    spoil, message, on, tmp_path, small, random_state, build
):
    state = random_state(small[PUBLISHED])
    spoil(state)
    path = tmp_path / "sam3.pt"
    torch.save(state, path)
    model = build(small["image"], on)
    before = dict(model.state_dict())
    with pytest.raises(CheckpointMismatchError, match=message) as info:
        load_image_weights(model, path)
    assert str(path) in str(info.value)
    for name, tensor in model.state_dict().items():
        assert tensor.data_ptr() == before[name].data_ptr() and tensor.device.type == on
        assert on == "meta" or not tensor.any()


def test_missing_text_projection_is_an_error_for_sam3(tmp_path, small, random_state, image_model):
    state = without_complex(random_state(small["image"]))
    del state["backbone.language_backbone.encoder.text_projection"]
    path = tmp_path / "sam3.safetensors"
    save_file(state, path)
    with pytest.raises(CheckpointMismatchError, match="1 missing.*text_projection"):
        load_image_weights(image_model, path)


def test_foreign_model_is_named_as_such(tmp_path, image_model):
    path = tmp_path / "resnet.safetensors"
    save_file({"conv1.weight": torch.zeros(3), "fc.bias": torch.zeros(3)}, path)
    with pytest.raises(CheckpointMismatchError, match=r"no tensor of this model.*conv1\.weight"):
        load_image_weights(image_model, path)


def test_read_error_halfway_leaves_the_model_alone(
    tmp_path, small, random_state, image_model, monkeypatch
):
    path = tmp_path / "sam3.safetensors"
    save_file(without_complex(random_state(small["image"])), path)
    raw = read_checkpoint(path)
    read, calls = raw.reader.tensor, []

    def failing(name):
        calls.append(name)
        if len(calls) == 500:
            raise CheckpointFormatError("disk gone")
        return read(name)

    monkeypatch.setattr(raw.reader, "tensor", failing)
    with pytest.raises(CheckpointFormatError, match="disk gone"):
        load_image_weights(image_model, raw)
    assert len(calls) == 500
    assert all(tensor.is_meta for tensor in image_model.state_dict().values())


def test_tables_of_another_resolution_are_left_to_the_model(
    tmp_path, small, random_state, image_model
):
    state = random_state(small["image"])
    name = "backbone.vision_backbone.trunk.blocks.7.attn.freqs_cis"
    state[name] = torch.zeros(5, 32, dtype=torch.complex64)
    path = tmp_path / "sam3.pt"
    torch.save(state, path)
    report = load_image_weights(image_model, path)
    assert report.computed == (name,) and image_model.get_buffer(name).is_meta


def test_not_finite_weights_are_reported(tmp_path, small, random_state, image_model, caplog):
    state = random_state(small["image"])
    state["transformer.decoder.norm.weight"][1] = float("nan")
    state["transformer.decoder.norm.bias"][0] = float("inf")
    path = tmp_path / "sam3.pt"
    torch.save(state, path)
    report = load_image_weights(image_model, path)
    assert set(report.non_finite) == {
        "transformer.decoder.norm.weight",
        "transformer.decoder.norm.bias",
    }
    assert "NaN" in caplog.text


def test_file_replaced_while_reading_is_noticed(tmp_path, small, random_state, image_model):
    path = tmp_path / "sam3.safetensors"
    save_file(without_complex(random_state(small["image"])), path)
    raw = read_checkpoint(path)
    save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(CheckpointFormatError, match="replaced"):
        load_image_weights(image_model, raw)


def test_mapped_tensors_do_not_write_through(tmp_path, small, random_state, image_model):
    path = tmp_path / "sam3.safetensors"
    save_file(without_complex(random_state(small["image"])), path)
    before = path.read_bytes()
    load_image_weights(image_model, path, copy=False)
    with torch.no_grad():
        for parameter in image_model.parameters():
            parameter.add_(1.0)
    assert path.read_bytes() == before
