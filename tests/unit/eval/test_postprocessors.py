"""Post-processing of image outputs: scores, ids, sizes, limits and masks."""

from __future__ import annotations

import pytest
import torch
from pycocotools import mask as coco_mask

from sam3.errors import InputError
from sam3.eval.postprocessors import PostProcessImage, PostProcessNullOp
from sam3.eval.protocols import PostProcessor
from sam3.eval.rle import rle_decode, rle_encode
from sam3.model.outputs import SAM3Output
from tests.support.eval_batches import image_outputs, metadata


def test_scores_boxes_and_ids() -> None:
    outputs = image_outputs(2)
    meta = [metadata([8, 9], [3, 7])]
    results = PostProcessImage().process_results([outputs], meta)
    assert list(results) == [8, 9]
    assert "masks" not in results[8] and results[9]["labels"].tolist() == [1] * 4
    torch.testing.assert_close(results[8]["scores"], outputs["pred_logits"][0, :, 0].sigmoid())
    boxes = results[8]["boxes"]
    torch.testing.assert_close((boxes[:, :2] + boxes[:, 2:]) / 2, outputs["pred_boxes"][0, :, :2])

    original = PostProcessImage(use_original_ids=True, use_original_sizes_box=True)
    results = original.process_results([outputs], meta)
    assert list(results) == [108, 109]
    assert results[109]["labels"].tolist() == [7] * 4
    torch.testing.assert_close(
        results[108]["boxes"], boxes * torch.tensor([40.0, 20.0, 40.0, 20.0])
    )


def test_presence_and_threshold_are_strict() -> None:
    outputs = image_outputs(1) | {
        "pred_logits": torch.tensor([[[0.0], [2.0], [-2.0], [0.0]]]),
        "presence_logit_dec": torch.tensor([[0.0]]),
    }
    meta = [metadata([8], [3])]
    kept = PostProcessImage(detection_threshold=0.5).process_results([outputs], meta)[8]
    assert kept["scores"].tolist() == pytest.approx([0.880797])  # 0.5 itself is not above 0.5
    halved = PostProcessImage(use_presence=True, detection_threshold=0.3)
    assert halved.process_results([outputs], meta)[8]["scores"].tolist() == pytest.approx(
        [0.4403985]
    )
    none = PostProcessImage(detection_threshold=0.9, iou_type="segm").process_results(
        [outputs], meta
    )
    assert none[8]["boxes"].shape == (0, 4) and none[8]["masks"].shape == (0, 6, 8)


def test_prompts_about_one_picture_share_its_limit() -> None:
    outputs = image_outputs(3)
    meta = [metadata([8, 9, 8], [3, 3, 7])]
    limited = PostProcessImage(max_dets_per_img=5, use_original_ids=True, iou_type="segm")
    result = limited.process_results([outputs], meta)[108]
    scores = torch.cat([outputs["pred_logits"][i, :, 0] for i in (0, 2)]).sigmoid()
    order = scores.argsort(descending=True)[:5]
    torch.testing.assert_close(result["scores"], scores[order])
    assert result["labels"].tolist() == [[3, 7][int(i >= 4)] for i in order]
    masks = torch.cat([outputs["pred_masks"][i] for i in (0, 2)])[order] > 0
    assert torch.equal(result["masks"], masks)


@pytest.mark.parametrize("as_rle", [False, True])
def test_masks_at_the_size_of_the_picture(as_rle: bool) -> None:
    outputs = image_outputs(1)
    processor = PostProcessImage(
        iou_type="segm", use_original_sizes_mask=True, convert_mask_to_rle=as_rle
    )
    result = processor.process_results([outputs], [metadata([8], [3])])[8]
    wanted = torch.nn.functional.interpolate(
        outputs["pred_masks"], size=(20, 40), mode="bilinear", align_corners=False
    )[0]
    if as_rle:
        assert all(isinstance(rle["counts"], str) for rle in result["masks_rle"])
        masks = torch.stack([rle_decode(rle) for rle in result["masks_rle"]])
    else:
        masks = result["masks"]
    assert torch.equal(masks, wanted.sigmoid() > 0.5)


def test_stages_and_steps() -> None:
    first, last, other = (image_outputs(1, seed=s) for s in range(3))
    metas = [metadata([8], [3]), metadata([9], [3])]
    wanted = PostProcessImage().process_results([last, other], metas)
    for stages in ([[first, last], [other]], SAM3Output([[first, last], [other]])):
        results = PostProcessImage().process_results(stages, metas)
        for image_id in (8, 9):
            assert torch.equal(results[image_id]["scores"], wanted[image_id]["scores"])


def test_half_precision_gives_float_scores() -> None:
    outputs = {k: v.to(torch.bfloat16) for k, v in image_outputs(1).items()}
    processor = PostProcessImage(iou_type="segm", use_presence=True)
    result = processor.process_results([outputs], [metadata([8], [3])])[8]
    assert result["scores"].dtype == result["boxes"].dtype == torch.float32


def test_refusals() -> None:
    outputs, meta = image_outputs(1), [metadata([8], [3])]
    with pytest.raises(InputError, match="iou_type"):
        PostProcessImage(iou_type="points")
    with pytest.raises(InputError, match="1 stages of outputs, 2"):
        PostProcessImage().process_results([outputs], meta * 2)
    del outputs["presence_logit_dec"]
    with pytest.raises(InputError, match="presence_logit_dec"):
        PostProcessImage(use_presence=True).process_results([outputs], meta)
    del outputs["pred_masks"]
    with pytest.raises(InputError, match="enable_segmentation"):
        PostProcessImage(iou_type="segm").process_results([outputs], meta)


def test_null_op_hands_results_on() -> None:
    processor, results = PostProcessNullOp(), {3: {"scores": []}}
    assert isinstance(processor, PostProcessor)
    assert processor.process_results(results, []) is results


def test_run_lengths_are_those_of_pycocotools() -> None:
    masks = torch.rand(3, 7, 5, generator=torch.Generator().manual_seed(0)) > 0.5
    masks[1] = False
    codes = rle_encode(masks)
    for code, mask in zip(codes, masks, strict=True):
        assert code["size"] == [7, 5]
        assert (coco_mask.decode(code) == mask.numpy()).all()
        assert torch.equal(rle_decode(code), mask)
    assert rle_encode(masks[:0]) == []
    with pytest.raises(InputError, match="bool \\[H, W\\]"):
        rle_encode(masks.float())
