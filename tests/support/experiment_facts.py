"""Published facts about the 37 experiments, by dotted keys of their configurations."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

BASE = "configs/eval_base.yaml"
MISSING = object()

# ---- what differs between the experiments of a family -------------------------------------------

# file: (subset, beginning of the annotations' names, key of the pictures' folder)
GOLD = {
    "attributes": ("gold_attributes", "gold_attributes_merged", "metaclip_img_path"),
    "crowded": ("gold_crowded", "gold_crowded_merged", "metaclip_img_path"),
    "fg_food": ("gold_fg_food", "gold_fg_food_merged", "metaclip_img_path"),
    "fg_sports": (
        "gold_fg_sports_equipment",
        "gold_fg_sports_equipment_merged",
        "metaclip_img_path",
    ),
    "metaclip_nps": ("gold_metaclip_nps", "gold_metaclip_merged", "metaclip_img_path"),
    "sa1b_nps": ("gold_sa1b_nps", "gold_sa1b_merged", "sa1b_img_path"),
    "wiki_common": ("gold_wiki_common", "gold_wiki_common_merged", "metaclip_img_path"),
}
# file: (subset, annotations); the file is also the folder of the pictures
SILVER = {
    "bdd100k": ("silver_bdd100k", "silver_bdd100k_merged_test.json"),
    "droid": ("silver_droid", "silver_droid_merged_test.json"),
    "ego4d": ("silver_ego4d", "silver_ego4d_merged_test.json"),
    "fathomnet": ("silver_fathomnet", "silver_fathomnet_test.json"),
    "food_rec": ("silver_food_rec", "silver_food_rec_merged_test.json"),
    "geode": ("silver_geode", "silver_geode_merged_test.json"),
    "inaturalist": ("silver_inaturalist", "silver_inaturalist_merged_test.json"),
    "nga": ("silver_nga_art", "silver_nga_art_merged_test.json"),
    "sav": ("silver_sav", "silver_sav_merged_test.json"),
    "yt1b": ("silver_yt1b", "silver_yt1b_merged_test.json"),
}
# file: (keeps the text beside a box as prompt, None = no box; pairs with truth only; dump folder)
ODINW = {
    "odinw_text_only": (None, False, "odinw"),
    "odinw_text_only_positive": (None, True, "roboflow"),
    "odinw_text_and_visual": (True, True, "roboflow"),
    "odinw_visual_only": (False, True, "roboflow"),
}
ODINW_TRAIN = "configs/odinw13/odinw_text_only_train.yaml"
FINE_TUNING = "configs/roboflow_v100/roboflow_v100_full_ft_100_images.yaml"
ROBOFLOW_EVAL = "configs/roboflow_v100/roboflow_v100_eval.yaml"
VIDEO = [
    f"configs/saco_video_evals/saco_veval_{domain}_{split}{suffix}.yaml"
    for domain, split, suffix in product(
        ("sav", "yt1b", "smartglasses"), ("val", "test"), ("", "_noheur")
    )
]


def gold(name: str) -> str:
    return f"configs/gold_image_evals/sam3_gold_image_{name}.yaml"


def silver(name: str) -> str:
    return f"configs/silver_image_evals/sam3_silver_image_{name}.yaml"


def odinw(name: str) -> str:
    return f"configs/odinw13/{name}.yaml"


SACO_PICTURES = [*map(gold, GOLD), *map(silver, SILVER)]
ODINW_EVAL = [*map(odinw, ODINW)]
ROBOFLOW = [FINE_TUNING, ROBOFLOW_EVAL]
TRAINING = [ODINW_TRAIN, FINE_TUNING]
EXPERIMENTS = [BASE, *SACO_PICTURES, *ODINW_EVAL, ODINW_TRAIN, *ROBOFLOW, *VIDEO]

# ---- what the experiments of a family share -----------------------------------------------------

DUMMY = "sam3.train.loss.sam3_loss.DummyLoss"
DATA = "sam3.train.data"
LOGGER = "sam3.train.utils.logger.make_tensorboard_logger"
IMAGE_MODEL = "sam3.model_builder.build_sam3_image_model"
HALF = [0.5, 0.5, 0.5]
EVERYWHERE: dict[str, Any] = {
    "scratch.resolution": 1008,
    "scratch.val_norm_mean": HALF,
    "scratch.val_norm_std": HALF,
    "scratch.use_presence_eval": True,
    "scratch.gather_pred_via_filesys": False,
    "trainer._target_": "sam3.train.trainer.Trainer",
    "trainer.skip_saving_ckpts": True,
    "trainer.empty_gpu_mem_cache_after_eval": True,
    "trainer.accelerator": "cuda",
    "trainer.seed_value": 123,
    "trainer.distributed.backend": "nccl",
    "trainer.distributed.find_unused_parameters": True,
    "trainer.distributed.gradient_as_bucket_view": True,
    "trainer.loss.default._target_": DUMMY,
    "trainer.checkpoint.save_freq": 0,
    "trainer.logging.tensorboard_writer._target_": LOGGER,
    "trainer.logging.tensorboard_writer.flush_secs": 120,
    "trainer.logging.tensorboard_writer.should_log": True,
    "trainer.logging.wandb_writer": None,
    "trainer.logging.log_freq": 10,
    "launcher.multiprocessing_context": "forkserver",
    "submitit.account": None,
    "submitit.partition": None,
    "submitit.qos": None,
    "submitit.constraint": None,
    "submitit.timeout_hour": 72,
    "submitit.use_cluster": True,
    "submitit.cpus_per_task": 10,
    "submitit.port_range": [10000, 65000],
}
LONG_RUN: dict[str, Any] = {
    "scratch.train_norm_mean": HALF,
    "scratch.train_norm_std": HALF,
    "scratch.d_model": 256,
    "scratch.val_batch_size": 1,
    "scratch.hybrid_repeats": 1,
    "trainer.skip_first_val": True,
    "trainer.val_epoch_freq": 10,
    "trainer.optim.amp.enabled": True,
    "trainer.optim.amp.amp_dtype": "bfloat16",
}
INVERSE_SQRT = "sam3.train.optim.schedulers.InverseSquareRootParamScheduler"
OPTIM: dict[str, Any] = {
    "scratch.max_ann_per_img": 200,
    "scratch.target_epoch_size": 1500,
    "scratch.context_length": 2,
    "scratch.lr_scale": 0.1,
    "scratch.lrd_vision_backbone": 0.9,
    "scratch.wd": 0.1,
    "trainer.optim.optimizer._target_": "torch.optim.AdamW",
    "trainer.optim.gradient_clip.max_norm": 0.1,
    "trainer.optim.gradient_clip.norm_type": 2,
    "trainer.optim.param_group_modifiers[0].layer_decay_value": 0.9,
    "trainer.optim.param_group_modifiers[0].apply_to": "backbone.vision_backbone.trunk",
    "trainer.optim.param_group_modifiers[0].overrides": [{"pattern": "*pos_embed*", "value": 1.0}],
    "trainer.optim.options.lr[1].param_names": ["backbone.vision_backbone.*"],
    "trainer.optim.options.lr[2].param_names": ["backbone.language_backbone.*"],
    "trainer.optim.options.weight_decay[0].scheduler.value": 0.1,
    "trainer.optim.options.weight_decay[1].scheduler.value": 0.0,
    "trainer.optim.options.weight_decay[1].param_names": ["*bias*"],
    "trainer.optim.options.weight_decay[1].module_cls_names": ["torch.nn.LayerNorm"],
}
for index, rate in enumerate((8e-5, 2.5e-5, 5e-6)):
    OPTIM |= {
        f"trainer.optim.options.lr[{index}].scheduler.{key}": value
        for key, value in {
            "_target_": INVERSE_SQRT,
            "base_lr": pytest.approx(rate),
            "timescale": 20,
            "warmup_steps": 20,
            "cooldown_steps": 20,
        }.items()
    }
PICTURES: dict[str, Any] = {
    "trainer.model._target_": IMAGE_MODEL,
    "trainer.model.device": "cpus",
    "scratch.original_box_postprocessor.use_original_ids": True,
    "scratch.original_box_postprocessor.use_original_sizes_box": True,
    "scratch.original_box_postprocessor.use_presence": True,
    "scratch.original_box_postprocessor.max_dets_per_img": -1,
}
PICTURE_DATA: dict[str, Any] = {
    "trainer.data.val._target_": f"{DATA}.torch_dataset.TorchDataset",
    "trainer.data.val.dataset._target_": f"{DATA}.sam3_image_dataset.Sam3ImageDataset",
    "trainer.data.val.dataset.max_ann_per_img": 100000,
    "trainer.data.val.dataset.multiplier": 1,
    "trainer.data.val.dataset.training": False,
    "trainer.data.val.shuffle": False,
    "trainer.data.val.drop_last": False,
    "trainer.data.val.collate_fn._target_": f"{DATA}.collator.collate_fn_api",
    "trainer.data.val.collate_fn._partial_": True,
    "trainer.data.val.collate_fn.repeats": 1,
}
SACO_BASE: dict[str, Any] = {
    "paths.checkpoint_path": None,
    "scratch.loss": None,
    "scratch.input_box_embedding_dim": 258,
    "scratch.train_batch_size": 1,
    "scratch.num_train_workers": 0,
    "scratch.num_val_workers": 10,
    "scratch.mask_postprocessor_thresholded.iou_type": "segm",
    "scratch.mask_postprocessor_thresholded.use_original_ids": False,
    "scratch.mask_postprocessor_thresholded.use_original_sizes_box": False,
    "scratch.mask_postprocessor_thresholded.use_original_sizes_mask": True,
    "scratch.mask_postprocessor_thresholded.convert_mask_to_rle": True,
    "scratch.mask_postprocessor_thresholded.detection_threshold": 0.3,
    "scratch.box_postprocessor_thresholded.detection_threshold": 0.3,
    "scratch.box_postprocessor_thresholded.use_original_ids": False,
    "scratch.box_postprocessor.use_original_sizes_box": False,
    "trainer.mode": "val",
    "trainer.max_epochs": 20,
    "trainer.loss.all._target_": DUMMY,
    "trainer.data.train": None,
    "trainer.model.eval_mode": True,
    "trainer.model.enable_segmentation": True,
    "trainer.model.checkpoint_path": None,
    "launcher.num_nodes": 4,
    "launcher.gpus_per_node": 8,
}
SACO_DATA: dict[str, Any] = {
    "trainer.data.val.dataset.coco_json_loader._target_": (
        f"{DATA}.coco_json_loaders.SAM3_EVAL_API_FROM_JSON_NP"
    ),
    "trainer.data.val.batch_size": 1,
    "trainer.data.val.num_workers": 10,
    "trainer.data.val.pin_memory": False,
}
COCO_LOADER = f"{DATA}.coco_json_loaders.COCO_FROM_JSON"
ODINW_DATA: dict[str, Any] = {
    "trainer.data.val.dataset.coco_json_loader._target_": COCO_LOADER,
    "trainer.data.val.dataset.coco_json_loader.include_negatives": True,
    "trainer.data.val.dataset.coco_json_loader.category_chunk_size": 20,
    "trainer.data.val.dataset.ann_file._target_": "sam3.eval.coco_reindex.reindex_coco_to_temp",
    "trainer.data.val.num_workers": 0,
    "trainer.data.val.pin_memory": False,
    "trainer.data.val.collate_fn.dict_key": "odinw35",
    "launcher.num_nodes": 1,
    "launcher.gpus_per_node": 2,
    "submitit.job_array.num_tasks": 13,
    "submitit.job_array.task_index": 0,
}
ODINW_ZERO_SHOT: dict[str, Any] = {
    "trainer.mode": "val",
    "trainer.max_epochs": 1,
    "trainer.optim": MISSING,
    "trainer.data.train": MISSING,
    "trainer.data.val.batch_size": 2,
    "trainer.model.eval_mode": True,
    "trainer.model.enable_segmentation": True,
    "all_odinw_supercategories[0].train": MISSING,
}
FIND_LOSS: dict[str, Any] = {
    "_target_": "sam3.train.loss.sam3_loss.Sam3LossWrapper",
    "o2m_weight": 2.0,
    "o2m_matcher._target_": "sam3.train.matcher.BinaryOneToManyMatcher",
    "o2m_matcher.alpha": 0.3,
    "o2m_matcher.threshold": 0.4,
    "o2m_matcher.topk": 4,
    "use_o2m_matcher_on_o2m_aux": False,
    "loss_fns_find[0]._target_": "sam3.train.loss.loss_fns.Boxes",
    "loss_fns_find[0].weight_dict": {"loss_bbox": 5.0, "loss_giou": 2.0},
    "loss_fns_find[1]._target_": "sam3.train.loss.loss_fns.IABCEMdetr",
    "loss_fns_find[1].weight_dict": {"loss_ce": 20.0, "presence_loss": 20.0},
    "loss_fns_find[1].weak_loss": False,
    "loss_fns_find[1].alpha": 0.25,
    "loss_fns_find[1].gamma": 2,
    "loss_fns_find[1].use_presence": True,
    "loss_fns_find[1].pos_focal": False,
    "loss_fns_find[1].pad_n_queries": 200,
    "loss_fns_find[1].pad_scale_pos": 1.0,
    "loss_fns_find[2]": MISSING,
    "loss_fn_semantic_seg": None,
    "scale_by_find_batch_size": True,
}
MATCHER = {
    "_target_": "sam3.train.matcher.BinaryHungarianMatcherV2",
    "focal": True,
    "cost_class": 2.0,
    "cost_bbox": 5.0,
    "cost_giou": 2.0,
    "alpha": 0.25,
    "gamma": 2,
    "stable": False,
}
FINE_TUNED: dict[str, Any] = {
    **{f"trainer.loss.all.{key}": value for key, value in FIND_LOSS.items()},
    "trainer.loss.all.matcher": MATCHER,
    "trainer.model.matcher": MATCHER,
    "trainer.model.enable_segmentation": False,
    "trainer.data.train.dataset.load_segmentation": False,
    "trainer.data.train.dataset.max_ann_per_img": 500000,
    "trainer.data.train.dataset.max_train_queries": 50000,
    "trainer.data.train.dataset.max_val_queries": 50000,
    "trainer.data.train.dataset.training": True,
    "trainer.data.train.dataset.use_caching": False,
    "trainer.data.train.shuffle": True,
    "trainer.data.train.batch_size": 1,
    "trainer.data.train.drop_last": True,
    "trainer.data.train.collate_fn.dict_key": "all",
    "trainer.data.train.collate_fn.with_seg_masks": False,
    "trainer.data.val.dataset.load_segmentation": False,
    "trainer.data.val.batch_size": 1,
    "trainer.data.val.collate_fn.with_seg_masks": False,
}
ROBOFLOW_FACTS: dict[str, Any] = {
    "roboflow_train.num_images": 100,
    "trainer.max_epochs": 20,
    "trainer.gradient_accumulation_steps": 1,
    "trainer.loss.all.loss_fns_find[1].pos_weight": 10.0,
    "trainer.data.train.dataset.limit_ids": 100,
    "trainer.data.train.dataset.coco_json_loader": MISSING,
    "trainer.data.train.num_workers": 10,
    "trainer.data.train.pin_memory": True,
    "trainer.data.val.dataset.coco_json_loader._target_": COCO_LOADER,
    "trainer.data.val.dataset.coco_json_loader.include_negatives": True,
    "trainer.data.val.dataset.coco_json_loader.category_chunk_size": 2,
    "trainer.data.val.num_workers": 0,
    "trainer.data.val.pin_memory": True,
    "trainer.data.val.collate_fn.dict_key": "roboflow100",
    "launcher.num_nodes": 1,
    "launcher.gpus_per_node": 2,
    "submitit.job_array.num_tasks": 100,
    "submitit.job_array.task_index": 0,
}
ODINW_TRAIN_FACTS: dict[str, Any] = {
    "odinw_train.train_file": "fewshot_train_shot10_seed300",
    "odinw_train.num_images": None,
    "scratch.boxRPB": "log",
    "scratch.dac": True,
    "scratch.num_queries": 200,
    "scratch.input_geometry_encoder.num_layers": 3,
    "trainer.mode": "train",
    "trainer.max_epochs": 40,
    "trainer.loss.all.loss_fns_find[1].pos_weight": 5.0,
    "trainer.data.train.num_workers": 0,
    "trainer.data.train.pin_memory": False,
    "trainer.data.train.dataset.limit_ids": None,
    "trainer.data.train.dataset.coco_json_loader._target_": COCO_LOADER,
    "trainer.data.val.batch_size": 1,
    "trainer.model.eval_mode": False,
    "launcher.experiment_log_dir": None,
}
VIDEO_FACTS: dict[str, Any] = {
    "scratch.num_val_workers": 0,
    "trainer.mode": "val",
    "trainer.max_epochs": 20,
    "trainer.loss.all._target_": DUMMY,
    "trainer.data.train": None,
    "trainer.data.val.dataset._target_": f"{DATA}.sam3_video_dataset.VideoGroundingDataset",
    "trainer.data.val.dataset.limit_ids": None,
    "trainer.data.val.dataset.coco_json_loader._target_": (
        f"{DATA}.coco_json_loaders.SAM3_VEVAL_API_FROM_JSON_NP"
    ),
    "trainer.data.val.dataset.max_ann_per_img": 100000,
    "trainer.data.val.dataset.max_val_queries": 100000,
    "trainer.data.val.dataset.load_segmentation": True,
    "trainer.data.val.dataset.training": False,
    "trainer.data.val.batch_size": 1,
    "trainer.data.val.num_workers": 0,
    "trainer.data.val.pin_memory": True,
    "trainer.data.val.collate_fn.dict_key": "ytvis_val",
    "trainer.data.val.collate_fn.with_seg_masks": True,
    "trainer.model._target_": "sam3.model_builder.build_sam3_video_model",
    "trainer.model.has_presence_token": True,
    "trainer.model.geo_encoder_use_img_cross_attn": True,
    "trainer.meters.val.ytvis_val.pred_file._target_": "sam3.eval.ytvis_eval.YTVISResultsWriter",
    "trainer.optim.optimizer": MISSING,
    "launcher.num_nodes": 8,
    "launcher.gpus_per_node": 8,
}
FACTS: list[tuple[list[str], dict[str, Any]]] = [
    (EXPERIMENTS, EVERYWHERE),
    ([BASE, *SACO_PICTURES, ODINW_TRAIN, *ROBOFLOW, *VIDEO], LONG_RUN),
    ([BASE, *SACO_PICTURES, ODINW_TRAIN, *ROBOFLOW], OPTIM),
    ([BASE, *SACO_PICTURES, *ODINW_EVAL, ODINW_TRAIN, *ROBOFLOW], PICTURES),
    ([*SACO_PICTURES, *ODINW_EVAL, ODINW_TRAIN, *ROBOFLOW], PICTURE_DATA),
    ([BASE, *SACO_PICTURES], SACO_BASE),
    ([BASE], {"trainer.data.val": None, "trainer.meters.val": None}),
    (SACO_PICTURES, SACO_DATA),
    ([*ODINW_EVAL, ODINW_TRAIN], ODINW_DATA),
    (ODINW_EVAL, ODINW_ZERO_SHOT),
    ([ODINW_TRAIN, *ROBOFLOW], FINE_TUNED),
    (ROBOFLOW, ROBOFLOW_FACTS),
    ([FINE_TUNING], {"trainer.mode": "train", "trainer.model.eval_mode": False}),
    ([ROBOFLOW_EVAL], {"trainer.mode": "val", "trainer.model.eval_mode": True}),
    ([ODINW_TRAIN], ODINW_TRAIN_FACTS),
    (VIDEO, VIDEO_FACTS),
]
