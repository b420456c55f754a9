"""The released-size model with formula-made weights against numbers of the reference.

Builds 860 M parameters (3.4 GB) and runs nine prompts on the CPU: minutes. Run it with

    python -m pytest -m golden_full tests/full
"""

from __future__ import annotations

import json

import numpy as np
import PIL.Image
import pytest
import torch

from sam3.model.data_misc import FindStage
from sam3.model.geometry_encoders import Prompt
from sam3.model.sam3_image_processor import Sam3Processor
from sam3.model_builder import build_sam3_image_model
from tests.support import golden
from tests.support.fill import fill_state

pytestmark = pytest.mark.golden_full

TRUNK = "backbone.vision_backbone.trunk"
NECK = "backbone.vision_backbone.convs"
TEXT = "backbone.language_backbone.encoder"
BACKBONE_TOL, TEXT_TOL, ENCODER_TOL, DECODER_TOL, MASK_TOL = 1e-4, 1e-4, 1e-4, 3e-4, 1e-3

# golden name -> (module, how to pick the tensor from its output, tolerance)
STAGES = {
    "text.transformer.resblocks.0": (f"{TEXT}.transformer.resblocks.0", None, TEXT_TOL),
    "text.transformer.resblocks.23": (f"{TEXT}.transformer.resblocks.23", None, TEXT_TOL),
    "text.ln_final": (f"{TEXT}.ln_final", None, TEXT_TOL),
    "geo.feats": ("geometry_encoder", 0, ENCODER_TOL),
    "geo.mask": ("geometry_encoder", 1, 0.0),
    **{
        f"encoder.layers.{i}": (f"transformer.encoder.layers.{i}", None, ENCODER_TOL)
        for i in range(6)
    },
    "decoder.ref_boxes": ("transformer.decoder", 1, DECODER_TOL),
    "decoder.presence_logits": ("transformer.decoder", 2, DECODER_TOL),
    "decoder.presence_feats": ("transformer.decoder", 3, DECODER_TOL),
    "decoder.rpb_x_last": ("transformer.decoder.boxRPB_embed_x", None, DECODER_TOL),
    "decoder.rpb_y_last": ("transformer.decoder.boxRPB_embed_y", None, DECODER_TOL),
    "scoring.all_layers": ("dot_prod_scoring", None, DECODER_TOL),
    "seg.cross_attend_prompt": ("segmentation_head.cross_attend_prompt", 0, MASK_TOL),
    "seg.pixel_decoder": ("segmentation_head.pixel_decoder", None, MASK_TOL),
}
POSITIVE_BOX = [0.3125, 0.375, 0.25, 0.3333]
NEGATIVE_BOX = [0.75, 0.75, 0.34, 0.33]


@pytest.fixture(scope="module")
def model():
    model = build_sam3_image_model(load_from_HF=False, device="cpu", enable_inst_interactivity=True)
    fill_state(model.state_dict(), seed=0)
    return model


@pytest.fixture(scope="module")
def processor(model):
    return Sam3Processor(model)


@pytest.fixture(scope="module")
def encoded(processor):
    """State after set_image, what the backbone's modules returned, and the preprocessed pixels."""
    names = [f"{TRUNK}.patch_embed", f"{TRUNK}.ln_pre", *(f"{NECK}.{i}" for i in range(4))]
    names += [f"{TRUNK}.blocks.{i}" for i in (0, 1, 7, 15, 23, 31)]
    pixels = []
    handle = processor.model.backbone.vision_backbone.trunk.register_forward_pre_hook(
        lambda _m, args: pixels.append(args[0])
    )
    with golden.record(processor.model, names) as seen:
        state = processor.set_image(PIL.Image.open(golden.FOLDER / "image" / "input.png"))
    handle.remove()
    return state, seen, pixels[0]


def _fresh(state):
    """A state with the same encoded picture and no prompts."""
    return dict(state) | {"backbone_out": dict(state["backbone_out"])}


def test_backbone(encoded):
    state, seen, pixels = encoded
    gold = golden.load("image/backbone.npz")
    golden.assert_matches(gold, "pixels", pixels[0], 0.0)
    for name, value in seen.items():
        key = name.removeprefix("backbone.vision_backbone.").replace("convs", "neck.convs")
        golden.assert_matches(gold, key, value, BACKBONE_TOL)
    for i in range(3):
        golden.assert_matches(
            gold, f"pos.{i}", state["backbone_out"]["vision_pos_enc"][i][:1], 1e-6
        )
        second = state["backbone_out"]["sam2_backbone_out"]["backbone_fpn"]
        golden.assert_matches(gold, f"sam2.fpn.{i}", second[i], BACKBONE_TOL)


POINTS = {"point_coords": [[200, 180], [300, 300]], "point_labels": [1, 0]}
BOX = {"box": [400, 60, 560, 200], "multimask_output": False}


