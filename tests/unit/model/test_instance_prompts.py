"""Clicks on a picture that the processor has encoded: text first, then points and boxes."""

from __future__ import annotations

import threading

import numpy as np
import PIL.Image
import pytest
import torch

from sam3.config import presets
from sam3.errors import InputError, SessionError
from sam3.model.sam3_image_processor import Sam3Processor
from sam3.model_builder import build_sam3_image_model

SIDE = presets.SAM3_TINY.vision.img_size
GRID = presets.SAM3_TINY.vision.grid
POINT = {"point_coords": [[10, 20]], "point_labels": [1]}


def build(**options):
    torch.manual_seed(0)
    options = {"enable_inst_interactivity": True} | options
    return build_sam3_image_model(
        config=presets.SAM3_TINY, load_from_HF=False, device="cpu", **options
    )


@pytest.fixture(scope="module")
def model():
    return build()


@pytest.fixture(scope="module")
def processor(model):
    return Sam3Processor(model, confidence_threshold=0.0)


def random_picture(seed: int, height: int = SIDE, width: int = SIDE) -> PIL.Image.Image:
    rng = np.random.default_rng(seed)
    return PIL.Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def same(a, b, atol=1e-4):
    for x, y in zip(a, b, strict=True):
        np.testing.assert_allclose(x, y, atol=atol)


def test_state_holds_projected_levels(processor):
    state = processor.set_image(random_picture(0))
    levels = state["backbone_out"]["sam2_backbone_out"]["backbone_fpn"]
    d = presets.SAM3_TINY.d_model
    assert [tuple(f.shape) for f in levels] == [
        (1, d // 8, 4 * GRID, 4 * GRID),
        (1, d // 4, 2 * GRID, 2 * GRID),
        (1, d, GRID, GRID),
    ]


def test_text_first_then_clicks_without_encoding_again(processor, model):
    calls = []
    trunk = model.backbone.vision_backbone.trunk
    handle = trunk.register_forward_hook(lambda *_: calls.append(1))
    state = processor.set_image(random_picture(0, 40, 60))
    scores = processor.set_text_prompt("red circle", state)["scores"].clone()
    keys = set(state)
    masks, ious, low = model.predict_inst(state, **POINT)
    refined = model.predict_inst(
        state, **POINT, mask_input=low[ious.argmax()][None], multimask_output=False
    )
    handle.remove()
    assert len(calls) == 1
    assert masks.shape == (3, 40, 60) and ious.shape == (3,) and refined[0].shape == (1, 40, 60)
    assert set(state) == keys and torch.equal(state["scores"], scores)
    assert torch.equal(processor.set_text_prompt("red circle", state)["scores"], scores)


def test_clicks_do_not_depend_on_the_text(processor, model):
    state = processor.set_image(random_picture(0))
    before = model.predict_inst(state, **POINT)
    processor.set_text_prompt("blue star", state)
    same(before, model.predict_inst(state, **POINT))


def test_equals_the_predictor_with_an_encoder_of_its_own(processor, model):
    """Both ways of encoding a picture of the model's own size give the same masks."""
    predictor = model.inst_interactive_predictor
    predictor.model.backbone = model.backbone
    try:
        predictor.set_image(random_picture(0))
        expected = predictor.predict(box=[5, 5, 100, 90], return_logits=True)
    finally:
        del predictor.model.backbone
        predictor.model.backbone = None
        predictor.reset_predictor()
    state = processor.set_image(random_picture(0))
    same(expected, model.predict_inst(state, box=[5, 5, 100, 90], return_logits=True))


def test_batch_equals_single_pictures(processor, model):
    pictures = [random_picture(0, 40, 60), random_picture(1, 33, 21)]
    batch = processor.set_image_batch(pictures)
    masks, ious, low = model.predict_inst_batch(
        batch, [[[10, 20]], None], [[1], None], [None, [2, 2, 15, 25]], return_logits=True
    )
    assert [m.shape for m in masks] == [(3, 40, 60), (3, 33, 21)]
    prompts = (POINT, {"box": [2, 2, 15, 25]})
    for i, (picture, prompt) in enumerate(zip(pictures, prompts, strict=True)):
        alone = model.predict_inst(processor.set_image(picture), **prompt, return_logits=True)
        same([masks[i], ious[i], low[i]], alone)


def test_predictor_keeps_nothing(processor, model):
    model.predict_inst(processor.set_image(random_picture(0)), **POINT)
    with pytest.raises(SessionError, match="set_image"):
        model.inst_interactive_predictor.predict(**POINT)


def test_states_do_not_mix_between_threads(processor, model):
    states = [processor.set_image(random_picture(i, 30 + i, 40)) for i in range(4)]
    expected = [model.predict_inst(state, **POINT) for state in states]
    found = {}

    def work(i):
        found[i] = model.predict_inst(states[i], **POINT)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(4):
        same(found[i], expected[i])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m, s: m.predict_inst({}, **POINT), SessionError, "set_image"),
        (lambda m, s: m.predict_inst_batch({}), SessionError, "set_image"),
        (lambda m, s: m.predict_inst_batch(s, [[[1, 2]]], [[1]]), SessionError, "predict_inst"),
        (lambda m, s: m.predict_inst(s, [[SIDE + 1, 2]], [1]), InputError, "outside the picture"),
        (lambda m, s: m.predict_inst(s, [[1, 2]]), InputError, "point_labels"),
        (lambda m, s: m.predict_inst(s, box=[9, 9, 9, 20]), InputError, "empty"),
        (lambda m, s: m.predict_inst(s, mask_input=np.zeros((1, 9, 9))), InputError, "mask_input"),
    ],
)
def test_bad_calls_leave_the_state_usable(processor, model, call, error, message):
    state = processor.set_image(random_picture(0))
    before = model.predict_inst(state, **POINT)
    with pytest.raises(error, match=message):
        call(model, state)
    same(before, model.predict_inst(state, **POINT))


def test_batch_state_refuses_single_prompts(processor, model):
    state = processor.set_image_batch([random_picture(0), random_picture(1)])
    with pytest.raises(SessionError, match="predict_inst_batch"):
        model.predict_inst(state, **POINT)
    with pytest.raises(InputError, match="1 entries for 2 pictures"):
        model.predict_inst_batch(state, [[[1, 2]]], [[1]])


def test_model_without_a_predictor_says_how_to_get_one(processor, model):
    plain = build(enable_inst_interactivity=False)
    state = Sam3Processor(plain).set_image(random_picture(0))
    assert state["backbone_out"]["sam2_backbone_out"] is None
    with pytest.raises(SessionError, match="enable_inst_interactivity=True"):
        plain.predict_inst(state, **POINT)
    with pytest.raises(SessionError, match="encoded by a model without"):
        model.predict_inst(state, **POINT)


def test_half_precision_keeps_the_heads_in_float32():
    half = build(precision="bf16")
    dtypes = {p.dtype for p in half.inst_interactive_predictor.parameters()}
    assert dtypes == {torch.float32} and half.dtype == torch.bfloat16
    state = Sam3Processor(half).set_image(random_picture(0))
    logits = half.predict_inst(state, **POINT, return_logits=True)[0]
    full = build()
    exact = full.predict_inst(
        Sam3Processor(full).set_image(random_picture(0)), **POINT, return_logits=True
    )[0]
    assert np.isfinite(logits).all()
    assert np.abs(logits - exact).mean() < 0.05 * np.abs(exact).mean() + 0.05
