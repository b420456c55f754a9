"""Say what a checkpoint file is, from names, shapes and metadata alone: ``describe(path)``."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .formats import read_checkpoint
from .layouts import Layout, is_computed
from .load import WEIGHT_DTYPES
from .raw import CONFIG_KEY, TRACKER_CONFIG_KEY, RawCheckpoint

# One tensor that each part of an image model cannot be without.
_NEEDED = {
    "vision trunk": "backbone.vision_backbone.trunk.patch_embed.proj.weight",
    "vision neck": "backbone.vision_backbone.convs.0.conv_1x1.weight",
    "text encoder": "backbone.language_backbone.encoder.token_embedding.weight",
    "geometry encoder": "geometry_encoder.label_embed.weight",
    "fusion encoder": "transformer.encoder.layers.0.linear1.weight",
    "decoder": "transformer.decoder.query_embed.weight",
    "scoring": "dot_prod_scoring.hs_proj.weight",
    "mask head": "segmentation_head.instance_seg_head.weight",
}
_SHOWN = 3
_CONFIG_KEYS = (CONFIG_KEY, TRACKER_CONFIG_KEY)


@dataclass(frozen=True, kw_only=True)
class CheckpointInfo:
    """What a checkpoint file is.

    Attributes:
        path: the file.
        model: one line for a reader, such as "SAM 3 (released names, with tracker)".
        format: ``safetensors``, ``safetensors-sharded``, ``torch-zip`` or ``torch-legacy``.
        layout: ``sam3``, ``huggingface``, ``huggingface-video`` or ``unknown``.
        version: ``"3.0"``, ``"3.1"`` or None where the names do not tell.
        tensors: number of stored tensors.
        parameters: number of stored values, without computed tables.
        file_bytes: size on disk (all shards).
        dtypes: number of tensors per dtype.
        parts: which of ``detector`` and ``tracker`` are inside.
        neck_levels: levels of the main feature pyramid.
        image_model: whether the image model can be built from this file.
        config, tracker_config: the embedded configurations, or None.
        metadata: further text metadata.
        problems: what speaks against using the file, in words.
    """

    path: Path
    model: str
    format: str
    layout: str
    version: str | None
    tensors: int
    parameters: int
    file_bytes: int
    dtypes: dict[str, int]
    parts: tuple[str, ...]
    neck_levels: int
    image_model: bool
    config: dict[str, Any] | None = None
    tracker_config: dict[str, Any] | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


def describe(path: str | os.PathLike[str] | RawCheckpoint) -> CheckpointInfo:
    """Look at a checkpoint without reading its weights.

    Raises:
        CheckpointFormatError: the file cannot be read or is no checkpoint.
    """
    with read_checkpoint(path) as raw:
        layout = raw.layout_details
        config = raw.config
        missing = [part for part, name in _NEEDED.items() if name not in layout.image]
        return CheckpointInfo(
            path=raw.path,
            model=_title(layout, config),
            format=raw.format,
            layout=layout.kind,
            version=layout.version,
            tensors=len(raw),
            parameters=sum(i.numel for n, i in raw.infos.items() if not is_computed(n)),
            file_bytes=sum(file.stat().st_size for file in raw.files),
            dtypes=_dtypes(raw),
            parts=_parts(layout),
            neck_levels=layout.neck_levels,
            image_model=not missing and not layout.twice,
            config=config,
            tracker_config=raw.tracker_config,
            metadata={k: v for k, v in raw.metadata.items() if k not in _CONFIG_KEYS},
            problems=tuple(_problems(raw, layout, missing)),
        )


def _title(layout: Layout, config: Mapping[str, Any] | None) -> str:
    if layout.kind == "unknown":
        return "not a SAM 3 checkpoint"
    if config is not None:
        name = config.get("name")
        return f"SAM 3 model of this project{f' ({name})' if name else ''}"
    if layout.kind.startswith("huggingface"):
        return f"SAM 3 in the Hugging Face layout ({'video' if layout.tracker else 'image'} model)"
    version = {"3.0": "SAM 3", "3.1": "SAM 3.1"}.get(layout.version or "", "SAM 3 or 3.1")
    if not layout.image:
        return f"{version}, tracker only"
    return f"{version}, {'detector and tracker' if layout.tracker else 'image model only'}"


def _dtypes(raw: RawCheckpoint) -> dict[str, int]:
    counts = Counter(str(info.dtype).removeprefix("torch.") for info in raw.infos.values())
    return dict(counts.most_common())


def _parts(layout: Layout) -> tuple[str, ...]:
    parts = (("detector", layout.image), ("tracker", layout.tracker))
    return tuple(name for name, tensors in parts if tensors)


def _problems(raw: RawCheckpoint, layout: Layout, missing: list[str]) -> list[str]:
    problems = []
    if layout.image and missing:
        problems.append(f"incomplete image model: no {', no '.join(missing)}")
    if layout.kind == "unknown":
        problems.append(f"no SAM 3 names inside, first: {', '.join(list(raw)[:_SHOWN])}")
    elif layout.unknown:
        problems.append(
            f"{len(layout.unknown)} unexpected names, first: {', '.join(layout.unknown[:_SHOWN])}"
        )
    if layout.twice:
        problems.append(
            f"{len(layout.twice)} names with and without prefix, first: "
            f"{', '.join(layout.twice[:_SHOWN])}"
        )
    odd = [
        name
        for name, info in raw.infos.items()
        if info.dtype not in WEIGHT_DTYPES and not is_computed(name)
    ]
    if odd and layout.kind != "unknown":
        problems.append(
            f"{len(odd)} tensors are no fp32, fp16 or bf16 weights, first: "
            f"{odd[0]} ({raw.infos[odd[0]].dtype})"
        )
    if layout.kind.startswith("huggingface"):
        problems.append("no weights for point prompts (this layout has none)")
    return problems
