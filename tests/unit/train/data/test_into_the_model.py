"""From files to gradients: the recipe's transforms, a batch, the tiny model, the losses."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from sam3.config import presets
from sam3.model_builder import build_sam3_image_model
from sam3.train.data.collator import collate_fn_api
from sam3.train.data.sam3_image_dataset import Sam3ImageDataset
from sam3.train.data.torch_dataset import TorchDataset
from sam3.train.transforms.basic import get_random_resize_scales
from sam3.train.transforms.basic_for_api import (
    ComposeAPI,
    NormalizeAPI,
    PadToSizeAPI,
    RandomResizeAPI,
    ToTensorAPI,
)
from sam3.train.transforms.filter_query_transforms import (
    FilterCrowds,
    FilterEmptyTargets,
    FilterFindQueriesWithTooManyOut,
    FlexibleFilterFindGetQueries,
    TextQueryToVisual,
)
from sam3.train.transforms.point_sampling import RandomizeInputBbox
from sam3.train.transforms.segmentation import DecodeRle
from tests.support.datasets import coco_annotations, write_pictures
from tests.support.tiny_training import MATCHER, fine_tuning_loss

SIDE = presets.SAM3_TINY.vision.img_size


def recipe(*last: Any) -> list[Any]:
    return [
        ComposeAPI(
            [
                FlexibleFilterFindGetQueries(query_filter=FilterCrowds()),
                RandomizeInputBbox(box_noise_std=0.1, box_noise_max=20),
                DecodeRle(),
                RandomResizeAPI(
                    sizes=get_random_resize_scales(SIDE, SIDE // 2, rounded=False),
                    square=True,
                    consistent_transform=False,
                ),
                PadToSizeAPI(size=SIDE, consistent_transform=False),
                ToTensorAPI(),
                FlexibleFilterFindGetQueries(query_filter=FilterEmptyTargets()),
                NormalizeAPI(mean=[0.5] * 3, std=[0.5] * 3),
            ]
        ),
        FlexibleFilterFindGetQueries(query_filter=FilterFindQueriesWithTooManyOut(200)),
        *last,
    ]


def batches(folder: Path, data: dict[str, Any], *last: Any) -> TorchDataset:
    dataset = Sam3ImageDataset(
        write_pictures(folder, 4), data, recipe(*last), 100, 1, True, load_segmentation=True
    )
    collate = partial(collate_fn_api, dict_key="all", with_seg_masks=True, repeats=1)
    return TorchDataset(dataset, 2, 0, True, False, True, collate_fn=collate)


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    torch.manual_seed(0)
    model = build_sam3_image_model(
        config=presets.SAM3_TINY, load_from_HF=False, device="cpu", eval_mode=False
    )
    model.matcher = MATCHER
    return model


def losses(model: torch.nn.Module, batch: Any) -> dict[str, torch.Tensor]:
    wrapper = fine_tuning_loss("local")
    torch.manual_seed(0)
    outputs = model(batch)
    return wrapper(outputs, [model.back_convert(t) for t in batch.find_targets])


@pytest.mark.parametrize("last", [(), (TextQueryToVisual(1.0, keep_text_queries=False),)])
def test_a_batch_from_files_gives_finite_gradients(
    model: torch.nn.Module, tmp_path: Path, last: tuple[Any, ...]
) -> None:
    [batch, _] = [b["all"] for b in batches(tmp_path, coco_annotations(4), *last).get_loader(0)]
    assert batch.img_batch.shape == (2, 3, SIDE, SIDE)
    assert ("visual" in batch.find_text_batch) is bool(last)
    found = losses(model, batch)
    model.zero_grad()
    found["core_loss"].backward()
    assert torch.isfinite(found["core_loss"]) and found["loss_mask"] > 0
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    assert all(torch.isfinite(g).all() for g in gradients.values())
    for part in ("vision_backbone", "language_backbone", "decoder", "segmentation_head"):
        assert any(part in n and g.abs().sum() > 0 for n, g in gradients.items()), part
    reached = any("boxes_direct_project" in n and g.abs().sum() > 0 for n, g in gradients.items())
    assert reached is bool(last)


def test_the_losses_see_the_boxes_of_the_file(model: torch.nn.Module, tmp_path: Path) -> None:
    data = coco_annotations(4)
    first = next(iter(batches(tmp_path, data).get_loader(0)))["all"]
    for row in data["annotations"]:
        row["bbox"] = [30, 1, 6, 5]
    second = next(iter(batches(tmp_path, data).get_loader(0)))["all"]
    assert torch.equal(first.img_batch, second.img_batch)
    with torch.no_grad():
        before, after = losses(model, first), losses(model, second)
    assert before["loss_bbox"] != after["loss_bbox"]
    assert before["loss_mask"].item() != 0
