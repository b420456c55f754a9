"""Weights of the video model (``detector.*`` and ``tracker.*``): which stored tensor goes where."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import nn

from ..errors import CheckpointMismatchError
from .formats import read_checkpoint
from .layouts import DETECTOR, TRACKER, Layout, LoadPlan, is_computed, plan_image_load
from .load import DtypeFor, LoadReport, fill_model
from .raw import RawCheckpoint
from .recipe import Recipe
from .tensor_info import TensorInfo


def load_video_weights(
    model: nn.Module,
    source: str | os.PathLike[str] | RawCheckpoint,
    *,
    dtype_for: DtypeFor | None = None,
    device: torch.device | str | None = None,
    copy: bool | None = None,
) -> LoadReport:
    """Load a checkpoint into a video model, in place; as ``load_image_weights``.

    Raises CheckpointFormatError for a file that cannot be read, CheckpointMismatchError for one
    that is not of this model: a SAM 3.1 file (its tracker is another one), one without a tracker,
    or one with other names or shapes. The model is unchanged then.
    """
    raw = read_checkpoint(source)
    layout = raw.layout_details
    if layout.version == "3.1":
        raise CheckpointMismatchError(
            f"{raw.path} holds SAM 3.1 (found version {layout.version}), whose tracker differs from"
            " that of SAM 3.0 and is not supported here. Use a SAM 3.0 file (sam3.pt of"
            " facebook/sam3), or this file with build_sam3_image_model for pictures."
        )
    if not layout.tracker:
        raise CheckpointMismatchError(
            f"{raw.path} holds no tracker (layout {layout.kind}); a video model needs one. Use"
            " sam3.pt of facebook/sam3, or this file with build_sam3_image_model for pictures."
        )
    if layout.kind != "sam3":
        raise CheckpointMismatchError(
            f"{raw.path} is in the layout {layout.kind}, which the video model does not read;"
            " use sam3.pt of facebook/sam3."
        )
    return fill_model(model, raw, plan_video_load, dtype_for=dtype_for, device=device, copy=copy)


def plan_video_load(layout: Layout, expected: Mapping[str, TensorInfo]) -> LoadPlan:
    """Match a file's layout with the tensors a video model expects; see ``plan_image_load``."""
    wanted = {n.removeprefix(DETECTOR): t for n, t in expected.items() if n.startswith(DETECTOR)}
    image = plan_image_load(replace(layout, tracker={}), wanted)
    plan = LoadPlan(
        recipes={DETECTOR + name: recipe for name, recipe in image.recipes.items()},
        zeros=[DETECTOR + name for name in image.zeros],
        computed=[DETECTOR + name for name in image.computed],
        missing=[DETECTOR + name for name in image.missing],
        dropped=image.dropped,
        unexpected=image.unexpected,
    )
    for name, stored in layout.tracker.items():
        if TRACKER + name in expected:
            plan.recipes[TRACKER + name] = Recipe((stored,))
        else:
            (plan.dropped if is_computed(name) else plan.unexpected).append(stored)
    for name in expected:
        if name.startswith(TRACKER) and name not in plan.recipes:
            (plan.computed if is_computed(name) else plan.missing).append(name)
    return plan
