"""One step of the fine-tuning on RF100-VL, and which parameters its losses do not reach.

``docs/training.md`` ("Which parameters train") gives the reasons for the patterns listed here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from unittest.mock import patch

import hydra.utils
import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn
from torchvision.ops import StochasticDepth

from sam3.config import Sam3ImageConfig, presets

from .experiment_facts import FINE_TUNING
from .experiments import with_data
from .fill import fill_state

ALWAYS = (
    "backbone.language_backbone.encoder.text_projection",
    "geometry_encoder.label_embed.*",
    "geometry_encoder.points_*",
    "geometry_encoder.boxes_*",
    "geometry_encoder.img_pre_norm.*",
)
WITHOUT_MASKS = ("backbone.vision_backbone.convs.0.*", "backbone.vision_backbone.convs.1.*")
WITH_MASKS = (
    "segmentation_head.pixel_decoder.conv_layers.2.*",
    "segmentation_head.pixel_decoder.norms.2.*",
)
RELEASED_SIZE = ("backbone.vision_backbone.convs.3.*",)


# Starting values take long to draw and are replaced at once.
_INITIALISERS = ("kaiming_uniform_", "normal_", "trunc_normal_", "uniform_", "xavier_uniform_")


def _as_it_is(tensor: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
    return tensor


def fine_tuning(folder: Path, **changes: Any) -> DictConfig:
    """The experiment on small sets in ``folder``, its model with made weights on the CPU."""
    return with_data(
        FINE_TUNING,
        folder,
        scratch__num_train_workers=0,
        trainer__model__load_from_HF=False,
        trainer__model__device="cpu",
        **changes,
    )


def released_size(side: int) -> Sam3ImageConfig:
    """The released model for pictures of another side, with the same parameters."""
    vision = replace(presets.SAM3_IMAGE.vision, img_size=side)
    return replace(presets.SAM3_IMAGE, vision=vision)


def one_step(config: DictConfig) -> tuple[nn.Module, dict[str, float]]:
    """Forward, loss and backward on the first batch; the model with its gradients, and the losses.

    Stochastic depth is off: with one picture it would leave out whole branches by chance.
    """
    node: Any = OmegaConf.to_container(config.trainer, resolve=True)
    with patch.multiple("torch.nn.init", **dict.fromkeys(_INITIALISERS, _as_it_is)):
        model: Any = _make(node["model"])
    fill_state(model.state_dict(), seed=0)
    for module in model.modules():
        if isinstance(module, StochasticDepth):
            module.p = 0.0
    batch = next(iter(_make(node["data"]["train"]).get_loader(0)))["all"]
    torch.manual_seed(0)
    losses = _make(node["loss"]["all"])(
        model(batch), [model.back_convert(target) for target in batch.find_targets]
    )
    losses["core_loss"].backward()
    return model, {name: float(value.detach()) for name, value in losses.items()}


def _make(node: Any) -> Any:
    return hydra.utils.instantiate(node, _convert_="all")


def check_reach(model: nn.Module, patterns: Iterable[str]) -> None:
    """The parameters without a gradient are those that some pattern names, and no others."""
    patterns = tuple(patterns)
    names = [name for name, _ in model.named_parameters()]
    for pattern in patterns:
        assert any(fnmatchcase(name, pattern) for name in names), f"{pattern} names nothing"
    expected = {n for n in names if any(fnmatchcase(n, pattern) for pattern in patterns)}
    found = {n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    assert found == expected, f"too many: {found - expected}; too few: {expected - found}"
    for name, parameter in model.named_parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all(), name
