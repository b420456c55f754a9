"""A whole fine-tuning of a small model: files, resume, layouts, reports."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from sam3.checkpoint import read_checkpoint, save_checkpoint, to_huggingface
from sam3.errors import CheckpointError, InputError
from sam3.model.sam3_image import Sam3Image
from sam3.model.sam3_image_processor import Sam3Processor
from sam3.model_builder import build_sam3_image_model
from sam3.train.data.pictures import read_picture
from sam3.train.finetune.recipe import FinetuneRecipe
from sam3.train.finetune.run import FinetuneResult, finetune
from sam3.train.finetune.settings import DataSettings, FinetuneSettings
from sam3.train.loop.step_trainer import StepTrainer

from .conftest import MINI, write_checkpoint, write_split

Settings = Callable[..., FinetuneSettings]
Trained = tuple[FinetuneSettings, FinetuneResult]


@pytest.fixture
def settings(export: Path, checkpoint: Path, tmp_path: Path) -> Settings:
    def make(output: str = "out", **changes) -> FinetuneSettings:
        values = {
            "checkpoint": checkpoint,
            "output": tmp_path / output,
            "data": DataSettings(data=export),
            "device": "cpu",
            **changes,
        }
        return FinetuneSettings(**values)

    return make


def short(recipe: FinetuneRecipe) -> FinetuneRecipe:
    return replace(recipe.with_length(steps=2), warmup=0, cooldown=0, lr=1e-3)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, mini: Callable[[], Sam3Image]) -> Trained:
    """One short run that several tests look at."""
    folder = tmp_path_factory.mktemp("trained")
    for split in ("train", "valid"):
        write_split(folder / "export" / split)
    settings = FinetuneSettings(
        checkpoint=write_checkpoint(folder, mini()),
        output=folder / "out",
        data=DataSettings(data=folder / "export"),
        device="cpu",
    )
    return settings, finetune(settings, short)


def test_the_result_is_the_checkpoint_with_a_trained_image_model(trained: Trained) -> None:
    settings, result = trained
    before, after = load_file(settings.checkpoint), load_file(result.model)
    assert before.keys() == after.keys()
    assert {name: t.dtype for name, t in before.items()} == {n: t.dtype for n, t in after.items()}
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert len(changed) > len(before) // 2
    assert all(name.startswith("detector.") for name in changed)
    assert read_checkpoint(result.model).config == MINI.to_dict()


def test_the_result_loads_strictly_and_processes_a_picture(trained: Trained) -> None:
    settings, result = trained
    model = build_sam3_image_model(checkpoint_path=result.model, device="cpu")
    processor = Sam3Processor(model, device="cpu", confidence_threshold=0.0)
    state = processor.set_image(read_picture(settings.data.data / "valid", "p0.png"))
    state = processor.set_text_prompt("thing 0", state)
    assert state["masks"].shape[-2:] == (30, 40)


def test_the_report_tells_what_was_measured(trained: Trained) -> None:
    settings, result = trained
    report = json.loads((settings.output / "report.json").read_text())
    assert report["before"] == pytest.approx(result.before)
    assert report["after"] == pytest.approx(result.after)
    assert {"bbox_AP", "segm_AP_50"} <= result.after.keys()
    assert report["phrases"] == ["thing 0", "thing 1"] and report["steps"] == 2
    page = (settings.output / "report.md").read_text()
    assert "mask AP@50" in page and "valid/_annotations.coco.json" in page


def test_folders_in_use_and_other_plans_are_refused(trained: Trained) -> None:
    settings, _ = trained
    with pytest.raises(InputError, match="--resume"):
        finetune(settings, short)
    with pytest.raises(InputError, match="another recipe"):
        finetune(replace(settings, resume=True), lambda recipe: replace(short(recipe), lr=1.0))


def test_boxes_alone_leave_the_mask_head_as_it_was(settings: Settings, export: Path) -> None:
    for split in ("train", "valid"):
        file = export / split / "_annotations.coco.json"
        rows = json.loads(file.read_text())["annotations"]
        write_split(export / split, annotations=[{**r, "segmentation": []} for r in rows])
    made = settings()
    result = finetune(made, short)
    assert set(result.after) == {key for key in result.after if key.startswith("bbox_")}
    before, after = load_file(made.checkpoint), load_file(result.model)
    head = [name for name in before if ".segmentation_head." in name]
    assert head and all(torch.equal(before[name], after[name]) for name in head)


def test_a_stopped_run_ends_with_the_same_weights(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = finetune(settings("whole"), short)
    step = StepTrainer._train_step

    def interrupted(self: StepTrainer, progress: float) -> None:
        if self.step == 1:
            raise KeyboardInterrupt
        step(self, progress)
        self._save()

    monkeypatch.setattr(StepTrainer, "_train_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        finetune(settings("parts"), short)
    monkeypatch.undo()
    resumed = finetune(settings("parts", resume=True), short)
    assert resumed.steps == 2 and resumed.before == whole.before
    one, two = load_file(whole.model), load_file(resumed.model)
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_frozen_parts_do_not_change_and_weights_stay_whole(settings: Settings) -> None:
    made = settings(precision="bf16")
    frozen = ("trunk", "text", "masks")
    result = finetune(made, lambda recipe: replace(short(recipe), frozen=frozen))
    assert all(t.dtype == torch.float32 for t in load_file(result.model).values())
    before, after = load_file(made.checkpoint), load_file(result.model)
    for name in before:
        still = (".trunk.", ".language_backbone.", "segmentation_head.")
        if any(part in name for part in still):
            assert torch.equal(before[name], after[name]), name


def test_adapters_are_merged_into_the_file(settings: Settings) -> None:
    pytest.importorskip("peft")
    made = settings()
    result = finetune(made, lambda recipe: replace(short(recipe), lora_rank=2))
    before, after = load_file(made.checkpoint), load_file(result.model)
    assert before.keys() == after.keys()
    name = "detector.backbone.vision_backbone.trunk.blocks.0.attn.qkv.weight"
    assert not torch.equal(before[name], after[name])
    build_sam3_image_model(checkpoint_path=result.model, device="cpu")


def test_a_hugging_face_file_stays_one_that_transformers_loads(
    settings: Settings, mini: Callable[[], Sam3Image], tmp_path: Path
) -> None:
    from benchmarks import peer

    if peer.missing_peer() is not None:
        pytest.skip(peer.missing_peer())
    import transformers

    names = to_huggingface(mini().state_dict(), keep_extras=False)
    file = save_checkpoint(names, tmp_path / "hf.safetensors", config=MINI.to_dict())
    result = finetune(settings(checkpoint=file), short)
    model = transformers.Sam3Model(peer.peer_config(MINI))
    model.load_state_dict(load_file(result.model), strict=True)
    again = build_sam3_image_model(checkpoint_path=result.model, device="cpu")
    assert not torch.equal(
        again.state_dict()["dot_prod_scoring.hs_proj.weight"],
        mini().state_dict()["dot_prod_scoring.hs_proj.weight"],
    )


def test_files_without_an_image_model_are_refused(settings: Settings, tmp_path: Path) -> None:
    tracker = save_checkpoint({"tracker.a": torch.zeros(2)}, tmp_path / "tracker.safetensors")
    with pytest.raises(CheckpointError, match="only a tracker"):
        finetune(settings(checkpoint=tracker), short)
    other = save_checkpoint({"a": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="no tensor of SAM 3"):
        finetune(settings(checkpoint=other), short)


def test_what_only_some_models_can_is_refused_for_others(settings: Settings) -> None:
    with pytest.raises(InputError, match="sam3-tiny"):
        finetune(settings(), lambda recipe: replace(short(recipe), replay=0.5))
    with pytest.raises(InputError, match="--transformers"):
        finetune(settings(transformers=True), short)
