"""How objects move through a clip: constant velocity, bounces, crossings, entrances and exits."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

Range = tuple[float, float]

_STILL_PROBABILITY = 0.12
_SPEED = (0.012, 0.07)  # of the shorter side, per frame
_MAX_SPIN = math.radians(8)  # per frame
_MAX_GROWTH = 0.03  # per frame, as a logarithm


@dataclass(frozen=True)
class Motion:
    """The path of one object's centre, (x, y) in pixels, and its pose.

    bounds: per axis the range the centre is reflected in, None = it may leave the picture;
    middle: the frame at which the scale is 1; angle and spin in radians (per frame); growth: per
    frame, as a logarithm; kind: "stay", "enter", "leave" or "cross".
    """

    start: tuple[float, float]
    velocity: tuple[float, float]
    bounds: tuple[Range | None, Range | None]
    middle: float
    angle: float = 0.0
    spin: float = 0.0
    growth: float = 0.0
    kind: str = "stay"

    def position(self, frame: float) -> np.ndarray:
        """Centre (x, y) in a frame, float64."""
        point = []
        for start, speed, limits in zip(self.start, self.velocity, self.bounds, strict=True):
            value = start + speed * frame
            point.append(value if limits is None else reflect(value, *limits))
        return np.array(point)

    def pose(self, frame: float) -> tuple[float, float]:
        """(angle, scale) in a frame."""
        return self.angle + self.spin * frame, math.exp(self.growth * (frame - self.middle))


def reflect(value: float, low: float, high: float) -> float:
    """Fold a straight path into [low, high], as if it bounced at both ends."""
    span = high - low
    if span <= 0:
        return (low + high) / 2
    offset = (value - low) % (2 * span)
    return low + min(offset, 2 * span - offset)


def sample_motion(
    rng: np.random.Generator,
    size: tuple[int, int],
    radius: float,
    frames: int,
    kind: str = "stay",
    partner: Motion | None = None,
) -> Motion:
    """Draw a motion for an object of ``radius`` in a clip of ``size`` (h, w) and 2+ frames.

    kind: "stay" bounces inside the picture; "cross" does too and meets ``partner`` in a middle
    frame; "enter" starts outside and ends inside, "leave" the other way round.
    """
    inside = _inner_range(size[1], radius), _inner_range(size[0], radius)
    bounds: tuple[Range | None, Range | None] = inside
    velocity = _sample_velocity(rng, min(size))
    if kind in ("enter", "leave"):
        start, velocity, bounds = _through_border(rng, size, radius, frames, velocity)
        if kind == "leave":  # the same path backwards
            start, velocity = start + velocity * (frames - 1), -velocity
    elif kind == "cross" and partner is not None:
        meeting = rng.uniform(0.3, 0.7) * (frames - 1)
        velocity = _towards(rng, velocity, partner, meeting, min(size))
        start = partner.position(meeting) - velocity * meeting
    else:
        low, high = np.array(inside).T
        start = low + rng.random(2) * (high - low)
        if rng.random() < _STILL_PROBABILITY:
            velocity = np.zeros(2)
    return Motion(
        start=(float(start[0]), float(start[1])),
        velocity=(float(velocity[0]), float(velocity[1])),
        bounds=bounds,
        middle=(frames - 1) / 2,
        angle=0.0 if rng.random() < 0.35 else float(rng.uniform(-math.pi, math.pi)),
        spin=0.0 if rng.random() < 0.4 else float(rng.uniform(-_MAX_SPIN, _MAX_SPIN)),
        growth=0.0 if rng.random() < 0.4 else float(rng.uniform(-_MAX_GROWTH, _MAX_GROWTH)),
        kind=kind,
    )


def _inner_range(side: float, radius: float) -> Range:
    """Where a centre may be so that the object stays inside; the middle if it is too large."""
    return min(radius, side / 2), max(side - radius, side / 2)


def _sample_velocity(rng: np.random.Generator, short: int) -> np.ndarray:
    angle, speed = rng.uniform(-math.pi, math.pi), rng.uniform(*_SPEED) * short
    return np.array([math.cos(angle), math.sin(angle)]) * speed


def _towards(
    rng: np.random.Generator, velocity: np.ndarray, partner: Motion, meeting: float, short: int
) -> np.ndarray:
    """A velocity that differs from the partner's enough to part again."""
    other = partner.position(meeting + 0.5) - partner.position(meeting - 0.5)
    relative = velocity - other
    needed = 0.045 * short
    length = float(np.linalg.norm(relative))
    if length < 1e-6:
        angle = rng.uniform(-math.pi, math.pi)
        relative, length = np.array([math.cos(angle), math.sin(angle)]), 1.0
    return other + relative * max(1.0, needed / length)


def _through_border(
    rng: np.random.Generator,
    size: tuple[int, int],
    radius: float,
    frames: int,
    velocity: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, tuple[Range | None, Range | None]]:
    """(start outside, velocity, bounds) of an object that comes in through a random border."""
    sides = (size[1], size[0])
    axis = int(rng.integers(2))
    length, along = sides[axis], sides[1 - axis]
    depth = rng.uniform(0.9, 2.2) * radius
    depth = min(depth, length / 2)
    # Outside it stays for up to half of the clip; one frame at least.
    hidden = rng.uniform(0.0, 0.45) * (frames - 1)
    speed = (depth + radius + 2) / max(1.0, frames - 1 - hidden)
    from_low = rng.random() < 0.5
    start, step = np.zeros(2), np.zeros(2)
    start[axis] = depth - speed * (frames - 1)
    step[axis] = speed
    if not from_low:
        start[axis], step[axis] = length - start[axis], -speed
    low, high = _inner_range(along, radius)
    start[1 - axis] = rng.uniform(low, high)
    step[1 - axis] = 0.5 * velocity[1 - axis]
    free: list[Range | None] = [None, None]
    free[1 - axis] = (low, high)
    return start, step, (free[0], free[1])
