"""Evaluation of two phrases on one video."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sam3.errors import InputError
from sam3.model.data_misc import BatchedDatapoint, BatchedInferenceMetadata, FindStage
from sam3.perflib.rle import decode_rle
from tests.support.video import scripted_model


def batch(frames=6):
    number = torch.tensor([[48, 64], [48, 64]])
    ids = torch.tensor([7, 7])
    metadata = BatchedInferenceMetadata(
        coco_image_id=ids,
        original_image_id=ids,
        original_category_id=torch.tensor([3, 4]),
        original_size=number,
        object_id=ids,
        frame_index=ids,
        is_conditioning_only=[None, None],
    )
    stage = FindStage.for_texts(torch.tensor([0, 0]), torch.tensor([1, 0]))
    return BatchedDatapoint(
        img_batch=torch.zeros(frames, 3, 28, 28),
        find_text_batch=["other", "thing"],
        find_inputs=[stage] * frames,
        find_targets=[],
        find_metadatas=[metadata] * frames,
    )


def test_phrases_follow_each_other():
    model = scripted_model(hotstart_delay=0, hotstart_unmatch_thresh=0, hotstart_dup_thresh=0)
    found = model(batch())[7]
    assert [c[1][0] for c in model.detector.calls if c[0] == "text"] == ["thing", "other"]
    half = len(found["scores"]) // 2
    assert half == 4 and found["labels"].tolist() == [3] * half + [4] * half
    np.testing.assert_array_equal(found["scores"][:half], found["scores"][half:])
    assert found["boxes"].shape == (2 * half, 6, 4) and found["per_frame_scores"].shape == (8, 6)
    late = found["masks_rle"][3]  # begins on frame 4
    assert late[:4] == [None] * 4 and decode_rle(late[5]).shape == (48, 64)
    assert decode_rle(late[5]).any() and not found["boxes"][3, 0].any()


def test_a_batch_without_metadata():
    empty = batch()
    empty.find_metadatas = []
    with pytest.raises(InputError, match="metadata"):
        scripted_model()(empty)
