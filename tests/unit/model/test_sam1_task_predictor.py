"""The interactive predictor: forms of prompts, batches, order of calls, errors."""

from __future__ import annotations

import threading

import numpy as np
import PIL.Image
import pytest
import torch

from sam3.errors import InputError, SessionError, UnsupportedInputError
from sam3.model.sam1_task_predictor import SAM3InteractiveImagePredictor
from tests.support.interactive import DIM, GRID, small_heads

H, W, LOW = 45, 60, 4 * GRID


def random_picture(seed: int, height: int = H, width: int = W) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def predictor():
    return SAM3InteractiveImagePredictor(small_heads())


@pytest.fixture
def ready(predictor):
    predictor.set_image(random_picture(0))
    return predictor


def same(a, b):
    for x, y in zip(a, b, strict=True):
        np.testing.assert_allclose(x, y, atol=1e-5)


@pytest.mark.parametrize(("multimask", "count"), [(True, 3), (False, 1)])
@pytest.mark.parametrize(
    "prompt",
    [
        {},
        {"point_coords": [[10, 20]], "point_labels": [1]},
        {"box": [5, 5, 40, 30]},
        {"mask_input": np.zeros((1, LOW, LOW), np.float32)},
    ],
    ids=["nothing", "point", "box", "mask"],
)
def test_shapes_of_one_object(ready, prompt, multimask, count):
    masks, ious, low = ready.predict(**prompt, multimask_output=multimask)
    assert masks.shape == (count, H, W) and ious.shape == (count,)
    assert low.shape == (count, LOW, LOW)
    assert masks.dtype == ious.dtype == low.dtype == np.float32
    assert set(np.unique(masks)) <= {0.0, 1.0}
    assert np.abs(low).max() <= 32


def test_logits_are_the_masks_before_the_threshold(ready):
    prompt = {"point_coords": [[10, 20]], "point_labels": [1]}
    logits = ready.predict(**prompt, return_logits=True)[0]
    assert np.array_equal(ready.predict(**prompt)[0], (logits > 0).astype(np.float32))


def test_several_objects_equal_one_after_the_other(ready):
    boxes = np.array([[5, 5, 40, 30], [1, 2, 59, 44], [20, 0, 30, 45]])
    points = np.array([[[10, 20]], [[3, 4]], [[25, 25]]])
    labels = np.array([[1], [0], [1]])
    together = ready.predict(points, labels, boxes)
    assert together[0].shape == (3, 3, H, W) and together[1].shape == (3, 3)
    for i in range(3):
        same([part[i] for part in together], ready.predict(points[i], labels[i], boxes[i]))


def test_pixels_and_fractions_mean_the_same(ready):
    points = np.array([[15.0, 9.0], [45.0, 36.0]])
    fractions = points / [W, H]
    same(
        ready.predict(points, [1, 0], [6, 9, 30, 45]),
        ready.predict(fractions, [1, 0], [0.1, 0.2, 0.5, 1.0], normalize_coords=False),
    )


def test_an_earlier_mask_changes_the_answer(ready):
    first = ready.predict([[10, 20]], [1])
    again = ready.predict([[10, 20]], [1], mask_input=first[2][:1])
    assert not np.allclose(first[2], again[2])


def test_batch_equals_single_pictures(predictor):
    pictures = [random_picture(0), PIL.Image.fromarray(random_picture(1, 30, 20))]
    points, labels = [[[10, 20]], None], [[1], None]
    boxes = [None, [2, 2, 15, 25]]
    predictor.set_image_batch(pictures)
    together = predictor.predict_batch(points, labels, boxes)
    assert [m.shape for m in together[0]] == [(3, H, W), (3, 30, 20)]
    for i, picture in enumerate(pictures):
        predictor.set_image(picture)
        alone = predictor.predict(points[i], labels[i], boxes[i])
        same([part[i] for part in together], alone)


def test_features_are_handed_out(ready):
    assert ready.get_image_embedding().shape == (1, DIM, GRID, GRID)
    assert [f.shape[-1] for f in ready._features["high_res_feats"]] == [4 * GRID, 2 * GRID]
    assert ready._orig_hw == [(H, W)]
    assert ready.device == torch.device("cpu") and ready.mask_threshold == 0.0


