"""Work that training leaves out must not change what the losses see."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from sam3.config import presets
from sam3.model.data_misc import BatchedDatapoint, BatchedFindTarget, FindStage
from sam3.model_builder import build_sam3_image_model


@pytest.fixture
def model():
    torch.manual_seed(0)
    return build_sam3_image_model(
        config=presets.SAM3_TINY, load_from_HF=False, device="cpu", eval_mode=False
    )


def _batch(counts: list[int], side: int) -> BatchedDatapoint:
    n, total = len(counts), sum(counts)
    generator = torch.Generator().manual_seed(1)
    boxes = torch.rand(total, 4, generator=generator) * 0.3 + 0.3
    target = BatchedFindTarget(
        num_boxes=torch.tensor(counts),
        boxes=boxes,
        boxes_padded=torch.zeros(n, max([*counts, 1]), 4),
        repeated_boxes=None,
        segments=None,
        semantic_segments=None,
        is_valid_segment=None,
        is_exhaustive=torch.ones(n, dtype=torch.bool),
        object_ids=torch.arange(total),
        object_ids_padded=torch.full((n, max([*counts, 1])), -1),
    )
    texts = ["red circle", "a small blue star", "square"][:n]
    return BatchedDatapoint(
        img_batch=torch.randn(2, 3, side, side, generator=generator),
        find_text_batch=texts,
        find_inputs=[FindStage.for_texts(torch.arange(n) % 2, torch.arange(n))],
        find_targets=[target],
        find_metadatas=[],
    )


@pytest.mark.parametrize("counts", [[1, 0, 2], [0, 0, 0], [1, 1, 1]])
def test_masks_of_positives_are_the_same(model, counts):
    batch = _batch(counts, model.config.vision.img_size)
    full = model(batch)[0][-1]
    model.masks_of_positives_only = True
    some = model(batch)[0][-1]
    for key in ("pred_masks", "semantic_seg"):
        assert some[key].shape == full[key].shape
        for row, count in enumerate(counts):
            if count:
                torch.testing.assert_close(some[key][row], full[key][row], atol=1e-5, rtol=1e-4)
    if any(counts) and 0 in counts:
        assert not some["pred_masks"][counts.index(0)].any()


def test_short_captions_give_the_same_scores(model):
    batch = _batch([1, 0, 2], model.config.vision.img_size)
    trained = model(batch)[0][-1]
    lengths = trained["prev_encoder_out"]["encoder_out"]["prompt_mask"].shape[1]
    model.eval()
    with torch.no_grad():
        full = model(dataclasses.replace(batch, find_targets=[]))[0][-1]
    assert lengths < full["prev_encoder_out"]["encoder_out"]["prompt_mask"].shape[1]
    for key in ("pred_logits", "pred_boxes", "presence_logit_dec", "pred_masks"):
        torch.testing.assert_close(trained[key], full[key], atol=2e-5, rtol=1e-3)


def test_checkpointing_computes_again_and_changes_nothing():
    def gradients(use_act_checkpoint):
        torch.manual_seed(0)
        model = build_sam3_image_model(
            config=presets.SAM3_TINY,
            load_from_HF=False,
            device="cpu",
            eval_mode=False,
            use_act_checkpoint=use_act_checkpoint,
        )
        parts = {
            "trunk": model.backbone.vision_backbone.trunk.blocks[0],
            "text": model.backbone.language_backbone.encoder.transformer.resblocks[0],
            "prompt": model.geometry_encoder.encode[0],
            "encoder": model.transformer.encoder.layers[0],
            "decoder": model.transformer.decoder.layers[0],
            "masks": model.segmentation_head.pixel_decoder,
        }
        calls = dict.fromkeys(parts, 0)

        def count(name):
            calls[name] += 1

        for name, part in parts.items():
            part.register_forward_pre_hook(lambda *_, name=name: count(name))
        torch.manual_seed(1)  # dropout draws alike
        out = model(_batch([1, 2], model.config.vision.img_size))[0][-1]
        (out["pred_masks"].mean() + out["pred_logits"].mean() + out["pred_boxes"].mean()).backward()
        return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}, calls

    kept, once = gradients(use_act_checkpoint=False)
    again, twice = gradients(use_act_checkpoint=True)
    assert twice == {name: 2 * count for name, count in once.items()}
    assert kept.keys() == again.keys()
    for name, gradient in kept.items():
        torch.testing.assert_close(again[name], gradient, msg=lambda m, name=name: f"{name}: {m}")
