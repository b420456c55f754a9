"""Which weights learn and how fast; adapters and their merging."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
import torch

from sam3.config import presets
from sam3.errors import InputError, MissingDependencyError
from sam3.model.data_misc import FindStage
from sam3.model.sam3_image import Sam3Image
from sam3.train.data.scenes.vocabulary import parse
from sam3.train.finetune.anchor import TextAnchor, drawn_phrases
from sam3.train.finetune.lora import add_adapters, merged_state
from sam3.train.finetune.rates import freeze, make_optimizer, make_schedule, part_of
from sam3.train.finetune.recipe import PARTS, RELEASED, TINY, FinetuneRecipe, recipe_for
from sam3.train.optim.layer_decay import layer_decay_param_modifier
from sam3.train.optim.optimizer import construct_optimizer

Build = Callable[[], Sam3Image]


def constant(value: float) -> Callable[[float], float]:
    return lambda where: value


def test_rates_are_those_of_the_released_experiment(mini: Build) -> None:
    model = mini()
    released = construct_optimizer(
        model,
        partial(torch.optim.AdamW, lr=0.0),
        {
            "lr": [
                {"scheduler": constant(8e-5)},
                {"scheduler": constant(2.5e-5), "param_names": ["backbone.vision_backbone.*"]},
                {"scheduler": constant(5e-6), "param_names": ["backbone.language_backbone.*"]},
            ],
            "weight_decay": [
                {"scheduler": constant(0.1)},
                {
                    "scheduler": constant(0.0),
                    "param_names": ["*bias*"],
                    "module_cls_names": ["torch.nn.LayerNorm"],
                },
            ],
        },
        [
            partial(
                layer_decay_param_modifier,
                layer_decay_value=0.9,
                apply_to="backbone.vision_backbone.trunk",
                overrides=[{"pattern": "*pos_embed*", "value": 1.0}],
            )
        ],
    )
    wanted = {
        id(p): (group["lr"], group["weight_decay"])
        for group in released.optimizer.param_groups
        for p in group["params"]
    }
    found = {
        id(p): (RELEASED.lr * group["lr_scale"], group["weight_decay"])
        for group in make_optimizer(model, RELEASED).param_groups
        for p in group["params"]
    }
    norms = {
        id(p) for m in model.modules() if isinstance(m, torch.nn.GroupNorm) for p in m.parameters()
    }
    assert found.keys() == wanted.keys()
    for key in found.keys() - norms:
        assert found[key] == pytest.approx(wanted[key])


def test_the_released_schedule_warms_up_falls_and_cools_down() -> None:
    schedule = make_schedule(RELEASED)
    rate = partial(lambda step, total: schedule(step=step, where=step / total), total=200)
    assert rate(0) == 0 and rate(10) == pytest.approx(4e-5) and rate(20) == pytest.approx(8e-5)
    assert rate(40) == pytest.approx(8e-5 / 2**0.5)
    assert rate(190) == pytest.approx(8e-5 / (190 / 20) ** 0.5 * 0.5)
    with pytest.raises(InputError, match="hold-cosine"):
        make_schedule(replace(RELEASED, schedule="linear"))


def test_every_parameter_belongs_to_a_part_that_can_be_frozen(mini: Build) -> None:
    model = mini()
    assert {part_of(name) for name, _ in model.named_parameters()} == set(PARTS)
    left = freeze(model, ("trunk", "text"))
    assert left == sum(p.numel() for p in model.parameters() if p.requires_grad)
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == (part_of(name) not in ("trunk", "text"))
    with pytest.raises(InputError, match="freeze fewer"):
        freeze(model, tuple(PARTS))


def test_recipes_fit_their_models_and_refuse_nonsense() -> None:
    assert recipe_for(presets.SAM3_TINY) is TINY and recipe_for(presets.SAM31_IMAGE) is RELEASED
    assert RELEASED.with_length(minutes=2.0).epochs is None
    for wrong in ({"steps": 3}, {"batch_size": 0}, {"replay": 1.0}, {"frozen": ("tail",)}):
        with pytest.raises(InputError):
            FinetuneRecipe(**wrong)


def outputs(model: Sam3Image) -> list[torch.Tensor]:
    model.eval()
    picture = torch.randn(1, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features = model.backbone.forward_image(picture) | model.backbone.forward_text(["a cat"])
        stage = FindStage.for_texts(torch.tensor([0]), torch.tensor([0]))
        out = model.forward_grounding(features, stage, None, model._get_dummy_prompt(1))
    return [out[name] for name in ("pred_logits", "pred_boxes", "pred_masks")]


def test_merged_adapters_do_what_adapters_did(mini: Build) -> None:
    pytest.importorskip("peft")
    model, plain = mini(), mini()
    names = plain.state_dict().keys()
    count = add_adapters(model, rank=2, frozen=("encoder",))
    assert count > 10
    learning = {n for n, p in model.named_parameters() if p.requires_grad}
    assert all("lora_" in n or part_of(n) == "scores" for n in learning)
    assert not any(n.startswith(PARTS["encoder"]) for n in learning)
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    state = merged_state(model)
    assert state.keys() == names
    plain.load_state_dict(state)
    adapted = outputs(model)
    for one, two in zip(adapted, outputs(plain), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(adapted[0], outputs(mini())[0], atol=1e-3)


def test_without_peft_the_message_says_how_to_get_it(
    mini: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingDependencyError, match="pip install peft"):
        add_adapters(mini(), rank=4)


def test_the_anchor_is_zero_until_the_text_encoder_changes(mini: Build) -> None:
    encoder = mini().backbone.language_backbone.train()
    anchor = TextAnchor(encoder, ["red circle", "a cat", "red circle"])
    assert anchor.phrases == ["red circle", "a cat"] and encoder.training
    assert anchor().item() == pytest.approx(0, abs=1e-10)
    with torch.no_grad():
        encoder.resizer.weight.mul_(2)
        encoder.resizer.bias.mul_(2)
    assert anchor().item() == pytest.approx(1, rel=0.3)  # all features twice as large
    anchor().backward()
    assert encoder.encoder.token_embedding.weight.grad is not None


def test_anchored_phrases_are_those_of_the_drawn_scenes() -> None:
    phrases = drawn_phrases(300)
    assert len(phrases) > 150 and len(set(phrases)) == len(phrases)
    assert all(parse(phrase) is not None for phrase in phrases if phrase != "visual")
    kinds = {parse(phrase).kind for phrase in phrases if phrase != "visual"}
    assert kinds == {"full", "shape", "colour", "any", "patterned"}
