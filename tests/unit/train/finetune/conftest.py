"""A small model's checkpoint and small exports, for tests of fine-tuning."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sam3.checkpoint import save_checkpoint
from sam3.config import (
    DecoderConfig,
    GeometryConfig,
    Sam3ImageConfig,
    TextConfig,
    VisionConfig,
)
from sam3.model.sam3_image import Sam3Image
from sam3.model_builder import assemble_image_model
from tests.support.datasets import coco_annotations, write_pictures

MINI = Sam3ImageConfig(
    name="mini",
    d_model=32,
    num_heads=4,
    dim_feedforward=48,
    dropout=0.0,
    encoder_layers=1,
    vision=VisionConfig(
        img_size=112,
        pretrain_img_size=56,
        embed_dim=32,
        depth=2,
        num_heads=4,
        mlp_ratio=2.0,
        window_size=4,
        global_blocks=(1,),
        drop_path_rate=0.0,
    ),
    text=TextConfig(width=32, heads=4, layers=1, num_merges=40),
    geometry=GeometryConfig(layers=1),
    decoder=DecoderConfig(layers=2, num_queries=6),
)


@pytest.fixture(scope="session")
def mini() -> Callable[[], Sam3Image]:
    """Builds the small model with the same random weights each time."""

    def build() -> Sam3Image:
        torch.manual_seed(3)
        return assemble_image_model(MINI)

    return build


def write_checkpoint(folder: Path, model: Sam3Image) -> Path:
    """A file in the published layout: the image model and a tensor of the tracker."""
    state = {f"detector.{name}": tensor for name, tensor in model.state_dict().items()}
    state["tracker.maskmem_tpos_enc"] = torch.arange(4.0).reshape(4, 1)
    return save_checkpoint(state, folder / "mini.safetensors", config=MINI.to_dict())


@pytest.fixture
def checkpoint(tmp_path: Path, mini: Callable[[], Sam3Image]) -> Path:
    """The small model's file."""
    return write_checkpoint(tmp_path, mini())


def write_split(
    folder: Path, pictures: int = 4, name: str = "_annotations.coco.json", **changes: Any
) -> dict[str, Any]:
    """Pictures with masks in ``folder``, and their annotation file; its content."""
    content = {**coco_annotations(pictures), **changes}
    write_pictures(folder, pictures)
    (folder / name).write_text(json.dumps(content))
    return content


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """A Roboflow export with training and validation pictures."""
    for split in ("train", "valid"):
        write_split(tmp_path / "export" / split)
    return tmp_path / "export"
