"""The same numbers on CUDA as on the CPU, in float32: text on a picture, clicks in a video."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sam3.builders.video import assemble_video_model
from sam3.checkpoint import catalog
from sam3.config.presets import SAM3_TINY_VIDEO
from sam3.model.sam3_image_processor import Sam3Processor
from sam3.model_builder import build_sam3_image_model
from sam3.perflib.capabilities import has_cuda

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not has_cuda(), reason="needs a CUDA device"),
]
BUNDLED = catalog.ASSETS / catalog.CATALOG["sam3-tiny"].file_names[0]
PICTURE = catalog.ASSETS / "shapes.png"


@pytest.fixture(autouse=True)
def full_float32() -> Iterator[None]:
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


def found(device: str, text: str) -> dict[str, np.ndarray]:
    model = build_sam3_image_model(checkpoint_path=BUNDLED, device=device)
    processor = Sam3Processor(model, device=device, confidence_threshold=0.3)
    state = processor.set_image(Image.open(PICTURE).convert("RGB"))
    state = processor.set_text_prompt(prompt=text, state=state)
    return {k: state[k].float().cpu().numpy() for k in ("scores", "boxes", "masks")}


@pytest.mark.parametrize("text", ["red circle", "blue triangle", "star"])
def test_text_on_a_picture(text: str) -> None:
    ours, theirs = found("cuda", text), found("cpu", text)
    assert len(ours["scores"]) == len(theirs["scores"]) > 0
    order = [np.argsort(-side["scores"]) for side in (ours, theirs)]
    for name, tolerance in (("scores", 1e-4), ("boxes", 0.05)):
        a, b = (side[name][rows] for side, rows in zip((ours, theirs), order, strict=True))
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance, err_msg=name)
    a, b = (side["masks"][rows] for side, rows in zip((ours, theirs), order, strict=True))
    assert np.mean(a != b) < 1e-4


def pictures() -> list[Image.Image]:
    whole = Image.open(PICTURE).convert("RGB").resize((200, 160))
    return [whole.crop((4 * t, 2 * t, 4 * t + 160, 2 * t + 128)) for t in range(6)]


def followed(device: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Mask logits and object scores per frame, from the same random weights."""
    torch.manual_seed(0)
    model: Any = assemble_video_model(SAM3_TINY_VIDEO)
    model = model.to(device).eval()
    tracker = model.tracker
    tracker.backbone = model.detector.backbone
    state = tracker.init_state(video_path=pictures())
    for obj_id, point in ((1, (40.0, 50.0)), (2, (110.0, 80.0))):
        tracker.add_new_points_or_box(
            state, 0, obj_id, points=[point], labels=[1], rel_coordinates=False
        )
    return [
        (masks.cpu().numpy(), scores.cpu().numpy())
        for _, _, _, masks, scores in tracker.propagate_in_video(
            state, 0, None, False, tqdm_disable=True, propagate_preflight=True
        )
    ]


def test_a_click_through_a_video() -> None:
    ours, theirs = followed("cuda"), followed("cpu")
    assert len(ours) == len(theirs) == 6
    for (masks, scores), (expected, expected_scores) in zip(ours, theirs, strict=True):
        assert np.mean((masks > 0) != (expected > 0)) < 1e-3
        np.testing.assert_allclose(scores, expected_scores, rtol=0, atol=1e-3)


def test_training_on_the_tracker_gives_the_same_losses(tmp_path: Path) -> None:
    from sam3.model.utils.misc import copy_data_to_device
    from sam3.train.data.scenes.clip_dataset import ClipFolder
    from sam3.train.data.scenes.prerender_clips import ClipPrerenderConfig, prerender_clips
    from sam3.train.tiny.tracking.batches import TrackingBatches
    from sam3.train.tiny.tracking.model import WindowTracker
    from sam3.train.tiny.tracking.objective import TrackingObjective
    from sam3.train.tiny.tracking.recipe import TrackingRecipe

    folder = prerender_clips(tmp_path / "clips", ClipPrerenderConfig(clips=2, shard_size=2))
    recipe = TrackingRecipe(
        frames=8, windows=((4, 1.0),), picture_share=0.0, corruption=0.0,
        prompt_shares=(1.0, 0.0, 0.0),
    )  # fmt: skip
    batch = TrackingBatches(ClipFolder(folder), recipe, seed=0).batch(0, 0.0)
    losses = []
    for device in ("cuda", "cpu"):
        torch.manual_seed(0)
        video: Any = assemble_video_model(SAM3_TINY_VIDEO)
        model = WindowTracker(video.detector.backbone.vision_backbone, video.tracker, recipe)
        moved = copy_data_to_device(batch, device)
        found = TrackingObjective(recipe)(model.to(device)(moved), moved)
        losses.append({name: float(value.detach()) for name, value in found.items()})
    assert losses[0] == pytest.approx(losses[1], rel=1e-3, abs=1e-4)