@pytest.mark.parametrize(
    ("case", "prompt"),
    [
        ("pts_multi", POINTS),
        ("pts_single", POINTS | {"multimask_output": False}),
        ("box_single", BOX),
        ("pts_mask", POINTS | {"multimask_output": False}),
    ],
)
def test_interactive_prompts(case, prompt, model, encoded):
    gold = golden.load("image/inst.npz")
    if case == "pts_mask":
        prompt = prompt | {"mask_input": model.predict_inst(encoded[0], **BOX)[2]}
    masks, ious, low = model.predict_inst(encoded[0], **prompt)
    np.testing.assert_allclose(ious, gold[f"{case}.iou"], rtol=0, atol=1e-4)
    stats = gold[f"{case}.low.stats"]
    peak = max(abs(stats[3]), abs(stats[4]))
    np.testing.assert_allclose(low[:, ::12, ::12], gold[f"{case}.low"], atol=MASK_TOL * peak)
    found = np.array([low.mean(), low.std(), np.sqrt((low**2).sum()), low.min(), low.max()])
    np.testing.assert_allclose(found, stats, rtol=MASK_TOL, atol=MASK_TOL * peak)
    if f"{case}.masks.bits" not in gold:
        return
    assert masks.shape == tuple(gold[f"{case}.masks.shape"])
    expected = np.unpackbits(gold[f"{case}.masks.bits"])[: masks.size].astype(bool)
    assert ((masks.ravel() > 0) != expected).mean() <= 1e-3
    logits = model.predict_inst(encoded[0], **prompt, return_logits=True)[0][:, ::24, ::24]
    golden.assert_matches(gold, f"{case}.logits", logits, MASK_TOL)


def _prompted(processor, state, name):
    if name == "text0":
        return processor.set_text_prompt("red circle", state)
    if name == "text1":
        return processor.set_text_prompt("the quick brown fox", state)
    state = processor.add_geometric_prompt(POSITIVE_BOX, True, state)
    return processor.add_geometric_prompt(NEGATIVE_BOX, False, state)


@pytest.mark.parametrize("name", ["text0", "text1", "boxes_visual"])
def test_prompt(name, processor, encoded, model):
    gold = golden.load(f"image/{name}.npz")
    outputs = []
    original, model.forward_grounding = model.forward_grounding, None
    model.forward_grounding = lambda *a, **k: outputs.append(original(*a, **k)) or outputs[-1]
    try:
        with golden.record(model, sorted({m for m, _, _ in STAGES.values()})) as seen:
            state = _prompted(processor, _fresh(encoded[0]), name)
    finally:
        del model.forward_grounding
    for key in ("language_features", "language_mask", "language_embeds"):
        golden.assert_matches(gold, key, state["backbone_out"][key], TEXT_TOL)
    for key, (module, part, tolerance) in STAGES.items():
        value = seen[module] if part is None else seen[module][part]
        golden.assert_matches(gold, key, value, tolerance)
    hs = seen["transformer.decoder"][0]
    golden.assert_matches(gold, "decoder.hs_last", hs[-1], DECODER_TOL)
    golden.assert_matches(gold, "decoder.hs", hs[:5], DECODER_TOL)
    _check_outputs(gold, outputs[-1])
    _check_state(gold, state, processor)


def _check_outputs(gold, out):
    for key, description in json.loads(str(gold["out.keys"])).items():
        assert key in out, key
        if isinstance(description, list):
            assert list(out[key].shape) == description, key
    for key in ("pred_logits", "pred_boxes", "pred_boxes_xyxy", "presence_logit_dec", "queries"):
        golden.assert_matches(gold, f"out.{key}", out[key], DECODER_TOL)
    for key in ("pred_masks", "semantic_seg"):
        golden.assert_matches(gold, f"out.{key}", out[key], MASK_TOL)
    masks = out["pred_masks"]
    golden.assert_matches(gold, "out.pred_masks.mean_per_query", masks.mean((2, 3)), MASK_TOL)
    golden.assert_matches(gold, "out.pred_masks.std_per_query", masks.std((2, 3)), MASK_TOL)


def _check_state(gold, state, processor):
    assert len(state["scores"]) == int(gold["state.num_keep"])
    np.testing.assert_allclose(state["boxes"], gold["state.boxes"], atol=0.05)
    np.testing.assert_allclose(state["scores"], gold["state.scores"], atol=1e-4)
    assert tuple(state["masks"].shape) == tuple(gold["state.masks.shape"])
    expected = np.unpackbits(gold["state.masks.first8_bits"])
    actual = state["masks"][:8].numpy().ravel()
    assert (actual != expected[: actual.size].astype(bool)).mean() <= 1e-3
    golden.assert_matches(gold, "state.masks_logits", state["masks_logits"][:8], MASK_TOL)
    processor.set_confidence_threshold(float(gold["thr.value"]), state)
    np.testing.assert_allclose(state["scores"], gold["thr.scores"], atol=1e-4)
    np.testing.assert_allclose(state["boxes"], gold["thr.boxes"], atol=0.05)
    processor.set_confidence_threshold(0.5)


