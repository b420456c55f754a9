"""The tracker learns through its own steps; the file that comes out serves all four builders."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from sam3.builders.video import build_sam3_video_model
from sam3.checkpoint import describe, save_checkpoint
from sam3.config import presets
from sam3.model.sam3_tracker_base import Sam3TrackerBase
from sam3.model_builder import build_sam3_image_model, build_tracker
from sam3.train.data.scenes.clip_dataset import ClipFolder
from sam3.train.loop.config import TrainConfig
from sam3.train.tiny.tracking import training
from sam3.train.tiny.tracking.batches import ClipBatch, TrackingBatches
from sam3.train.tiny.tracking.command import main
from sam3.train.tiny.tracking.evaluation import QuickEvaluation
from sam3.train.tiny.tracking.model import WindowTracker
from sam3.train.tiny.tracking.objective import TrackingObjective
from sam3.train.tiny.tracking.recipe import TrackingRecipe
from sam3.train.tiny.tracking.training import TrackingRun, build_model

_RECIPE = TrackingRecipe(
    frames=3, windows=((3, 1.0),), pictures=1, picture_share=0.0, corruption=0.0, neck_share=1.0
)
# Published names that the released model does not read either.
_NEVER_READ = {"tracker.no_mem_pos_enc"}


def _run(image_file: Path, **changes: object) -> TrackingRun:
    run = TrackingRun(
        image_checkpoint=image_file,
        out=Path("out"),
        clips=Path("clips"),
        train=TrainConfig(steps=1),
        recipe=_RECIPE,
    )
    return replace(run, **changes)  # type: ignore[arg-type]


@pytest.fixture
def model(image_file: Path) -> WindowTracker:
    video = build_model(_run(image_file))
    _say_present(video.tracker, 3.0)  # else an untrained tracker may take all for absent
    neck = video.detector.backbone.vision_backbone
    return WindowTracker(neck, video.tracker, _RECIPE).train()


def _say_present(tracker: Sam3TrackerBase, logit: float) -> None:
    torch.nn.init.constant_(tracker.sam_mask_decoder.pred_obj_score_head.layers[-1].bias, logit)


@pytest.fixture(scope="module")
def batch(clips: ClipFolder) -> ClipBatch:
    return TrackingBatches(clips, _RECIPE, seed=0).batch(0, 0.9)


def _prompted(batch: ClipBatch, prompt: str, corrections: int = 0) -> ClipBatch:
    return replace(batch, prompt=prompt, corrections=corrections)


def test_predictions_of_a_window(model: WindowTracker, batch: ClipBatch) -> None:
    objects = len(batch.clips)
    for prompt, corrections, candidates in (
        ("mask", 0, [1, 3, 3]),
        ("box", 0, [1, 3, 3]),
        ("points", 2, [3, 1, 1, 3, 3]),
    ):
        found = model(_prompted(batch, prompt, corrections)).predictions
        assert [p.masks.shape[1] for p in found] == candidates
        assert [p.frame for p in found] == [0] * (len(found) - 2) + [1, 2]
        assert all(p.masks.shape == (objects, p.masks.shape[1], 64, 64) for p in found)
        assert all(p.presence.shape == (objects, 1) for p in found)


def test_the_neck_learns_from_a_share_of_the_pictures(
    model: WindowTracker, batch: ClipBatch
) -> None:
    pictures = batch.images.flatten(0, 1)
    whole = model.features.forward_image(pictures)["sam2_backbone_out"]["backbone_fpn"]
    model.features.share = 0.5
    halved = model.features.forward_image(pictures)["sam2_backbone_out"]["backbone_fpn"]
    for one, other in zip(whole, halved, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
    assert not model.features.neck.trunk.training


def test_every_parameter_learns(model: WindowTracker, batch: ClipBatch) -> None:
    batch = replace(batch, visible=batch.visible.clone())
    batch.visible[0, 1:] = False
    objective = TrackingObjective(_RECIPE)
    for prompt, corrections, present in (("mask", 0, 3.0), ("box", 2, 3.0), ("points", 2, -3.0)):
        _say_present(model.tracker, present)  # what is absent has embeddings of its own
        out = model(_prompted(batch, prompt, corrections))
        objective(out, batch)["core_loss"].backward()
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    silent = {name for name, p in trainable.items() if p.grad is None or not p.grad.any()}
    assert silent <= _NEVER_READ
    assert not any(
        name.startswith(("features.neck.trunk", "features.neck.convs")) for name in trainable
    )
    assert any(name.startswith("features.neck.sam2_convs") for name in trainable)


def test_gradients_end_where_the_window_is_cut(model: WindowTracker, batch: ClipBatch) -> None:
    """With a cut before the last frame its loss does not reach the memory of the first one."""
    encoder = model.tracker.mask_downsample.weight  # read on the first frame alone
    for truncate, reached in ((3, True), (2, False)):
        model.recipe = replace(_RECIPE, truncate=truncate)
        model.zero_grad()
        model(_prompted(batch, "mask")).predictions[-1].masks.square().mean().backward()
        assert bool(encoder.grad is not None and encoder.grad.any()) == reached


def test_loss_falls_on_one_batch(model: WindowTracker, batch: ClipBatch) -> None:
    objective = TrackingObjective(_RECIPE)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3)
    values = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = objective(model(_prompted(batch, "points")), batch)["core_loss"]
        loss.backward()
        optimizer.step()
        values.append(float(loss.detach()))
    assert values[-1] < 0.75 * values[0]


def test_corrupted_memories_are_drawn_from_the_batch(
    model: WindowTracker, batch: ClipBatch
) -> None:
    plain = model(batch).predictions[-1].masks
    model.recipe = replace(_RECIPE, corruption=1.0)
    first, second = model(batch).predictions[-1].masks, model(batch).predictions[-1].masks
    assert torch.equal(first, second) and not torch.equal(first, plain)
    assert torch.equal(
        model.eval()(batch).predictions[-1].masks, model(batch).predictions[-1].masks
    )


def test_quick_evaluation(model: WindowTracker, clips: ClipFolder) -> None:
    found = QuickEvaluation(clips)(model.eval(), 0)
    assert set(found) == {"track_J", "click_J", "click3_J", "box_J", "presence_accuracy"}
    assert all(0 <= value <= 1 for value in found.values())


@pytest.fixture(scope="module")
def trained(
    image_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, list[str]]]:
    out = tmp_path_factory.mktemp("run")
    options = ["--image-checkpoint", str(image_file), "--out", str(out), "--clips", "3"]
    options += ["--frames", "8", "--pictures", "2", "--checkpoint-minutes", "0"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "HELD_OUT_CLIPS", 2)
        assert main([*options, "--steps", "1"]) == 0
        yield out, options


def test_resume_goes_on(trained: tuple[Path, list[str]]) -> None:
    out, options = trained
    before = load_file(out / "sam3_tiny.safetensors")
    assert main([*options, "--steps", "3", "--resume"]) == 0
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "evaluation" in line] == [1, 3]
    after = load_file(out / "sam3_tiny.safetensors")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all(
        name.startswith(("tracker.", "detector.backbone.vision_backbone.sam2_convs."))
        for name in changed
    )


def test_the_file_serves_all_builders(trained: tuple[Path, list[str]]) -> None:
    path = trained[0] / "sam3_tiny.safetensors"
    assert path.stat().st_size <= 10e6
    info = describe(path)
    assert info.parts == ("detector", "tracker") and info.problems == ()
    assert info.tracker_config == presets.SAM3_TINY_TRACKER.to_dict()

    image = build_sam3_image_model(checkpoint_path=path, device="cpu")
    assert image.config.name == "sam3-tiny" and image.inst_interactive_predictor is None
    stored = load_file(path)
    for model, prefix in (
        (image, "detector."),
        (build_tracker(True, checkpoint_path=path, device="cpu"), "tracker."),
        (build_sam3_video_model(checkpoint_path=path, device="cpu"), ""),
    ):
        own = {n: t for n, t in model.state_dict().items() if not n.endswith("freqs_cis")}
        for name, tensor in own.items():
            assert torch.equal(tensor, stored[prefix + name].float()), name

    interactive = build_sam3_image_model(
        checkpoint_path=path, device="cpu", enable_inst_interactivity=True
    )
    predictor = interactive.inst_interactive_predictor
    assert torch.equal(predictor.model.no_mem_embed, stored["tracker.no_mem_embed"].float())
    with_backbone = build_tracker(False, with_backbone=True, checkpoint_path=path, device="cpu")
    predictor.model.backbone = with_backbone.backbone
    predictor.set_image(np.zeros((40, 60, 3), np.uint8))
    masks, _, _ = predictor.predict(point_coords=[[20, 20]], point_labels=[1])
    assert masks.shape == (3, 40, 60)


def test_a_later_run_takes_over_neck_and_tracker_alone(
    trained: tuple[Path, list[str]], tmp_path: Path
) -> None:
    start = trained[0] / "sam3_tiny.safetensors"
    torch.manual_seed(9)
    newer = build_sam3_image_model(config=presets.SAM3_TINY, device="cpu", load_from_HF=False)
    file = save_checkpoint(newer, tmp_path / "newer.safetensors")
    video = build_model(_run(file, start=start))
    stored = load_file(start)
    trunk = "backbone.vision_backbone.trunk.patch_embed.proj.weight"
    assert torch.equal(video.detector.state_dict()[trunk], newer.state_dict()[trunk])
    neck = "backbone.vision_backbone.sam2_convs.0.conv_3x3.weight"
    assert torch.equal(video.detector.state_dict()[neck], stored["detector." + neck].float())
    pointer = "obj_ptr_proj.layers.0.weight"
    assert torch.equal(video.tracker.state_dict()[pointer], stored["tracker." + pointer].float())


def test_errors_end_with_a_message(image_file: Path, tmp_path: Path) -> None:
    options = ["--image-checkpoint", str(image_file), "--out", str(tmp_path)]
    assert main([*options, "--steps", "0"]) == 2
    assert main([*options, "--steps", "1", "--frames", "2"]) == 2
    with pytest.raises(SystemExit):
        main(["--out", str(tmp_path)])
