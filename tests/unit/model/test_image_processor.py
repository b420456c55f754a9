"""The processor: state keys, prompts, thresholds, chunked masks, errors."""

from __future__ import annotations

import threading

import numpy as np
import PIL.Image
import pytest
import torch

from sam3.config import presets
from sam3.errors import InputError
from sam3.model import grounding_results as results
from sam3.model.sam3_image_processor import Sam3Processor
from sam3.model_builder import build_sam3_image_model

H, W = 45, 60


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return build_sam3_image_model(config=presets.SAM3_TINY, load_from_HF=False, device="cpu")


@pytest.fixture
def processor(model):
    return Sam3Processor(model, confidence_threshold=0.0)


@pytest.fixture(scope="module")
def picture():
    rng = np.random.default_rng(0)
    return PIL.Image.fromarray(rng.integers(0, 256, (H, W, 3), dtype=np.uint8))


def test_text_prompt_fills_the_state(processor, picture):
    state = processor.set_image(picture)
    assert (state["original_height"], state["original_width"]) == (H, W)
    assert processor.set_text_prompt("red circle", state) is state
    n = presets.SAM3_TINY.decoder.num_queries
    assert (
        state["masks_logits"].shape == (n, 1, H, W) and state["masks_logits"].dtype == torch.float32
    )
    assert 0 <= state["masks_logits"].min() and state["masks_logits"].max() <= 1
    assert torch.equal(state["masks"], state["masks_logits"] > 0.5)
    assert state["boxes"].shape == (n, 4) and state["scores"].shape == (n,)
    assert "geometric_prompt" in state
    out = state["grounding_outputs"]
    joint = out["pred_logits"].sigmoid()[0, :, 0] * out["presence_logit_dec"].sigmoid()[0]
    torch.testing.assert_close(state["scores"], joint)
    assert state["best_score"] == pytest.approx(float(joint.max()))


def test_nothing_found_gives_empty_tensors(processor, picture):
    state = processor.set_text_prompt("red circle", processor.set_image(picture))
    processor.set_confidence_threshold(1.0, state)
    assert state["boxes"].shape == (0, 4) and state["scores"].shape == (0,)
    assert state["masks"].shape == state["masks_logits"].shape == (0, 1, H, W)
    assert 0 < state["best_score"] < 1


def test_threshold_is_strict_and_reversible(processor, picture):
    state = processor.set_text_prompt("red circle", processor.set_image(picture))
    scores = state["scores"].clone()
    level = float(scores.sort().values[5])
    processor.set_confidence_threshold(level, state)
    assert len(state["scores"]) == int((scores > level).sum())
    processor.set_confidence_threshold(0.0, state)
    assert torch.equal(state["scores"], scores)
    assert processor.set_confidence_threshold(0.5) is None


def test_boxes_add_up_and_reset_keeps_the_picture(processor, picture):
    state = processor.set_image(picture)
    first = processor.add_geometric_prompt([0.5, 0.5, 0.2, 0.2], True, state)["scores"].clone()
    second = processor.add_geometric_prompt([0.2, 0.2, 0.1, 0.1], False, state)["scores"]
    assert state["geometric_prompt"].box_embeddings.shape == (2, 1, 4)
    assert not torch.allclose(first, second)
    assert processor.reset_all_prompts(state) is None
    left = set(state) | set(state["backbone_out"])
    assert not left & {
        "geometric_prompt",
        "masks",
        "masks_logits",
        "boxes",
        "scores",
        "language_features",
    }
    again = processor.add_geometric_prompt([0.5, 0.5, 0.2, 0.2], True, state)["scores"]
    assert torch.equal(first, again)


def test_points_and_masks_are_prompts(processor, picture):
    state = processor.set_text_prompt("star", processor.set_image(picture))
    text_only = state["scores"].clone()
    processor.add_point_prompt([0.25, 0.5], True, state)
    assert state["geometric_prompt"].point_embeddings.shape == (1, 1, 2)
    with_point = state["scores"].clone()
    assert not torch.allclose(text_only, with_point)
    mask = np.zeros((H, W), bool)
    mask[9:18, 30:42] = True
    processor.add_mask_prompt(mask, True, state)
    box = state["geometric_prompt"].box_embeddings[0, 0]
    torch.testing.assert_close(box, torch.tensor([36 / W, 13.5 / H, 12 / W, 9 / H]))


