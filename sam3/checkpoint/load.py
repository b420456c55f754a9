"""Fill a model with a checkpoint: strict, by assignment, all or nothing.

Names, shapes and dtypes are checked before any data is read, and the model is touched only after
every tensor is there. A model built on the meta device is never materialised twice: tensors the
model keeps are assigned from the mapped file, or converted one by one while read pages are given
back.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from ..errors import CheckpointMismatchError
from .formats import read_checkpoint
from .huggingface import POINT_PREFIX
from .layouts import DETECTOR, Layout, LoadPlan, is_computed, plan_image_load
from .raw import RawCheckpoint
from .tensor_info import TensorInfo

logger = logging.getLogger(__name__)

DtypeFor = Callable[[str, torch.Tensor], "torch.dtype | None"]
PlanLoad = Callable[[Layout, Mapping[str, TensorInfo]], LoadPlan]

WEIGHT_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
COPY_BELOW_BYTES = 256 * 1024 * 1024  # small files are read into memory of their own
# Pages read between two releases of the mapping: this share of the weights kept, at least so much.
RELEASE_EVERY_SHARE = 0.15
RELEASE_EVERY_BYTES = 64 * 1024 * 1024
SHOWN = 5


@dataclass(frozen=True)
class LoadReport:
    """What a load did.

    Attributes:
        path: the file read.
        version: ``"3.0"``, ``"3.1"`` or None, as ``RawCheckpoint.version``.
        loaded: model names filled from the file.
        zeroed: model names the file lacks by design, filled with zeros.
        computed: tables left to the model (call its ``reset_computed_buffers``).
        dropped: stored names left out on purpose (tracker, other necks).
        non_finite: model names that hold NaN or infinity.
        nbytes: bytes of the weights kept.
    """

    path: Path
    version: str | None
    loaded: tuple[str, ...]
    zeroed: tuple[str, ...] = ()
    computed: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    non_finite: tuple[str, ...] = field(default=())
    nbytes: int = 0

    @property
    def supports_points(self) -> bool:
        """False when the file had no weights for point prompts (Hugging Face layout)."""
        return not any(n.removeprefix(DETECTOR).startswith(POINT_PREFIX) for n in self.zeroed)


def load_image_weights(
    model: nn.Module,
    source: str | os.PathLike[str] | RawCheckpoint,
    *,
    dtype_for: DtypeFor | None = None,
    device: torch.device | str | None = None,
    copy: bool | None = None,
) -> LoadReport:
    """Load a checkpoint of any supported layout into an image model, in place.

    Args:
        model: usually built on the meta device; its ``state_dict`` says what is expected.
        source: path or opened checkpoint.
        dtype_for: called with (model name, meta tensor of the stored shape and dtype); the dtype
            this parameter shall have, or None for the dtype the model declares.
        device: where the parameters shall live; None = CPU.
        copy: True reads everything into memory of its own; False keeps views of the mapped file
            where dtype and layout allow; None copies files below 256 MiB.

    Returns:
        A report. Rotary tables the file lacks are left untouched (``report.computed``).

    Raises:
        CheckpointFormatError: the file cannot be read.
        CheckpointMismatchError: missing or unexpected names, wrong shapes or dtypes. The model
            is unchanged then.
    """
    raw = read_checkpoint(source)
    return fill_model(model, raw, plan_image_load, dtype_for=dtype_for, device=device, copy=copy)


def fill_model(
    model: nn.Module,
    raw: RawCheckpoint,
    plan_load: PlanLoad,
    *,
    dtype_for: DtypeFor | None = None,
    device: torch.device | str | None = None,
    copy: bool | None = None,
) -> LoadReport:
    """:func:`load_image_weights` for any model.

    plan_load: what goes where, from the layout and the model's names, shapes and dtypes.
    """
    expected = {
        name: TensorInfo(tuple(tensor.shape), tensor.dtype)
        for name, tensor in model.state_dict().items()
    }
    plan = plan_load(raw.layout_details, expected)
    _check_names(raw, plan)
    dtypes = _check_tensors(raw, plan, expected, dtype_for)
    target = torch.device("cpu" if device is None else device)
    state, non_finite = _read(raw, plan, dtypes, target, copy)
    for name in plan.zeros:
        info = expected[name]
        state[name] = torch.zeros(info.shape, dtype=dtypes[name], device=target)
    model.load_state_dict(state, strict=False, assign=True)
    raw.release()
    report = LoadReport(
        path=raw.path,
        version=raw.version,
        loaded=tuple(plan.recipes),
        zeroed=tuple(plan.zeros),
        computed=tuple(plan.computed),
        dropped=tuple(plan.dropped),
        non_finite=tuple(non_finite),
        nbytes=sum(tensor.nbytes for tensor in state.values()),
    )
    _log(report)
    return report


def _check_names(raw: RawCheckpoint, plan: LoadPlan) -> None:
    layout = raw.layout_details
    if layout.twice:
        raise CheckpointMismatchError(
            f"{raw.path}: {len(layout.twice)} names occur with and without prefix, first: "
            f"{list(layout.twice[:SHOWN])}. Use the file as published."
        )
    if not plan.recipes:
        raise CheckpointMismatchError(
            f"{raw.path}: no tensor of this model inside ({len(raw)} tensors, first: "
            f"{list(raw)[:SHOWN]}). Use a SAM 3 checkpoint: sam3.pt, model.safetensors of "
            f"facebook/sam3, or a SAM 3.1 file."
        )
    problems = []
    for what, names in (("missing", plan.missing), ("unexpected", plan.unexpected)):
        if names:
            more = f" … and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            problems.append(f"{len(names)} {what}: {', '.join(names[:SHOWN])}{more}")
    if problems:
        known = f"layout {raw.layout}, version {raw.version or 'not told by its names'}"
        raise CheckpointMismatchError(
            f"{raw.path} ({known}) does not match the model: {'; '.join(problems)}. "
            f"Nothing was loaded. Build the model the file was made for, or use another file."
        )


def _check_tensors(
    raw: RawCheckpoint,
    plan: LoadPlan,
    expected: Mapping[str, TensorInfo],
    dtype_for: DtypeFor | None,
) -> dict[str, torch.dtype]:
    """Check shapes and dtypes; returns the dtype each model tensor shall get."""
    problems: list[str] = []
    dtypes: dict[str, torch.dtype] = {}
    for name, recipe in list(plan.recipes.items()):
        try:
            info = recipe.info(raw.infos)
        except ValueError as error:
            problems.append(f"{name}: {error}")
            continue
        if is_computed(name):
            # A table for another resolution is not an error: the model computes its own.
            if info.shape != expected[name].shape or not info.dtype.is_complex:
                del plan.recipes[name]
                plan.computed.append(name)
                plan.dropped.extend(recipe.sources)
            else:
                dtypes[name] = torch.complex64
            continue
        if info.shape != expected[name].shape:
            problems.append(f"{name}: file {list(info.shape)}, model {list(expected[name].shape)}")
        elif info.dtype not in WEIGHT_DTYPES:
            problems.append(f"{name}: holds {info.dtype}, expected fp32, fp16 or bf16 weights")
        dtypes[name] = _chosen_dtype(name, info, expected[name], dtype_for)
    if problems:
        more = f" … and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise CheckpointMismatchError(
            f"{raw.path} does not fit the model: {len(problems)} tensors differ: "
            f"{'; '.join(problems[:SHOWN])}{more}. Nothing was loaded. Build the model the file "
            f"was made for, or use another file."
        )
    for name in plan.zeros:
        dtypes[name] = _chosen_dtype(name, expected[name], expected[name], dtype_for)
    return dtypes


def _chosen_dtype(
    name: str, stored: TensorInfo, declared: TensorInfo, dtype_for: DtypeFor | None
) -> torch.dtype:
    if dtype_for is not None:
        probe = torch.empty(stored.shape, dtype=stored.dtype, device="meta")
        chosen = dtype_for(name, probe)
        if chosen is not None:
            return chosen
    return declared.dtype


def _read(
    raw: RawCheckpoint,
    plan: LoadPlan,
    dtypes: Mapping[str, torch.dtype],
    device: torch.device,
    copy: bool | None,
) -> tuple[dict[str, torch.Tensor], list[str]]:
    """All tensors by model name, and the names of those that are not finite."""
    if copy is None:
        copy = sum(r.info(raw.infos).nbytes for r in plan.recipes.values()) < COPY_BELOW_BYTES
    # One view keeps the whole mapping alive, and with it every page read for a conversion.
    # So either all tensors are views, or none is.
    views = (
        not copy
        and device.type == "cpu"
        and all(
            recipe.operation == "copy" and raw.infos[recipe.sources[0]].dtype == dtypes[name]
            for name, recipe in plan.recipes.items()
        )
    )
    order = {stored: index for index, stored in enumerate(raw)}
    names = sorted(plan.recipes, key=lambda name: order[plan.recipes[name].sources[0]])
    state: dict[str, torch.Tensor] = {}
    non_finite: list[str] = []
    kept = sum(r.info(raw.infos).numel * dtypes[n].itemsize for n, r in plan.recipes.items())
    release_every = max(RELEASE_EVERY_BYTES, int(kept * RELEASE_EVERY_SHARE))
    read_bytes = 0
    for name in names:
        recipe = plan.recipes[name]
        size = sum(raw.infos[source].nbytes for source in recipe.sources)
        if not views and read_bytes and read_bytes + size > release_every:
            raw.release()
            read_bytes = 0
        read_bytes += size
        tensor = recipe.build(raw.tensor)
        if not views:
            tensor = tensor.to(device=device, dtype=dtypes[name], copy=recipe.operation == "copy")
        state[name] = tensor.contiguous()
        if not _is_finite(tensor):
            non_finite.append(name)
        del tensor
    return state, non_finite


def _is_finite(tensor: torch.Tensor) -> bool:
    """Whether all values are finite, without a temporary of the tensor's size."""
    if tensor.numel() == 0:
        return True
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    return all(bool(torch.isfinite(end)) for end in torch.aminmax(tensor))  # NaN goes through both


def _log(report: LoadReport) -> None:
    logger.info(
        "%s: %d tensors loaded (%.0f MB), %d left out on purpose, %d computed by the model",
        report.path,
        len(report.loaded),
        report.nbytes / 1e6,
        len(report.dropped),
        len(report.computed),
    )
    if not report.supports_points:
        logger.warning(
            "%s: the Hugging Face layout has no weights for point prompts; points will have no "
            "effect. Text, boxes and masks are not concerned. Use sam3.pt if you need points.",
            report.path,
        )
    if report.non_finite:
        logger.warning(
            "%s: %d tensors hold NaN or infinity, first: %s. Results will be wrong; "
            "download the file again or choose a wider dtype.",
            report.path,
            len(report.non_finite),
            report.non_finite[:SHOWN],
        )
