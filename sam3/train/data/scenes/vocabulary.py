"""The words of the drawn scenes: colours, shapes, patterns, and how phrases are spelled.

An object has one colour, one shape and one pattern. A :class:`Concept` fixes some of them and
leaves the others open; a phrase is one spelling of a concept. Ground truth follows from
:meth:`Concept.matches` alone, so it is exhaustive by construction.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ColourRange:
    """Where one colour name is safe to use, in HSV: hue in degrees, the rest in [0, 1].

    The ranges of two names never meet, so that shading, JPEG or jitter cannot turn one into
    the other. ``pure`` are the exact RGB values other drawing programs use for the name.
    """

    hue: tuple[float, float]
    saturation: tuple[float, float]
    value: tuple[float, float]
    weight: float
    pure: tuple[tuple[int, int, int], ...]


COLOURS: dict[str, ColourRange] = {
    "red": ColourRange(
        (-11, 8), (0.78, 1), (0.62, 1), 1, ((255, 0, 0), (220, 20, 60), (200, 0, 0), (230, 40, 40))
    ),
    "green": ColourRange(
        (92, 152), (0.55, 1), (0.42, 1), 1, ((0, 255, 0), (0, 128, 0), (0, 160, 0), (40, 180, 60))
    ),
    "blue": ColourRange(
        (203, 246),
        (0.6, 1),
        (0.5, 1),
        1,
        ((0, 0, 255), (30, 144, 255), (65, 105, 225), (0, 0, 200)),
    ),
    "yellow": ColourRange(
        (49, 63),
        (0.65, 1),
        (0.86, 1),
        1,
        ((255, 255, 0), (255, 215, 0), (240, 220, 0), (240, 220, 40)),
    ),
    "orange": ColourRange(
        (22, 38),
        (0.82, 1),
        (0.88, 1),
        1,
        ((255, 165, 0), (255, 140, 0), (255, 128, 0), (245, 130, 20)),
    ),
    "purple": ColourRange(
        (266, 297),
        (0.5, 1),
        (0.45, 0.85),
        1,
        ((128, 0, 128), (160, 32, 240), (148, 0, 211), (140, 40, 180)),
    ),
    "white": ColourRange(
        (0, 360), (0, 0.05), (0.92, 1), 1, ((255, 255, 255), (245, 245, 245), (240, 240, 240))
    ),
    "black": ColourRange((0, 360), (0, 0.4), (0, 0.14), 1, ((0, 0, 0), (10, 10, 10), (20, 20, 20))),
    "pink": ColourRange(
        (325, 346), (0.25, 0.55), (0.92, 1), 0.12, ((255, 192, 203), (255, 105, 180))
    ),
    "brown": ColourRange((16, 28), (0.6, 0.88), (0.36, 0.54), 0.12, ((139, 69, 19),)),
    "gray": ColourRange((0, 360), (0, 0.05), (0.42, 0.62), 0.12, ((128, 128, 128),)),
    "cyan": ColourRange((177, 188), (0.65, 1), (0.82, 1), 0.12, ((0, 255, 255), (0, 220, 220))),
}
COLOUR_NAMES: tuple[str, ...] = tuple(COLOURS)
MAIN_COLOURS: tuple[str, ...] = COLOUR_NAMES[:8]

SHAPE_NAMES: tuple[str, ...] = ("circle", "square", "triangle", "star", "cross", "ring")
SHAPE_WEIGHTS: tuple[float, ...] = (1, 1, 1, 1, 1, 0.4)

PATTERN_NAMES: tuple[str, ...] = ("plain", "striped", "dotted")

_PLURALS = {"cross": "crosses"}
_NOUN_SPELLINGS = {"circle": ("circle", "circle", "circle", "circle", "circle", "disc", "disk")}
_COLOUR_SPELLINGS = {"gray": ("gray", "grey")}
_ANY_NOUNS = ("shape", "object")


@dataclass(frozen=True)
class Concept:
    """What a phrase asks for: indices into the name tuples, None = any."""

    colour: int | None = None
    shape: int | None = None
    pattern: int | None = None

    @property
    def kind(self) -> str:
        """``any``, ``colour``, ``shape``, ``full`` or ``patterned``."""
        if self.pattern is not None:
            return "patterned"
        if self.colour is not None and self.shape is not None:
            return "full"
        if self.colour is not None:
            return "colour"
        return "any" if self.shape is None else "shape"

    def matches(self, attributes: np.ndarray) -> np.ndarray:
        """Which objects it names. attributes [n, 3] int (colour, shape, pattern) -> [n] bool."""
        attributes = np.asarray(attributes).reshape(-1, 3)
        keep = np.ones(len(attributes), dtype=bool)
        for column, wanted in enumerate((self.colour, self.shape, self.pattern)):
            if wanted is not None:
                keep &= attributes[:, column] == wanted
        return keep


def sample_colour_name(rng: np.random.Generator, main_only: bool = False) -> int:
    """Index of a colour name, drawn by weight."""
    count = len(MAIN_COLOURS) if main_only else len(COLOUR_NAMES)
    weights = np.array([COLOURS[name].weight for name in COLOUR_NAMES[:count]])
    return int(rng.choice(count, p=weights / weights.sum()))


def sample_shape_name(rng: np.random.Generator) -> int:
    """Index of a shape name, drawn by weight."""
    weights = np.array(SHAPE_WEIGHTS)
    return int(rng.choice(len(weights), p=weights / weights.sum()))


def sample_rgb(colour: int, rng: np.random.Generator, pure_probability: float = 0.35) -> np.ndarray:
    """One RGB value the colour name is right for: [3] float32 in 0..255."""
    spec = COLOURS[COLOUR_NAMES[colour]]
    if rng.random() < pure_probability:
        return np.array(spec.pure[rng.integers(len(spec.pure))], dtype=np.float32)
    hue = rng.uniform(*spec.hue) % 360 / 360
    rgb = colorsys.hsv_to_rgb(hue, rng.uniform(*spec.saturation), rng.uniform(*spec.value))
    return np.array(rgb, dtype=np.float32) * 255


def spell(concept: Concept, rng: np.random.Generator, plain: bool = False) -> str:
    """One spelling of a concept; ``plain`` gives the shortest one without article or plural.

    ``Concept()`` is "shape" or "object"; a colour alone becomes "<colour> shape/object".
    """
    noun = _noun(concept, rng, plain)
    words = []
    if concept.pattern is not None:
        words.append(PATTERN_NAMES[concept.pattern])
    if concept.colour is not None:
        name = COLOUR_NAMES[concept.colour]
        options = (name,) if plain else _COLOUR_SPELLINGS.get(name, (name,))
        words.append(options[rng.integers(len(options))])
    form = (
        "bare"
        if plain
        else str(rng.choice(("bare", "a", "the", "plural"), p=(0.55, 0.17, 0.1, 0.18)))
    )
    words.append(_PLURALS.get(noun, noun + "s") if form == "plural" else noun)
    if form == "a":
        words.insert(0, "an" if words[0][0] in "aeiou" else "a")
    elif form == "the":
        words.insert(0, "the")
    return " ".join(words)


def _noun(concept: Concept, rng: np.random.Generator, plain: bool) -> str:
    if concept.shape is None:
        return _ANY_NOUNS[0] if plain else _ANY_NOUNS[rng.integers(len(_ANY_NOUNS))]
    name = SHAPE_NAMES[concept.shape]
    options = (name,) if plain else _NOUN_SPELLINGS.get(name, (name,))
    return options[rng.integers(len(options))]


def parse(phrase: str) -> Concept | None:
    """The concept a phrase of the grammar spells, or None if any word is unknown to it."""
    singular = {
        _PLURALS.get(noun, noun + "s"): noun for noun in (*SHAPE_NAMES, *_ANY_NOUNS, "disc", "disk")
    }
    colour = shape = pattern = None
    for word in phrase.lower().split():
        word = singular.get(word, word)
        word = {"disc": "circle", "disk": "circle", "grey": "gray"}.get(word, word)
        if word in COLOUR_NAMES:
            colour = COLOUR_NAMES.index(word)
        elif word in SHAPE_NAMES:
            shape = SHAPE_NAMES.index(word)
        elif word in PATTERN_NAMES[1:]:
            pattern = PATTERN_NAMES.index(word)
        elif word not in ("a", "an", "the", *_ANY_NOUNS):
            return None
    return Concept(colour, shape, pattern)
