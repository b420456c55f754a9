"""A small made set for every experiment: pictures, annotations and clips where it looks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from sam3.config import presets
from sam3.train.utils.config_names import compose_config

from .datasets import coco_annotations, write_picture, write_pictures

SIDE = presets.SAM3_TINY.vision.img_size
FRAMES = 3


def family_of(name: str) -> str:
    """gold, silver, odinw13, roboflow, saco, or eval for the base of gold and silver."""
    parts = name.split("/")
    return parts[-2].split("_")[0] if len(parts) > 2 else "eval"


@cache
def composed(name: str) -> DictConfig:
    """An experiment as composed, which is slow; not to be changed."""
    config = compose_config(name)
    OmegaConf.set_readonly(config, True)
    return config


def copy_of(name: str, **changes: Any) -> DictConfig:
    """A copy of an experiment with other values at some dotted keys (with "__" for dots)."""
    config = deepcopy(composed(name))
    OmegaConf.set_readonly(config, False)
    for key, value in changes.items():
        OmegaConf.update(config, key.replace("__", "."), value, force_add=True)
    return config


def with_data(name: str, folder: Path, **changes: Any) -> DictConfig:
    """A copy of an experiment that finds small sets in ``folder``; they are written if missing."""
    places = {
        "saco": {"ytvis_json": "clips.json", "ytvis_dir": "clips"},
        "odinw13": {"odinw_data_root": ""},
        "roboflow": {"roboflow_vl_100_root": ""},
    }.get(
        family_of(name),
        {
            "base_experiment_log_dir": "logs",
            "base_annotation_path": "gold",
            "base_annotation_path_silver": "silver",
            "metaclip_img_path": "metaclip",
            "sa1b_img_path": "sa1b",
            "silver_img_path": "silver_pictures",
        },
    )
    config = copy_of(name, launcher__experiment_log_dir=str(folder / "logs"), **changes)
    for key, place in places.items():
        config.paths[key] = str(folder / place)
    write_sets(config)
    return config


def write_sets(config: DictConfig) -> None:
    """Write pictures and annotations of the data sets that a configuration names."""
    for phase in ("train", "val"):
        data = config.trainer.data.get(phase)
        if data is None:
            continue
        source = data.dataset.ann_file
        source = Path(source if isinstance(source, str) else source.input_json_path)
        loader = data.dataset.get("coco_json_loader", {}).get("_target_", "COCO_FROM_JSON")
        kind = loader.rpartition(".")[2]
        if kind == "COCO_FROM_JSON":
            _write_coco(source, Path(data.dataset.img_folder))
        elif kind == "SAM3_EVAL_API_FROM_JSON_NP":
            for path in config.paths.get("coco_gts") or [source]:
                _write_pairs(Path(path), Path(data.dataset.img_folder))
        else:
            _write_clips(source, Path(data.dataset.img_folder))


def _write_json(path: Path, data: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data))


def _write_coco(path: Path, pictures: Path) -> None:
    if not path.exists():
        _write_json(path, coco_annotations(3, categories=3))
        write_pictures(pictures, 3)


def _write_pairs(path: Path, pictures: Path) -> None:
    if path.exists():
        return
    data = coco_annotations(3)
    for row in data["annotations"]:
        row |= {"category_id": 1, "area": 300, "segmentation": {"size": [30, 40], "counts": "^3e0"}}
        row["segmentation"]["counts"] = _box_counts(row["bbox"])
    for number, row in enumerate(data["images"]):
        row |= {
            "text_input": f"thing {number % 2}",
            "queried_category": str(number % 2 + 1),
            "is_instance_exhaustive": True,
        }
    _write_json(path, data)
    write_pictures(pictures, 3)


def _box_counts(bbox: list[int]) -> str:
    from pycocotools import mask

    left, top, width, height = bbox
    corners = [left, top, left + width, top, left + width, top + height, left, top + height]
    return mask.frPyObjects([corners], 30, 40)[0]["counts"].decode()


def _write_clips(path: Path, frames: Path) -> None:
    if path.exists():
        return
    names = [f"clip/{n:05d}.jpg" for n in range(FRAMES)]
    for n, name in enumerate(names):
        write_picture(frames / name, 40, 30, seed=n)
    video = {"id": 1, "video_name": "clip", "file_names": names, "length": FRAMES}
    pair = {"id": 1, "video_id": 1, "category_id": 1, "noun_phrase": "red circle"}
    _write_json(
        path,
        {
            "videos": [{**video, "height": 30, "width": 40}],
            "annotations": [],
            "categories": [{"id": 1, "name": "red circle"}],
            "video_np_pairs": [{**pair, "num_masklets": 0}],
        },
    )


def targets_in(node: Any) -> Iterator[str]:
    """Every ``_target_`` of plain nested mappings and lists."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield node["_target_"]
        for value in node.values():
            yield from targets_in(value)
    elif isinstance(node, list):
        for value in node:
            yield from targets_in(value)
