"""The 37 experiments hold the published keys and values once they are composed and resolved."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("hydra", reason="hydra-core is not installed")

from omegaconf import OmegaConf  # noqa: E402

from sam3.train.utils.config_names import known_configs  # noqa: E402
from tests.support.experiment_facts import (  # noqa: E402
    EXPERIMENTS,
    FACTS,
    FIND_LOSS,
    FINE_TUNING,
    GOLD,
    MISSING,
    ODINW,
    ODINW_EVAL,
    ODINW_TRAIN,
    ROBOFLOW,
    SILVER,
    VIDEO,
    gold,
    odinw,
    silver,
)
from tests.support.experiments import copy_of  # noqa: E402

ROOT = Path(__file__).resolve().parents[4]


def of_task(name: str, task: int) -> Any:
    return copy_of(name, submitit__job_array__task_index=task)


@cache
def resolved(name: str) -> Any:
    """The configuration with all values in place."""
    config = copy_of(name)
    OmegaConf.resolve(config)
    return config


def value(config: Any, key: str) -> Any:
    found = OmegaConf.select(config, key, default=MISSING)
    return OmegaConf.to_container(found) if OmegaConf.is_config(found) else found


def steps(transforms: Any) -> list[str]:
    """Class names of transforms, one level down."""
    return [step._target_.rpartition(".")[2] for step in transforms]


def test_these_are_the_experiments() -> None:
    assert len(EXPERIMENTS) == 37
    assert set(EXPERIMENTS) <= set(known_configs())


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_values(name: str) -> None:
    config = resolved(name)
    expected = {key: v for names, facts in FACTS if name in names for key, v in facts.items()}
    found = {key: value(config, key) for key in expected}
    assert {k: v for k, v in found.items() if v != expected[k]} == {}
    logs = config.launcher.experiment_log_dir
    assert config.trainer.checkpoint.save_dir == f"{logs}/checkpoints"
    assert config.trainer.logging.tensorboard_writer.log_dir == f"{logs}/tensorboard"


@pytest.mark.parametrize("name", GOLD)
def test_gold(name: str) -> None:
    key, stem, pictures = GOLD[name]
    config = resolved(gold(name))
    paths, data = config.paths, config.trainer.data.val
    assert paths.experiment_log_dir == f"{paths.base_experiment_log_dir}/{key}/"
    files = [f"{paths.base_annotation_path}/{stem}_{x}_release_test.json" for x in "abc"]
    assert (list(paths.coco_gts), data.dataset.ann_file) == (files, files[0])
    assert data.dataset.img_folder == paths[pictures]
    check_cgf1(config, key, files)


@pytest.mark.parametrize("name", SILVER)
def test_silver(name: str) -> None:
    key, annotations = SILVER[name]
    config = resolved(silver(name))
    paths, data = config.paths, config.trainer.data.val
    assert paths.experiment_log_dir == f"{paths.base_experiment_log_dir}/{key}/"
    file = f"{paths.base_annotation_path_silver}/{annotations}"
    assert (paths.coco_gt, data.dataset.ann_file) == (file, file)
    assert data.dataset.img_folder == paths.img_path == f"{paths.silver_img_path}/{name}/"
    check_cgf1(config, key, file)


def check_cgf1(config: Any, key: str, truth: Any) -> None:
    assert config.trainer.data.val.collate_fn.dict_key == key
    assert list(config.trainer.meters.val) == [key]
    [(kind, meter)] = config.trainer.meters.val[key].items()
    assert kind == "cgf1" and meter._target_ == "sam3.eval.coco_writer.PredictionDumper"
    assert meter.dump_dir == f"{config.launcher.experiment_log_dir}/dumps/{key}"
    assert (meter.iou_type, meter.maxdets, meter.merge_predictions) == ("segm", 1000000, True)
    assert meter.postprocessor == config.scratch.mask_postprocessor_thresholded
    evaluator = "sam3.eval.cgf1_eval.CGF1Evaluator"
    assert value(meter, "pred_file_evaluators") == [
        {"_target_": evaluator, "gt_path": truth, "iou_type": kind} for kind in ("bbox", "segm")
    ]


@pytest.mark.parametrize("name", VIDEO)
def test_videos(name: str) -> None:
    config = resolved(name)
    clips = Path(name).stem.removesuffix("_noheur")
    assert config.trainer.model.apply_temporal_disambiguation is not name.endswith("_noheur.yaml")
    assert config.trainer.data.val.dataset.ann_file.endswith(f"/{clips}.json")
    writer = config.trainer.meters.val.ytvis_val.pred_file
    assert writer.dump_file == f"{config.launcher.experiment_log_dir}/preds/{clips}.json"
    assert writer.postprocessor._target_ == "sam3.eval.postprocessors.PostProcessNullOp"
    [transforms] = config.trainer.data.val.dataset.transforms
    assert steps(transforms.transforms) == [
        "DecodeRle",
        "RandomResizeAPI",
        "ToTensorAPI",
        "NormalizeAPI",
    ]
    resize = transforms.transforms[1]
    assert (resize.sizes, resize.square, resize.consistent_transform) == (1008, True, True)


@pytest.mark.parametrize("name", [*ODINW, "odinw_text_only_train"])
def test_odinw(name: str) -> None:
    keeps_text, positives, folder = ODINW.get(name, (None, False, "odinw"))
    config = of_task(odinw(name), 10)
    root, logs = config.paths.odinw_data_root, config.launcher.experiment_log_dir
    truth = f"{root}/pistols/export/test_annotations_without_background.json"
    data = config.trainer.data.val.dataset
    assert (data.ann_file.input_json_path, data.img_folder) == (truth, f"{root}/pistols/export/")
    assert data.coco_json_loader.prompts is None
    meter = config.trainer.meters.val.odinw35.detection
    assert meter.dump_dir == f"{logs}/dumps/{folder}/pistols"
    assert config.trainer.logging.log_dir == f"{logs}/logs/pistols"
    check_detection(meter, config)
    [evaluator] = meter.pred_file_evaluators
    assert (evaluator.tide, evaluator.positive_split) == (False, positives)
    assert evaluator.gt_path.input_json_path == truth
    [transforms] = data.transforms
    box = ["TextQueryToVisual"] if keeps_text is not None else []
    assert steps(transforms.transforms) == ["RandomResizeAPI", "ToTensorAPI", "NormalizeAPI", *box]
    if box:
        assert transforms.transforms[3].keep_text_queries is keeps_text
        assert transforms.transforms[3].probability == 1.0


def check_detection(meter: Any, config: Any) -> None:
    assert meter._target_ == "sam3.eval.coco_writer.PredictionDumper"
    assert (meter.iou_type, meter.maxdets, meter.merge_predictions) == ("bbox", 100, True)
    assert meter.postprocessor == config.scratch.original_box_postprocessor
    [evaluator] = meter.pred_file_evaluators
    assert evaluator._target_.endswith(".CocoEvaluatorOfflineWithPredFileEvaluators")
    assert evaluator.iou_type == "bbox"


def test_sets_of_odinw() -> None:
    sets = resolved(ODINW_TRAIN).all_odinw_supercategories
    assert [one.name for one in sets] == [
        "AerialMaritimeDrone_large",
        "Aquarium",
        "CottontailRabbits",
        "EgoHands_generic",
        "NorthAmericaMushrooms",
        "Packages",
        "PascalVOC",
        "Raccoon",
        "ShellfishOpenImages",
        "VehiclesOpenImages",
        "pistols",
        "pothole",
        "thermalDogsAndPeople",
    ]
    assert all(one.val.json.startswith(one.val.img_folder) for one in sets)
    examples = "fewshot_train_shot10_seed300.json"
    assert all(one.train.json == one.train.img_folder + examples for one in sets)
    evaluated = resolved(odinw("odinw_text_only")).all_odinw_supercategories
    assert [(one.name, one.val) for one in evaluated] == [(one.name, one.val) for one in sets]


@pytest.mark.parametrize("name", [*ODINW_EVAL, ODINW_TRAIN])
@pytest.mark.parametrize(
    ("task", "names"),
    [
        (0, ["boat", "car", "dock", "jet ski", "boat lift"]),
        (4, ["chicken of the woods", "chanterelle"]),
    ],
)
def test_prompts_of_odinw(name: str, task: int, names: list[str]) -> None:
    from sam3.train.data.coco_json_loaders import COCO_FROM_JSON

    prompts = of_task(name, task).trainer.data.val.dataset.coco_json_loader.prompts
    rows = [{"id": i, "name": "?"} for i in range(1, len(names) + 1)]
    loader = COCO_FROM_JSON({"images": [], "annotations": [], "categories": rows}, prompts)
    assert list(loader.names.values()) == names


@pytest.mark.parametrize("name", ROBOFLOW)
@pytest.mark.parametrize(
    ("task", "data_set"), [(0, "-grccs"), (51, "2024-frc"), (99, "cable-damage")]
)
def test_roboflow(name: str, task: int, data_set: str) -> None:
    config = of_task(name, task)
    folder = f"{config.paths.roboflow_vl_100_root}/{data_set}"
    for phase, part in (("train", "train"), ("val", "test")):
        data = config.trainer.data[phase].dataset
        assert data.img_folder == f"{folder}/{part}/"
        assert data.ann_file == f"{folder}/{part}/_annotations.coco.json"
    logs, meter = (
        config.launcher.experiment_log_dir,
        config.trainer.meters.val.roboflow100.detection,
    )
    assert meter.dump_dir == f"{logs}/dumps/roboflow/{data_set}"
    assert config.trainer.logging.log_dir == f"{logs}/logs/{data_set}"
    check_detection(meter, config)
    assert meter.pred_file_evaluators[0].gt_path == f"{folder}/test/_annotations.coco.json"
    sets = config.all_roboflow_supercategories
    assert len(sets) == len(set(sets)) == 100


@pytest.mark.parametrize("name", [ODINW_TRAIN, *ROBOFLOW])
def test_transforms_of_the_training(name: str) -> None:
    first, last = resolved(name).trainer.data.train.dataset.transforms
    assert steps(first.transforms) == [
        "FlexibleFilterFindGetQueries",
        "RandomizeInputBbox",
        "DecodeRle",
        "RandomResizeAPI",
        "PadToSizeAPI",
        "ToTensorAPI",
        "FlexibleFilterFindGetQueries",
        "NormalizeAPI",
        "FlexibleFilterFindGetQueries",
    ]
    filters = [step.query_filter for step in (*first.transforms, last) if "query_filter" in step]
    assert steps(filters) == [
        "FilterCrowds",
        "FilterEmptyTargets",
        "FilterEmptyTargets",
        "FilterFindQueriesWithTooManyOut",
    ]
    assert filters[-1].max_num_objects == 200
    noise, resize, pad = (first.transforms[i] for i in (1, 3, 4))
    assert (noise.box_noise_std, noise.box_noise_max) == (0.1, 20)
    assert value(resize, "sizes") == {
        "_target_": "sam3.train.transforms.basic.get_random_resize_scales",
        "size": 1008,
        "min_size": 480,
        "rounded": False,
    }
    assert (resize.square, resize.consistent_transform) == (True, False)
    assert (pad.size, pad.consistent_transform) == (1008, False)


def test_losses_with_masks(tmp_path: Path) -> None:
    own = tmp_path / "masks.yaml"
    own.write_text(
        "# @package _global_\n"
        f"defaults: [/{FINE_TUNING}, /config_parts/mask_loss@roboflow_train, _self_]\n"
        "scratch: {enable_segmentation: true}\n"
    )
    config = resolved(str(own))
    loss = config.trainer.loss.all
    assert {key: value(loss, key) for key in FIND_LOSS if "[2]" not in key} | {
        "loss_fn_semantic_seg": None
    } == {key: v for key, v in FIND_LOSS.items() if "[2]" not in key}
    assert loss.loss_fns_find[2].weight_dict == {"loss_mask": 200.0, "loss_dice": 10.0}
    assert loss.loss_fn_semantic_seg.weight_dict == {
        "loss_semantic_seg": 20.0,
        "loss_semantic_presence": 1.0,
        "loss_semantic_dice": 30.0,
    }
    assert config.trainer.model.enable_segmentation
    assert config.trainer.data.train.collate_fn.with_seg_masks


# ---- the files ----------------------------------------------------------------------------------


def test_families_share_what_they_have_in_common() -> None:
    seen: dict[tuple[str, ...], str] = {}
    for path in sorted((ROOT / "sam3/train").glob("conf*/**/*.yaml")):
        lines = [line.strip() for line in path.read_text().splitlines() if line.strip()]
        for window in zip(*(lines[i:] for i in range(8)), strict=False):
            first = seen.setdefault(window, path.name)
            assert first == path.name, f"{path.name} repeats {window} of {first}"


def test_an_installed_package_has_the_files() -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11 reads pyproject.toml")
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = settings["tool"]["setuptools"]["package-data"]["sam3"]
    packed = {path for pattern in patterns for path in (ROOT / "sam3").glob(pattern)}
    assert set((ROOT / "sam3/train").glob("conf*/**/*.yaml")) <= packed