def test_phrases_share_the_picture_and_equal_single_prompts(processor, picture, model):
    calls = []
    handle = model.backbone.vision_backbone.register_forward_hook(lambda *_: calls.append(1))
    state = processor.set_image(picture)
    found = processor.segment_phrases(["red circle", "a blue star", "square"], state)
    handle.remove()
    assert len(calls) == 1
    assert "masks" not in state
    for result in found:
        single = processor.set_text_prompt(result["phrase"], processor.set_image(picture))
        torch.testing.assert_close(result["scores"], single["scores"], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(result["boxes"], single["boxes"], atol=1e-2, rtol=1e-4)
        assert (result["masks"] != single["masks"]).float().mean() < 1e-3


def test_phrases_use_the_boxes_of_the_state(processor, picture):
    state = processor.set_text_prompt("star", processor.set_image(picture))
    processor.add_geometric_prompt([0.5, 0.5, 0.2, 0.2], True, state)
    collected = processor.set_image(picture)
    processor.add_geometric_prompt([0.5, 0.5, 0.2, 0.2], True, collected, run=False)
    assert "scores" not in collected
    assert torch.equal(processor.set_text_prompt("star", collected)["scores"], state["scores"])
    found = processor.segment_phrases(["circle", "star"], state)
    torch.testing.assert_close(found[1]["scores"], state["scores"], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "make",
    [
        lambda p: p,
        lambda p: np.asarray(p),
        lambda p: torch.from_numpy(np.asarray(p).copy()).permute(2, 0, 1),
        lambda p: np.asarray(p)[:, ::-1][:, ::-1],
        lambda p: np.concatenate([np.asarray(p), np.full((H, W, 1), 9, np.uint8)], axis=-1),
        lambda p: p.convert("RGBA"),
    ],
    ids=["pil", "hwc", "chw", "negative strides", "rgba array", "rgba pil"],
)
def test_pictures_of_any_kind_are_the_same(make, processor, picture):
    expected = processor.set_image(picture)
    state = processor.set_image(make(picture))
    assert (state["original_height"], state["original_width"]) == (H, W)
    a, b = (s["backbone_out"]["backbone_fpn"][-1] for s in (expected, state))
    assert torch.equal(a, b)


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "1", "I;16", "LA"])
def test_odd_modes_are_converted(mode, processor, picture):
    odd = picture.convert("L").convert("I;16") if mode == "I;16" else picture.convert(mode)
    assert processor.set_image(odd)["original_height"] == H


def test_one_pixel_and_long_pictures(processor):
    for size in ((1, 1), (1, 200), (3000, 2)):
        state = processor.set_image(PIL.Image.new("RGB", size, "red"))
        processor.set_text_prompt("circle", state)
        assert state["masks"].shape[-2:] == (size[1], size[0])


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("photo.jpg", "cannot read a picture from str"),
        (np.zeros((9, 5, 7), np.uint8), "H, W, C"),
        (torch.zeros(3, 0, 5), r"\[C, H, W\]"),
        (torch.full((3, 4, 4), float("nan")), "finite"),
        (torch.full((3, 4, 4), 2.0), "0, 1"),
        (np.zeros((4, 4, 3), np.int32), "uint8 or float"),
        (PIL.Image.new("RGB", (0, 4)), "no pixels"),
    ],
)
def test_bad_pictures(bad, message, processor):
    with pytest.raises(InputError, match=message):
        processor.set_image(bad)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p, s: p.set_text_prompt("x", {}), "set_image"),
        (lambda p, s: p.add_geometric_prompt([0.5] * 4, True, {}), "set_image"),
        (lambda p, s: p.set_text_prompt(None, s), "string"),
        (lambda p, s: p.add_geometric_prompt([0.5, 0.5, 0.1], True, s), "4 finite numbers"),
        (lambda p, s: p.add_geometric_prompt([0.5, 0.5, float("nan"), 1], True, s), "finite"),
        (lambda p, s: p.add_geometric_prompt([0.5, 0.5, -0.1, 1], True, s), "at least 0"),
        (lambda p, s: p.add_point_prompt([1.5, 0.5], True, s), "outside"),
        (lambda p, s: p.add_mask_prompt(np.zeros((3, 3)), True, s), "picture's size"),
        (lambda p, s: p.add_mask_prompt(np.zeros((H, W)), True, s), "empty"),
        (lambda p, s: p.segment_phrases([], s), "non-empty list"),
        (lambda p, s: p.segment_phrases("cat", s), "non-empty list"),
        (lambda p, s: p.set_confidence_threshold(1.5, s), "0 to 1"),
        (lambda p, s: p.set_image_batch([]), "non-empty"),
    ],
)
def test_bad_calls_leave_the_state_usable(call, message, processor, picture):
    state = processor.set_image(picture)
    keys = set(state)
    with pytest.raises(InputError, match=message):
        call(processor, state)
    assert set(state) == keys
    assert len(processor.set_text_prompt("circle", state)["scores"])


