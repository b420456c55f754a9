"""Training batches of clip windows and of single pictures, a pure function of (seed, number)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...data.scenes.augment import orient, plain_curve, random_orientation, tone_curve
from ...data.scenes.clip_dataset import ClipFolder, StoredClip
from .places import draw_places
from .recipe import PROMPTS, TrackingRecipe

MIN_PROMPT_AREA = 12
"""Pixels of the model's picture; what shows less in the first frame cannot be pointed at."""
LONG_VIDEO = 64
"""Frames that a window may claim to be part of."""


@dataclass(frozen=True)
class ClipBatch:
    """C windows of T frames with N objects in all, and how they are prompted.

    Attributes:
        images: [C, T, 3, R, R] float32 normalised.
        clips: [N] int64, the window of each object.
        objects: [C, T, R, R] uint8, all objects of the windows, k + 1 = object k, 0 = none.
        masks: [N, T, R, R] bool, of those to be followed. visible: [N, T] bool, at native size.
        prompt: "mask", "box" or "points". corrections: clicks that follow on the first frame.
        centred: clicks go to the middle of a wrong region, not anywhere in it.
        num_frames: length of the video that the window is said to belong to.
        seed: of what is drawn while the batch runs.
    """

    images: Tensor
    clips: Tensor
    objects: Tensor
    masks: Tensor
    visible: Tensor
    prompt: str
    corrections: int
    centred: bool
    num_frames: int
    seed: int

    @property
    def frames(self) -> int:
        """T."""
        return self.images.shape[1]


@dataclass(frozen=True)
class Window:
    """A piece of a clip: images [T, 3, R, R], all objects [T, R, R], masks [n, T, R, R] and
    visible [n, T] of those to be followed."""

    images: np.ndarray
    objects: np.ndarray
    masks: np.ndarray
    visible: np.ndarray


class TrackingBatches:
    """Batches of the clips in a folder; some hold windows, some single pictures."""

    def __init__(self, clips: ClipFolder, recipe: TrackingRecipe, *, seed: int) -> None:
        self.clips, self.recipe, self.seed = clips, recipe, seed

    def batch(self, number: int, progress: float) -> ClipBatch:
        """Batch ``number`` at ``progress`` in [0, 1] of the training."""
        r = self.recipe
        rng = np.random.default_rng((self.seed, number, 19))
        single = rng.random() < r.picture_share or progress < r.picture_stage
        if single:
            length, count = 1, r.pictures
        else:
            lengths, shares = zip(*r.windows, strict=True)
            length = min(int(rng.choice(lengths, p=shares)), self.clips.frames)
            count = r.frames // length
        prompt = PROMPTS[int(rng.choice(3, p=r.prompt_shares))]
        if single and prompt == "mask":  # the answer would be the prompt
            prompt = "points"
        corrections = 0 if prompt == "mask" else int(rng.integers(r.corrections + 1))
        return collate(
            [self._window(length, self._places(single, progress), rng) for _ in range(count)],
            prompt=prompt,
            corrections=max(corrections, 1) if single else corrections,
            centred=bool(rng.random() < r.centre_share),
            num_frames=length if rng.random() < 0.25 else LONG_VIDEO,
            seed=int(rng.integers(2**31)),
        )

    def _places(self, single: bool, progress: float) -> float:
        """Share of the prompts that are for places."""
        if not single:
            return 0.0
        if progress < self.recipe.place_stage:
            return 1.0
        return 0.5 if progress < self.recipe.picture_stage else self.recipe.place_share

    def _window(self, length: int, places: float, rng: np.random.Generator) -> Window:
        """A window of some clip in whose first frame something can be pointed at."""
        while True:
            clip = self.clips[int(rng.integers(len(self.clips)))]
            found = cut(
                clip, frame_numbers(self.clips.frames, length, rng), self.recipe.objects, rng
            )
            if found is not None:
                return with_places(found, places, rng)


def frame_numbers(available: int, length: int, rng: np.random.Generator) -> np.ndarray:
    """``length`` frames of a clip, forwards or backwards, now and then every other one."""
    stride = 2 if 2 * length <= available and rng.random() < 0.25 else 1
    span = (length - 1) * stride + 1
    numbers = rng.integers(available - span + 1) + stride * np.arange(length)
    return numbers[::-1] if rng.random() < 0.5 else numbers


def cut(
    clip: StoredClip, frames: np.ndarray, objects: int, rng: np.random.Generator | None
) -> Window | None:
    """A window with up to ``objects`` objects; None if the first frame shows none.

    rng: of choice, orientation and light; None takes the first objects and changes nothing.
    """
    images, labels = clip.images[frames], clip.labels[frames]
    areas = np.bincount(labels[0].ravel(), minlength=clip.visible.shape[1] + 1)[1:]
    there = np.flatnonzero(areas >= MIN_PROMPT_AREA)
    if not len(there):
        return None
    curve = plain_curve()
    if rng is not None:
        there = rng.permutation(there)
        turn, curve = random_orientation(rng), tone_curve(rng)
        boxes = np.zeros((0, 4), dtype=np.float32)
        turned = [orient(i, k, boxes, turn)[:2] for i, k in zip(images, labels, strict=True)]
        images, labels = (np.stack(part) for part in zip(*turned, strict=True))
    chosen = there[:objects]
    planes = [np.take(curve[:, c], images[..., c]) for c in range(3)]
    masks = labels[None] == (chosen + 1).astype(np.uint8)[:, None, None, None]
    return Window(np.stack(planes, axis=1), labels, masks, clip.visible[frames][:, chosen].T)


def with_places(window: Window, share: float, rng: np.random.Generator) -> Window:
    """``window``, a single picture, with places instead of a share of its objects."""
    count, length, side = window.masks.shape[:3]
    chosen = np.less(rng.random(count), share)
    if not chosen.any():
        return window
    assert length == 1, "a place does not move"
    discs = draw_places(count, side, rng)[:, None]
    masks = np.where(chosen[:, None, None, None], discs, window.masks)
    return Window(window.images, window.objects, masks, window.visible | chosen[:, None])


def collate(
    windows: list[Window],
    *,
    prompt: str,
    corrections: int,
    centred: bool,
    num_frames: int,
    seed: int,
) -> ClipBatch:
    """The tensors of windows of equal length."""
    counts = torch.tensor([len(window.masks) for window in windows])
    return ClipBatch(
        images=torch.from_numpy(np.stack([window.images for window in windows])),
        clips=torch.arange(len(windows)).repeat_interleave(counts),
        objects=torch.from_numpy(np.stack([window.objects for window in windows])),
        masks=torch.from_numpy(np.concatenate([window.masks for window in windows])),
        visible=torch.from_numpy(np.concatenate([window.visible for window in windows])),
        prompt=prompt,
        corrections=corrections,
        centred=centred,
        num_frames=num_frames,
        seed=seed,
    )
