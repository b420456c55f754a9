"""Weights of the tracker alone: which stored tensor goes where."""

from __future__ import annotations

import os
from collections.abc import Mapping

import torch
from torch import nn

from ..errors import CheckpointMismatchError
from .formats import read_checkpoint
from .layouts import Layout, LoadPlan, is_computed
from .load import DtypeFor, LoadReport, fill_model
from .raw import RawCheckpoint
from .recipe import Recipe
from .tensor_info import TensorInfo

BACKBONE = "backbone."
TRACKER_MARKER = "maskmem_tpos_enc"  # a tracker's name without prefix


def load_tracker_weights(
    model: nn.Module,
    source: str | os.PathLike[str] | RawCheckpoint,
    *,
    dtype_for: DtypeFor | None = None,
    device: torch.device | str | None = None,
    copy: bool | None = None,
) -> LoadReport:
    """Load the tracker of a SAM 3.0 file, or a tracker saved alone; the image model is dropped.

    A model with a ``backbone`` also gets the file's vision backbone. Arguments, result and errors
    as for ``load_image_weights``; CheckpointMismatchError for the tracker of SAM 3.1, which is
    another model, and for the Hugging Face layout.
    """
    raw = read_checkpoint(source)
    layout = raw.layout_details
    if layout.version == "3.1":
        raise CheckpointMismatchError(
            f"{raw.path} holds SAM 3.1 (found version {layout.version}), whose tracker is not the "
            "one of SAM 3.0. Use a SAM 3.0 file (sam3.pt of facebook/sam3), or this file with "
            "build_sam3_image_model for pictures."
        )
    if layout.kind.startswith("huggingface"):
        raise CheckpointMismatchError(
            f"{raw.path} is in the layout {layout.kind}, whose tracker is not read from files; use "
            "sam3.pt of facebook/sam3."
        )
    return fill_model(model, raw, plan_tracker_load, dtype_for=dtype_for, device=device, copy=copy)


def plan_tracker_load(layout: Layout, expected: Mapping[str, TensorInfo]) -> LoadPlan:
    """Match a file's layout with the tensors a tracker expects (names without ``tracker.``).

    A tracker saved alone, without any prefix, is taken too. What belongs to the image model is
    dropped, except the vision backbone of a tracker that has one.
    """
    plan = LoadPlan()
    offers = {name: Recipe((stored,)) for name, stored in layout.tracker.items()}
    bare = not offers and TRACKER_MARKER in layout.unknown
    if bare:
        offers = {name: Recipe((name,)) for name in layout.unknown}
    for name, recipe in layout.image.items():
        # The detector's own "transformer." has names that the tracker uses, too.
        if bare or (name in expected and name.startswith(BACKBONE)):
            offers[name] = recipe
        else:
            plan.dropped += recipe.sources
    plan.unexpected += [] if bare else list(layout.unknown)
    for name, recipe in offers.items():
        if name in expected:
            plan.recipes[name] = recipe
        elif is_computed(name):
            plan.dropped += recipe.sources
        else:
            plan.unexpected += recipe.sources
    absent = [name for name in expected if name not in offers]
    plan.computed += [name for name in absent if is_computed(name)]
    plan.missing += [name for name in absent if not is_computed(name)]
    return plan