def test_weights_live_under_the_name_model(predictor):
    assert all(name.startswith("model.") for name in predictor.state_dict())


ORDER = [
    (lambda p: p.predict([[1, 2]], [1]), "set_image"),
    (lambda p: p.predict_batch([[[1, 2]]], [[1]]), "set_image"),
    (lambda p: p.get_image_embedding(), "set_image"),
]


@pytest.mark.parametrize(("call", "message"), ORDER)
def test_before_a_picture(predictor, call, message):
    with pytest.raises(SessionError, match=message):
        call(predictor)
    assert predictor._features is None and predictor._orig_hw is None


@pytest.mark.parametrize(("call", "message"), ORDER)
def test_after_reset(ready, call, message):
    ready.reset_predictor()
    with pytest.raises(SessionError, match=message):
        call(ready)


BAD = [
    (lambda p: p.predict([[W + 1, 2]], [1]), InputError, "outside the picture"),
    (lambda p: p.predict([[2, 2]], [1], normalize_coords=False), InputError, "0 to 1 for x"),
    (lambda p: p.predict([[1, 2]]), InputError, "point_labels is missing"),
    (lambda p: p.predict(box=[5, 5, 5, 9]), InputError, "empty"),
    (lambda p: p.predict(mask_input=np.zeros((1, H, W))), InputError, "mask_input"),
    (lambda p: p.predict_batch([[[1, 2]]], [[1]]), SessionError, "set_image_batch"),
    (lambda p: p.set_image("photo.png"), UnsupportedInputError, "str"),
    (lambda p: p.set_image(torch.zeros(3, 4, 4)), UnsupportedInputError, "Tensor"),
    (lambda p: p.set_image(np.zeros((4, 0, 3), np.uint8)), InputError, "picture"),
    (lambda p: p.set_image(np.full((4, 4, 3), 2.0)), InputError, "0, 1"),
    (lambda p: p.set_image_batch([]), InputError, "non-empty list"),
    (lambda p: p.set_image_batch(random_picture(0)), InputError, "list"),
    (lambda p: p.set_image_batch([random_picture(0), "x"]), UnsupportedInputError, "str"),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_bad_calls_leave_the_picture_as_it_was(ready, call, error, message):
    before = ready.predict([[10, 20]], [1])
    with pytest.raises(error, match=message):
        call(ready)
    same(ready.predict([[10, 20]], [1]), before)


def test_batch_and_single_calls_do_not_mix(predictor):
    predictor.set_image_batch([random_picture(0), random_picture(1)])
    with pytest.raises(SessionError, match="predict_batch"):
        predictor.predict([[1, 2]], [1])
    with pytest.raises(InputError, match="point_coords_batch has 1 entries for 2 pictures"):
        predictor.predict_batch([[[1, 2]]], [[1]])
    assert len(predictor.predict_batch(box_batch=[[1, 2, 9, 9]] * 2)[0]) == 2


def test_heads_without_an_encoder_say_so():
    predictor = SAM3InteractiveImagePredictor(small_heads(with_backbone=False))
    with pytest.raises(SessionError, match="predict_inst"):
        predictor.set_image(random_picture(0))
    with pytest.raises(SessionError, match="no image encoder"):
        predictor.model.forward_image(torch.zeros(1, 3, 96, 96))


def test_threads_on_their_own_pictures_do_not_mix(predictor):
    """One predictor, several encoded pictures: predict_on keeps nothing."""
    pictures = [random_picture(i, 30 + i, 40) for i in range(4)]
    encoded, expected, found = [], [], {}
    for picture in pictures:
        predictor.set_image(picture)
        encoded.append(predictor._images)
        expected.append(predictor.predict([[10, 20]], [1]))

    def work(i):
        found[i] = predictor.predict_on(encoded[i], [[10, 20]], [1])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(4):
        same(found[i], expected[i])


def test_half_precision_features_serve_float32_heads(ready):
    images = ready._images
    half = {"backbone_fpn": [f.bfloat16() for f in (*images.high_res_feats, images.image_embed)]}
    encoded = ready.encoded_images(half, images.orig_hw)
    assert encoded.image_embed.dtype == torch.float32
    assert ready.predict_on(encoded, [[10, 20]], [1])[0].dtype == np.float32
