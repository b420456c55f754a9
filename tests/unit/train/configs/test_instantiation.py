"""Every object that an experiment names can be made, on small sets and with the tiny model."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

hydra = pytest.importorskip("hydra.utils", reason="hydra-core is not installed")
pytest.importorskip("fvcore", reason="fvcore is not installed")
pytest.importorskip("pycocotools", reason="pycocotools is not installed")

from omegaconf import OmegaConf  # noqa: E402

from sam3.config import presets  # noqa: E402
from sam3.model_builder import assemble_image_model  # noqa: E402
from sam3.train.matcher import BinaryHungarianMatcherV2  # noqa: E402
from sam3.train.optim.optimizer import construct_optimizer  # noqa: E402
from tests.support.experiment_facts import (  # noqa: E402
    BASE,
    EXPERIMENTS,
    FINE_TUNING,
    ODINW_TRAIN,
    VIDEO,
    gold,
    odinw,
    silver,
)
from tests.support.experiments import SIDE, targets_in, with_data  # noqa: E402

TINY = {
    "sam3.model_builder.build_sam3_image_model": "sam3.config.presets.SAM3_TINY",
    "sam3.model_builder.build_sam3_video_model": "sam3.config.presets.SAM3_TINY_VIDEO",
}
TRAINER = "sam3.train.trainer.Trainer"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sets")


def plain(config: Any) -> Any:
    return OmegaConf.to_container(config, resolve=True)


def make(node: Any) -> Any:
    """What a node makes, with the tiny model in place of the released one."""
    if node["_target_"] in TINY:
        return make_model(json.dumps(node))
    if node["_target_"] == "torch.optim.AdamW":  # the trainer gives it the parameters
        return hydra.instantiate(node, [torch.nn.Parameter(torch.zeros(1))])
    return hydra.instantiate(node, _convert_="all")


@cache
def make_model(node: str) -> torch.nn.Module:
    arguments = {"device": "cpu", **json.loads(node), "load_from_HF": False}
    arguments["config"] = {
        "_target_": "hydra.utils.get_object",
        "path": TINY[arguments["_target_"]],
    }
    return hydra.instantiate(arguments, _convert_="all")


def make_all(node: Any) -> list[str]:
    """Make everything below a node; the names of what was made, nested ones too."""
    if isinstance(node, dict) and "_target_" in node and node["_target_"] != TRAINER:
        assert make(node) is not None
        return list(targets_in(node))
    below = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return [target for value in below for target in make_all(value)]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_object_can_be_made(name: str, folder: Path) -> None:
    config = plain(with_data(name, folder))
    assert sorted([TRAINER, *make_all(config)]) == sorted(targets_in(config))


DATA = [
    (gold("sa1b_nps"), 3, 1),
    (silver("fathomnet"), 3, 1),
    (odinw("odinw_text_only"), 2, 6),
    (odinw("odinw_text_and_visual"), 2, 6),
    (odinw("odinw_visual_only"), 2, 6),
    (ODINW_TRAIN, 3, 3),
    (FINE_TUNING, 6, 2),
    (VIDEO[0], 1, 3),
]


@pytest.mark.parametrize(("name", "batches", "prompts"), DATA)
def test_batches(name: str, batches: int, prompts: int, folder: Path) -> None:
    config = with_data(name, folder, scratch__resolution=SIDE, scratch__num_val_workers=0)
    data = make(plain(config.trainer.data.val))
    [*found] = data.get_loader(0)
    key = config.trainer.data.val.collate_fn.dict_key
    assert len(found) == batches and all(list(batch) == [key] for batch in found)
    first = found[0][key]
    assert first.img_batch.shape[1:] == (3, SIDE, SIDE)
    assert sum(len(stage.img_ids) for stage in first.find_inputs) == prompts
    boxes = first.find_inputs[0].input_boxes
    texts = set(first.find_text_batch)
    if name == odinw("odinw_visual_only"):
        assert "visual" in texts
    if "visual" in name:
        assert len(boxes) == 1
    else:
        assert boxes is None or len(boxes) == 0


@pytest.mark.parametrize("name", [ODINW_TRAIN, FINE_TUNING])
def test_a_training_step(name: str, folder: Path) -> None:
    """Loss and gradients of the composed parts, at the size of the tiny model."""
    config = with_data(name, folder, scratch__resolution=SIDE, scratch__num_train_workers=0)
    node = plain(config.trainer)
    node["data"]["train"]["dataset"]["transforms"][0]["transforms"][3]["sizes"]["min_size"] = 64
    batch = next(iter(make(node["data"]["train"]).get_loader(0)))["all"]
    model = make(node["model"])
    assert isinstance(model.matcher, BinaryHungarianMatcherV2) and model.training
    assert model.transformer.decoder.use_act_checkpoint
    loss = make(node["loss"]["all"])
    found = loss(model(batch), [model.back_convert(t) for t in batch.find_targets])
    assert {"loss_bbox", "loss_giou", "loss_ce", "presence_loss", "loss_ce_o2m"} <= found.keys()
    assert torch.isfinite(found["core_loss"]) and found["core_loss"] > 0
    found["core_loss"].backward()
    assert make(node["optim"]["gradient_clip"])(model) > 0.1
    total = torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]).norm()
    assert total <= 0.1 + 1e-6
    model.zero_grad(set_to_none=True)


@pytest.mark.parametrize("name", [ODINW_TRAIN, FINE_TUNING, BASE])
def test_rates_and_decay(name: str, folder: Path) -> None:
    """After warm-up: rates by part and by depth of the trunk, no decay of biases and LayerNorm."""
    node = plain(with_data(name, folder).trainer)
    model = make(node["model"])
    conf = node["optim"]
    optimizer = construct_optimizer(
        model, conf["optimizer"], conf["options"], conf["param_group_modifiers"]
    )
    assert isinstance(optimizer.optimizer, torch.optim.AdamW)
    optimizer.step_schedulers(where=20 / 1e6, step=20)
    groups = {id(p): g for g in optimizer.optimizer.param_groups for p in g["params"]}
    found = {
        n: (groups[id(p)]["lr"], groups[id(p)]["weight_decay"]) for n, p in model.named_parameters()
    }
    trunk, text = "backbone.vision_backbone.trunk.", "backbone.language_backbone.encoder."
    depth = presets.SAM3_TINY.vision.depth
    expected = {
        "transformer.decoder.query_embed.weight": (8e-5, 0.1),
        "transformer.decoder.norm.weight": (8e-5, 0.0),
        "transformer.encoder.layers.0.linear1.bias": (8e-5, 0.0),
        text + "token_embedding.weight": (5e-6, 0.1),
        text + "ln_final.weight": (5e-6, 0.0),
        trunk + "pos_embed": (2.5e-5, 0.1),
        trunk + "patch_embed.proj.weight": (2.5e-5 * 0.9 ** (depth + 1), 0.1),
        trunk + "blocks.0.mlp.fc1.weight": (2.5e-5 * 0.9**depth, 0.1),
        trunk + f"blocks.{depth - 1}.mlp.fc1.weight": (2.5e-5 * 0.9, 0.1),
        trunk + f"blocks.{depth - 1}.mlp.fc1.bias": (2.5e-5 * 0.9, 0.0),
        "backbone.vision_backbone.convs.0.conv_1x1.weight": (2.5e-5, 0.1),
    }
    assert {k: found[k] for k in expected} == {k: pytest.approx(v) for k, v in expected.items()}


@pytest.fixture(scope="module")
def released() -> torch.nn.Module:
    """The released-size model without its values."""
    with torch.device("meta"):
        return assemble_image_model(presets.SAM3_IMAGE, enable_segmentation=False)


def test_groups_of_the_released_model(released: torch.nn.Module, folder: Path) -> None:
    conf = plain(with_data(FINE_TUNING, folder).trainer.optim)
    optimizer = construct_optimizer(
        released, conf["optimizer"], conf["options"], conf["param_group_modifiers"]
    )
    groups = optimizer.optimizer.param_groups
    # With and without decay: the rest, the text, the neck, every block and what stands before them;
    # positions have a rate of their own.
    assert len(groups) == 2 * (3 + presets.SAM3_IMAGE.vision.depth + 1) + 1
    held = sum(parameter.numel() for group in groups for parameter in group["params"])
    assert held == sum(parameter.numel() for parameter in released.parameters()) > 800e6


def test_the_described_prompt_encoder_is_the_built_one(
    released: torch.nn.Module, folder: Path
) -> None:
    node = plain(with_data(ODINW_TRAIN, folder).scratch)
    described = make(node["input_geometry_encoder"])
    built = released.geometry_encoder
    shapes = {name: p.shape for name, p in built.state_dict().items()}
    assert {name: p.shape for name, p in described.state_dict().items()} == shapes
