"""Clips of moving shapes with ids, per-frame masks and boxes, and phrases.

``draw_clip(rng, size)`` is deterministic in its random generator. Objects keep their painting
order, so that whoever is in front at a crossing stays in front.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .background import draw_background
from .clip_camera import Camera, sample_camera
from .composer import MIN_AREA, MIN_CONTRAST, MIN_VISIBLE
from .motion import Motion, sample_motion
from .phrases import Query, sample_negative, sample_positive
from .scene import label_boxes
from .sprite import Sprite, colour_distance, draw_sprite, warp
from .vocabulary import PATTERN_NAMES, sample_colour_name, sample_shape_name

MIN_FRAMES, MAX_FRAMES = 4, 8
MAX_CLIP_OBJECTS = 4
MAX_BACKGROUND_SHIFT = 2  # pixels per frame
BORDER_PROBABILITY = 0.2  # of entering, and of leaving
CROSS_PROBABILITY = 0.6
_SLIVER = 8  # fewer visible pixels count as absent
_TRAINING_STREAM, _HELD_OUT_STREAM = 303, 404


@dataclass(frozen=True)
class Clip:
    """Frames with their objects; object k has the id k throughout.

    images [T, h, w, 3] uint8; labels [T, h, w] uint8, 0 = background, k + 1 = visible pixels of
    object k; attributes [n, 3] int8 (colour, shape, pattern); boxes [T, n, 4] float32 xyxy in
    pixels, right and bottom exclusive, zeros while the object is not to be seen; motions [n];
    phrases: questions whose targets are ids.
    """

    images: np.ndarray
    labels: np.ndarray
    attributes: np.ndarray
    boxes: np.ndarray
    motions: tuple[Motion, ...]
    phrases: tuple[Query, ...]

    @property
    def ids(self) -> np.ndarray:
        """Object ids 0 .. n - 1: [n] int64."""
        return np.arange(len(self.attributes))

    @property
    def masks(self) -> np.ndarray:
        """Visible pixels: [T, n, h, w] bool."""
        return self.labels[:, None] == (self.ids[:, None, None] + 1).astype(np.uint8)

    @property
    def visible(self) -> np.ndarray:
        """Which object is to be seen in which frame: [T, n] bool."""
        return self.boxes[..., 2] > self.boxes[..., 0]


def clip_rng(seed: int, index: int, held_out: bool = False) -> np.random.Generator:
    """The generator of clip ``index``; held-out clips come from a stream training never draws."""
    stream = _HELD_OUT_STREAM if held_out else _TRAINING_STREAM
    return np.random.default_rng((stream, seed, index))


def draw_clip(
    rng: np.random.Generator,
    size: tuple[int, int],
    frames: int | None = None,
    level: int = 1,
    objects: int | None = None,
) -> Clip:
    """Draw one clip of ``size`` (h, w), both 32 or more.

    frames: 2 or more, None = 4 to 8 at random; level 0: simple background, one or two unpatterned
    objects that stay, no camera faults; level 1: all. objects: how many to try to place (1 to 4),
    None = at random. At least one object is to be seen in frame 0.

    Raises ValueError for sizes or counts that cannot hold a clip.
    """
    if min(size) < 32:
        raise ValueError(f"clips need at least 32 x 32 pixels, got {size[0]} x {size[1]}")
    count = int(rng.integers(MIN_FRAMES, MAX_FRAMES + 1)) if frames is None else frames
    wanted = int(rng.integers(1, 3 if level == 0 else MAX_CLIP_OBJECTS + 1))
    wanted = wanted if objects is None else objects
    if count < 2 or not 1 <= wanted <= MAX_CLIP_OBJECTS:
        raise ValueError(
            f"clips need at least 2 frames and 1 to {MAX_CLIP_OBJECTS} objects, got {count} and"
            f" {wanted}"
        )
    while True:  # until the first object fits; a background of its colour may prevent it
        stage = _Stage.build(rng, size, count, level)
        for _ in range(wanted):
            stage.add_object()
        if stage.motions:
            return stage.finish()


def moving_background(
    rng: np.random.Generator, size: tuple[int, int], frames: int, simple: bool
) -> np.ndarray:
    """[T, h, w, 3] float32: one background that drifts by 0 to 2 pixels per frame."""
    margin = MAX_BACKGROUND_SHIFT * (frames - 1)
    whole = draw_background((size[0] + 2 * margin, size[1] + 2 * margin), rng, simple=simple)
    drift = rng.uniform(-MAX_BACKGROUND_SHIFT, MAX_BACKGROUND_SHIFT, 2)
    drift = drift * (rng.random() < 0.7)
    corners = margin + np.rint(drift * np.arange(frames)[:, None]).astype(int)
    return np.stack([whole[y : y + size[0], x : x + size[1]] for y, x in corners])


@dataclass
class _Stage:
    """A clip in the making."""

    rng: np.random.Generator
    level: int
    plain: bool
    canvas: np.ndarray  # [T, h, w, 3] float32
    labels: np.ndarray  # [T, h, w] uint8
    camera: Camera
    motions: list[Motion] = field(default_factory=list)
    attributes: list[tuple[int, int, int]] = field(default_factory=list)
    whole: list[np.ndarray] = field(default_factory=list)  # per object [T] pixels if uncovered

    @classmethod
    def build(
        cls, rng: np.random.Generator, size: tuple[int, int], frames: int, level: int
    ) -> _Stage:
        simple = level == 0 or rng.random() < 0.15
        canvas = moving_background(rng, size, frames, bool(simple))
        labels = np.zeros(canvas.shape[:3], dtype=np.uint8)
        plain = level == 0 or bool(rng.random() < 0.4)
        return cls(rng, level, plain, canvas, labels, sample_camera(rng, level))

    @property
    def frames(self) -> int:
        return len(self.labels)

    def add_object(self) -> bool:
        """Try a few times to place one more object; False if none fitted."""
        size = (self.labels.shape[1], self.labels.shape[2])
        for attempt in range(14):
            attributes = self._choose_attributes()
            radius = max(6.0, self.rng.uniform(0.09, 0.21) * 0.94**attempt * min(size))
            partner = None
            if self.motions and self.rng.random() < CROSS_PROBABILITY:
                partner = self.motions[self.rng.integers(len(self.motions))]
            kind = self._choose_kind(partner)
            motion = sample_motion(self.rng, size, radius, self.frames, kind, partner)
            sprite = draw_sprite(attributes, radius, self.rng, self.plain)
            if self._try_object(sprite, motion):
                self.motions.append(motion)
                self.attributes.append(attributes)
                return True
        return False

    def _choose_kind(self, partner: Motion | None) -> str:
        draw = self.rng.random()
        # The first object is there from the start; simple clips keep theirs.
        if self.level and self.motions and draw < BORDER_PROBABILITY:
            return "enter"
        if self.level and BORDER_PROBABILITY <= draw < 2 * BORDER_PROBABILITY:
            return "leave"
        return "stay" if partner is None else "cross"

    def _choose_attributes(self) -> tuple[int, int, int]:
        rng = self.rng
        colour, shape, pattern = sample_colour_name(rng), sample_shape_name(rng), 0
        if self.level and not (self.plain and rng.random() < 0.8):
            pattern = int(rng.choice(len(PATTERN_NAMES), p=(0.7, 0.16, 0.14)))
        if self.attributes and rng.random() < 0.4:
            twin = self.attributes[rng.integers(len(self.attributes))]
            colour, shape = (twin[0], shape) if rng.random() < 0.5 else (colour, twin[1])
        return colour, shape, pattern

    def _try_object(self, sprite: Sprite, motion: Motion) -> bool:
        """Paint an object into all frames; False, and nothing changed, if it does not fit."""
        canvas, labels = self.canvas.copy(), self.labels.copy()
        whole = np.zeros(self.frames, dtype=np.int64)
        size = (labels.shape[1], labels.shape[2])
        for t in range(self.frames):
            found = warp(sprite, motion.position(t), *motion.pose(t), size)
            if found is None:
                continue
            window, rgb, alpha = found
            inside = alpha >= 0.5
            target = canvas[t][window]
            if not _stands_out(rgb, target, inside):
                return False
            target += alpha[..., None] * (rgb - target)
            labels[t][window][inside] = len(self.motions) + 1
            whole[t] = inside.sum()
        if not self._all_can_be_seen(labels, [*self.whole, whole], motion.kind):
            return False
        self.canvas, self.labels = canvas, labels
        self.whole.append(whole)
        return True

    def _all_can_be_seen(self, labels: np.ndarray, whole: list[np.ndarray], kind: str) -> bool:
        """Nobody hides for too long, and who is in frame 0 shows enough of itself there."""
        for k, full in enumerate(whole):
            area = (labels == k + 1).sum((1, 2))
            there = full >= MIN_AREA
            shown = (area >= MIN_AREA) & (area >= 0.5 * full)
            if shown.sum() < max(2, there.sum() / 2):
                return False
            if there[0] and area[0] < max(MIN_AREA, MIN_VISIBLE * full[0]):
                return False
        newest = whole[-1] >= MIN_AREA
        if kind == "enter":
            return not whole[-1][0] and bool(newest[-1])
        if kind == "leave":
            return bool(newest[0]) and not whole[-1][-1]
        return bool(newest.all())

    def finish(self) -> Clip:
        labels = self.labels.copy()
        count = len(self.motions)
        for t in range(self.frames):
            areas = np.bincount(labels[t].ravel(), minlength=count + 1)
            tiny = np.flatnonzero((areas > 0) & (areas < _SLIVER))
            labels[t][np.isin(labels[t], tiny[tiny > 0])] = 0
        attributes = np.array(self.attributes, dtype=np.int8).reshape(-1, 3)
        return Clip(
            images=np.stack([self.camera.take(frame, self.rng) for frame in self.canvas]),
            labels=labels,
            attributes=attributes,
            boxes=np.stack([label_boxes(frame, count) for frame in labels]),
            motions=tuple(self.motions),
            phrases=sample_phrases(attributes, self.rng, self.level),
        )


def sample_phrases(
    attributes: np.ndarray, rng: np.random.Generator, level: int
) -> tuple[Query, ...]:
    """Two phrases that name objects of the clip (attributes [n >= 1, 3]) and one that does not."""
    positive = [sample_positive(attributes, rng, level, box_probability=0.0) for _ in range(2)]
    return (*positive, sample_negative(attributes, rng, level))


def _stands_out(rgb: np.ndarray, below: np.ndarray, inside: np.ndarray) -> bool:
    """Most of an object's rim differs from what lies beneath it."""
    from scipy.ndimage import binary_erosion

    rim = inside & ~binary_erosion(inside, iterations=2, border_value=1)
    if not rim.any():
        return True
    distance = colour_distance(rgb[rim], below[rim])
    return bool((distance > MIN_CONTRAST).mean() > 0.8)