def test_text_plus_box(processor, encoded):
    gold = golden.load("image/text_plus_box.npz")
    state = processor.set_text_prompt("red circle", _fresh(encoded[0]))
    state = processor.add_geometric_prompt(POSITIVE_BOX, True, state)
    out = state["grounding_outputs"]
    for key in ("pred_logits", "pred_boxes", "presence_logit_dec"):
        golden.assert_matches(gold, f"out.{key}", out[key], DECODER_TOL)
    for threshold, suffix in ((0.5, ""), (0.3, "_thr0.3")):
        processor.set_confidence_threshold(threshold, state)
        np.testing.assert_allclose(state["boxes"], gold[f"state.boxes{suffix}"], atol=0.05)
        np.testing.assert_allclose(state["scores"], gold[f"state.scores{suffix}"], atol=1e-4)
    processor.set_confidence_threshold(0.5)


@torch.inference_mode()
def test_batched_ragged_boxes(model, encoded):
    gold = golden.load("image/batched.npz")
    t = {k: torch.from_numpy(v) for k, v in gold.items() if k.startswith("in.")}
    features = dict(encoded[0]["backbone_out"])
    features |= model.backbone.forward_text(["red circle", "the quick brown fox"])
    stage = FindStage.for_texts(torch.tensor([0, 0]), torch.tensor([1, 0]))
    prompt = Prompt(
        box_embeddings=t["in.box_embeddings"],
        box_mask=t["in.box_mask"],
        box_labels=t["in.box_labels"],
    )
    with golden.record(model, ["geometry_encoder"]) as seen:
        out = model.forward_grounding(features, stage, None, prompt)
    golden.assert_matches(gold, "geo.feats", seen["geometry_encoder"][0], ENCODER_TOL)
    golden.assert_matches(gold, "geo.mask", seen["geometry_encoder"][1], 0.0)
    for key in ("pred_logits", "pred_boxes", "presence_logit_dec"):
        golden.assert_matches(gold, f"out.{key}", out[key], DECODER_TOL)
    golden.assert_matches(gold, "out.pred_masks", out["pred_masks"], MASK_TOL)
    golden.assert_matches(
        gold, "out.encoder_hidden_states", out["encoder_hidden_states"], ENCODER_TOL
    )


@torch.inference_mode()
@pytest.mark.parametrize("case", ["points_boxes", "points_only"])
def test_geometry(case, model, encoded):
    gold = golden.load("image/geometry.npz")
    t = {k: torch.from_numpy(v) for k, v in gold.items() if k.startswith("in.")}
    features = encoded[0]["backbone_out"]
    feats, pos = (
        features[k][-1].flatten(2).permute(2, 0, 1) for k in ("backbone_fpn", "vision_pos_enc")
    )
    boxes = {"box_embeddings": t["in.boxes"], "box_labels": t["in.box_labels"]}
    prompt = Prompt(
        point_embeddings=t["in.points"],
        point_labels=t["in.point_labels"],
        **(boxes if case == "points_boxes" else {}),
    )
    tokens, mask = model.geometry_encoder(prompt, [feats], [(72, 72)], [pos])
    golden.assert_matches(gold, f"{case}.feats", tokens, ENCODER_TOL)
    golden.assert_matches(gold, f"{case}.mask", mask, 0.0)


@torch.inference_mode()
def test_edge_texts(model):
    gold = golden.load("image/texts.npz")
    out = model.backbone.forward_text(json.loads(str(gold["strings"])))
    for key in ("language_mask", "language_features", "language_embeds"):
        golden.assert_matches(gold, key, out[key], TEXT_TOL)


def test_empty_result(processor, encoded):
    gold = golden.load("image/texts.npz")
    processor.set_confidence_threshold(1.0)
    state = processor.set_text_prompt("red circle", _fresh(encoded[0]))
    processor.set_confidence_threshold(0.5)
    for key, shape in json.loads(str(gold["empty.shapes"])).items():
        assert list(state[key].shape) == shape


@torch.inference_mode()
def test_box_relative_bias(model):
    gold = golden.load("image/tiny.npz")
    boxes = torch.from_numpy(gold["rpb.boxes"])
    for key in ("rpb.6x5", "rpb.72x72"):
        size = tuple(int(n) for n in key.removeprefix("rpb.").split("x"))
        bias = model.transformer.decoder.box_relative_bias(boxes, size)
        assert not bias[:, :, 0].any()
        golden.assert_matches(gold, key, bias[:, :, 1:], 1e-4)
