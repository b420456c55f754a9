"""A few small clips and an image model to start from, made once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sam3.checkpoint import save_checkpoint
from sam3.config import presets
from sam3.model_builder import build_sam3_image_model
from sam3.train.data.scenes.clip_dataset import ClipFolder
from sam3.train.data.scenes.prerender_clips import ClipPrerenderConfig, prerender_clips

SIDE = presets.SAM3_TINY.vision.img_size


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = ClipPrerenderConfig(
        clips=6, resolution=SIDE, frames=8, seed=2, max_side=144, simple_share=0.0
    )
    return prerender_clips(tmp_path_factory.mktemp("clips"), config)


@pytest.fixture(scope="session")
def clips(clip_folder: Path) -> ClipFolder:
    return ClipFolder(clip_folder)


@pytest.fixture(scope="session")
def image_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = build_sam3_image_model(config=presets.SAM3_TINY, device="cpu", load_from_HF=False)
    return save_checkpoint(model, tmp_path_factory.mktemp("image") / "image.safetensors")
