"""A quick measure during training: one click on held-out clips and pictures at model size.

The full report, at native sizes and through sessions, is ``sam3.train.eval.evaluate_clips``.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from ....model.tracker.mask_heads import resize
from ....model.utils.misc import copy_data_to_device
from ...data.scenes.clip_dataset import ClipFolder
from .batches import ClipBatch, collate, cut
from .model import Prediction

_BATCH_CLIPS = 8
_OBJECTS = 2  # per clip


class QuickEvaluation:
    """Call it with a ``WindowTracker`` in eval mode: the same clips and clicks every time."""

    def __init__(self, clips: ClipFolder) -> None:
        frames = np.arange(clips.frames)
        cuts = (cut(clips[row], frames, _OBJECTS, None) for row in range(len(clips)))
        windows = [window for window in cuts if window is not None]
        self.batches = [
            collate(
                windows[first : first + _BATCH_CLIPS],
                prompt="points",
                corrections=0,
                centred=True,
                num_frames=clips.frames,
                seed=0,
            )
            for first in range(0, len(windows), _BATCH_CLIPS)
        ]

    @torch.no_grad()
    def __call__(self, model: nn.Module, step: int) -> dict[str, float]:
        """Mean IoU of the masks after one click, on the clicked frame and on the later ones; after
        three clicks and after a box on a picture; accuracy of presence on later frames."""
        found: dict[str, list[Tensor]] = {
            name: [] for name in ("track_J", "click_J", "click3_J", "box_J", "presence_accuracy")
        }
        device = next(model.parameters()).device
        for batch in copy_data_to_device(self.batches, device):
            first, *later = model(batch).predictions
            found["click_J"].append(answer_iou(first, batch))
            found["track_J"] += [answer_iou(prediction, batch) for prediction in later]
            found["presence_accuracy"] += [
                ((p.presence[:, 0] > 0) == batch.visible[:, p.frame]).float() for p in later
            ]
            picture = first_frames(batch)
            clicks = model(replace(picture, corrections=2)).predictions
            found["click3_J"].append(answer_iou(clicks[-1], picture))
            boxed = model(replace(picture, prompt="box")).predictions[0]
            found["box_J"].append(answer_iou(boxed, picture))
        return {name: float(torch.cat(values).mean()) for name, values in found.items()}


def first_frames(batch: ClipBatch) -> ClipBatch:
    """The batch without its later frames."""
    return replace(
        batch,
        images=batch.images[:, :1],
        objects=batch.objects[:, :1],
        masks=batch.masks[:, :1],
        visible=batch.visible[:, :1],
    )


def answer_iou(prediction: Prediction, batch: ClipBatch) -> Tensor:
    """IoU of the answers with the visible masks of their frame, [n]; absent objects left out."""
    truth = batch.masks[:, prediction.frame]
    shown = truth.flatten(1).any(1)
    answer = resize(prediction.answer[shown], truth.shape[-2:])[:, 0]
    inside, truth = answer > 0, truth[shown]
    both = (inside & truth).flatten(1).sum(1)
    return both / (inside | truth).flatten(1).sum(1)
