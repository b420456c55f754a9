"""A run of the trainer with the tiny image model on a made COCO folder, alone or one of several."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sam3.config import presets
from sam3.model_builder import build_sam3_image_model
from sam3.train.data.collator import collate_fn_api
from sam3.train.data.sam3_image_dataset import Sam3ImageDataset
from sam3.train.data.torch_dataset import TorchDataset
from sam3.train.loss.loss_fns import Boxes, IABCEMdetr, Masks
from sam3.train.loss.sam3_loss import Sam3LossWrapper
from sam3.train.matcher import BinaryHungarianMatcherV2, BinaryOneToManyMatcher
from sam3.train.optim.optimizer import GradientClipper
from sam3.train.trainer import Trainer
from sam3.train.transforms.basic_for_api import (
    ComposeAPI,
    NormalizeAPI,
    RandomResizeAPI,
    ToTensorAPI,
)
from sam3.train.transforms.segmentation import DecodeRle

from .datasets import coco_annotations, write_pictures

SIDE = presets.SAM3_TINY.vision.img_size
STEPS, GLOBAL_BATCH = 5, 4
MATCHER = BinaryHungarianMatcherV2(2.0, 5.0, 2.0, focal=True)


def coco_batches(
    folder: Path, batch_size: int, *, training: bool = True, key: str = "all"
) -> TorchDataset:
    """Batches of pictures with two questions each, one of them about nothing."""
    pictures = STEPS * GLOBAL_BATCH
    if not (folder / "p0.png").exists():
        write_pictures(folder, pictures)
    transforms = [DecodeRle(), RandomResizeAPI(SIDE, square=True, max_size=SIDE), ToTensorAPI()]
    recipe = [ComposeAPI([*transforms, NormalizeAPI([0.5] * 3, [0.5] * 3)])]
    dataset = Sam3ImageDataset(
        folder, coco_annotations(pictures), recipe, 100, 1, training, load_segmentation=True
    )
    collate = partial(collate_fn_api, dict_key=key, with_seg_masks=True)
    return TorchDataset(dataset, batch_size, 0, True, False, True, collate_fn=collate)


def fine_tuning_loss(normalization: str = "global") -> nn.Module:
    """The losses of the fine-tuning recipe, with masks."""
    return Sam3LossWrapper(
        [
            Boxes(weight_dict={"loss_bbox": 5.0, "loss_giou": 2.0}),
            IABCEMdetr(
                weight_dict={"loss_ce": 20.0, "presence_loss": 20.0},
                pos_weight=10.0,
                gamma=2,
                weak_loss=False,
                use_presence=True,
                pad_n_queries=200,
            ),
            Masks(weight_dict={"loss_mask": 200.0, "loss_dice": 10.0}, focal_alpha=0.25),
        ],
        normalization=normalization,
        matcher=MATCHER,
        o2m_matcher=BinaryOneToManyMatcher(alpha=0.3, threshold=0.4, topk=4),
        o2m_weight=2.0,
    )


def tiny_trainer(folder: Path, pictures: Path, batch_size: int, **changes: Any) -> Trainer:
    """Five steps of plain gradient descent."""
    torch.manual_seed(0)
    model = build_sam3_image_model(
        config=presets.SAM3_TINY, load_from_HF=False, device="cpu", eval_mode=False
    )
    model.matcher = MATCHER
    settings: dict[str, Any] = {
        "data": {"train": coco_batches(pictures, batch_size)},
        "mode": "train_only",
        "model": model,
        "logging": {"log_dir": str(folder / "logs"), "log_freq": 1},
        "checkpoint": {"save_dir": str(folder / "checkpoints"), "save_freq": 0},
        "max_epochs": 1,
        "accelerator": "cpu",
        "distributed": {"find_unused_parameters": True},
        "optim": {
            "optimizer": partial(torch.optim.SGD, lr=0.01, momentum=0.9),
            "gradient_clip": GradientClipper(max_norm=1.0),
        },
        "loss": {"all": fine_tuning_loss()},
    }
    return Trainer(**{**settings, **changes})


def one_of_several(rank: int, size: int, port: int, folder: Path, pictures: Path) -> None:
    """Be process ``rank`` of ``size`` that share the batches of one."""
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size)}
    os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    tiny_trainer(folder, pictures, GLOBAL_BATCH // size).run()
    torch.distributed.destroy_process_group()