def test_batch_state_refuses_single_prompts(processor, picture):
    state = processor.set_image_batch([picture, picture.resize((30, 20))])
    assert state["original_heights"] == [H, 20] and state["original_widths"] == [W, 30]
    assert state["backbone_out"]["backbone_fpn"][-1].shape[0] == 2
    with pytest.raises(InputError, match="batch"):
        processor.set_text_prompt("circle", state)


def test_missing_point_weights_are_named(processor, picture, monkeypatch):
    monkeypatch.setattr(processor.model, "supports_points", False)
    with pytest.raises(InputError, match="Hugging Face"):
        processor.add_point_prompt([0.5, 0.5], True, processor.set_image(picture))


def test_text_features_are_encoded_once_and_follow_the_weights(processor, picture, model):
    encoder = model.backbone.language_backbone.encoder
    calls = []
    handle = encoder.register_forward_hook(lambda *_: calls.append(1))
    state = processor.set_image(picture)
    first = processor.set_text_prompt("never seen before", state)["scores"].clone()
    processor.set_text_prompt("never seen before", state)
    processor.segment_phrases(["never seen before"], state)
    assert len(calls) == 1
    with torch.no_grad():
        model.backbone.language_backbone.resizer.bias.add_(1.0)
    changed = processor.set_text_prompt("never seen before", state)["scores"].clone()
    with torch.no_grad():
        model.backbone.language_backbone.resizer.bias.sub_(1.0)
    handle.remove()
    assert len(calls) == 2
    assert not torch.allclose(first, changed)


def test_states_do_not_mix_between_threads(model, picture):
    processor = Sam3Processor(model, confidence_threshold=0.0)
    other = picture.rotate(90, expand=True)
    jobs = [(p, t) for p in (picture, other) for t in ("red circle", "blue star")] * 3
    expected = [_scores(processor, *job) for job in jobs]
    found: dict[int, torch.Tensor] = {}
    threads = [
        threading.Thread(target=lambda i=i, j=j: found.__setitem__(i, _scores(processor, *j)))
        for i, j in enumerate(jobs)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, scores in enumerate(expected):
        assert torch.equal(found[i], scores)


def _scores(processor, picture, phrase):
    return processor.set_text_prompt(phrase, processor.set_image(picture))["scores"].clone()


# ---- full-size masks -----------------------------------------------------------------------


def _large_state(n: int, height: int, width: int) -> results.Sam3State:
    state = results.Sam3State(original_height=height, original_width=width)
    logits = torch.randn(n, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    found = {
        "scores": torch.ones(n),
        "boxes": torch.zeros(n, 4),
        results.LOW_RES: logits,
        "best_score": 1.0,
    }
    results.store(state, found)
    return state


def test_large_masks_are_made_when_read(monkeypatch):
    monkeypatch.setattr(results, "EAGER_BYTES", 1000)
    monkeypatch.setattr(results, "CHUNK_BYTES", 4 * 50 * 40 * 3)
    lazy = _large_state(7, 50, 40)
    assert not dict.__contains__(lazy, "masks")
    assert "masks" in lazy and "masks_logits" in set(lazy) and len(lazy) == len(list(lazy))
    monkeypatch.setattr(results, "EAGER_BYTES", 10**9)
    eager = _large_state(7, 50, 40)
    assert torch.equal(lazy["masks"], eager["masks"])
    assert torch.equal(lazy.get("masks_logits"), eager["masks_logits"])
    assert sorted(dict(lazy.items())) == sorted(eager)
    assert torch.equal(torch.stack(list(results.iter_masks(lazy))), eager["masks"][:, 0])
    assert torch.equal(results.union_mask(lazy), eager["masks"].any(0)[0])
    with pytest.raises(KeyError):
        lazy["nothing"]


def test_masks_of_4k_pictures_stay_small(monkeypatch):
    """200 masks on a 4K picture: nothing at full size but chunks."""
    seen = []
    original = torch.nn.functional.interpolate

    def watch(*args, **kwargs):
        out = original(*args, **kwargs)
        seen.append(out.nbytes)
        return out

    monkeypatch.setattr(results.F, "interpolate", watch)
    state = _large_state(200, 2160, 3840)
    assert not seen  # nothing is made before it is read
    next(results.iter_masks(state))
    few = dict(dict.items(state)) | {results.LOW_RES: dict.__getitem__(state, results.LOW_RES)[:3]}
    union = results.union_mask(few)
    assert union.shape == (2160, 3840)
    assert max(seen) <= 64 * 2**20
