"""Drawn scenes between the user's pictures, so that the bundled model keeps what it knew.

Half of the questions name something in the scene, half do not. Where the words of a user's phrase
are new to the drawn scenes, it is asked, too: nothing there answers to it, unless objects of the
user's pictures were pasted into the scene.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ..data.datapoint import Datapoint, FindQueryLoaded, Image, InferenceMetadata, Object
from ..data.scenes.augment import orient, random_orientation, tone_curve
from ..data.scenes.phrases import Query, noisy_box, sample_negative, sample_positive
from ..data.scenes.prerender import square_scene
from ..data.scenes.scene import draw_scene, label_boxes, random_size, scene_rng
from ..data.scenes.vocabulary import parse
from .cutouts import Paster

_SCENES = 512  # kept in memory; each is drawn once
_SEED_OFFSET = 7_000_019  # apart from the scenes that the bundled model was trained on
_NO_ORIGIN = -1


class SceneReplay:
    """Samples of drawn scenes by number.

    Args:
        side: of the pictures, which are square.
        phrases: the user's; those that the drawn scenes do not know are asked as absent ones.
        paster: puts objects of the user's pictures into scenes; None or without any: none.
        seed: of everything drawn.
        questions: per scene.
        ask: probability of a user's phrase about a scene without pasted objects.
        pasted: share of scenes with pasted objects, where there are any to paste.
    """

    def __init__(
        self,
        side: int,
        phrases: Sequence[str] = (),
        paster: Paster | None = None,
        *,
        seed: int = 0,
        questions: int = 2,
        ask: float = 0.25,
        pasted: float = 0.5,
    ) -> None:
        self.side, self.seed, self.questions = side, seed, questions
        self.absent = [phrase for phrase in phrases if parse(phrase) is None]
        self.ask = ask if self.absent else 0.0
        self.paster = paster if paster is not None and paster.cutouts else None
        self.pasted = pasted if self.paster else 0.0
        self._scene = lru_cache(maxsize=_SCENES)(self._draw)

    def sample(self, number: int) -> Datapoint:
        """Sample ``number``: normalised picture, boxes as fractions (cxcywh), masks."""
        rng = np.random.default_rng((self.seed, number, 17))
        image, labels, boxes, attributes = self._scene(int(rng.integers(_SCENES)))
        image, labels, boxes = orient(image, labels, boxes, random_orientation(rng))
        if self.paster is not None and rng.random() < self.pasted:
            image, labels, phrase, count = self.paster.paste(image, labels, rng)
            boxes = _boxes_of(labels, len(attributes) + count)
            new = tuple(range(len(attributes), len(boxes)))
            queries = [Query(phrase, new, "full")]
            queries += [q for q in self._queries(attributes, rng) if _names_colour_and_shape(q)]
        else:
            queries = self._queries(attributes, rng)
            if rng.random() < self.ask:
                queries.append(Query(self.absent[rng.integers(len(self.absent))], (), "full"))
        objects = [
            Object(
                bbox=torch.from_numpy(box)[None],  # as resized ones
                area=float(box[2] * box[3]),
                object_id=index,
                segment=torch.from_numpy((labels == index + 1).astype(np.uint8)),
            )
            for index, box in enumerate(boxes)
        ]
        asked = [self._asked(query, boxes, rng) for query in queries]
        return Datapoint(asked, [Image(_pixels(image, rng), objects, (self.side, self.side))])

    def _draw(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        rng = scene_rng(self.seed + _SEED_OFFSET, index)
        scene = draw_scene(rng, random_size(rng))
        return (*square_scene(scene, self.side), scene.attributes)

    def _queries(self, attributes: np.ndarray, rng: np.random.Generator) -> list[Query]:
        present = self.questions // 2 if len(attributes) else 0
        return [
            sample_positive(attributes, rng) if n < present else sample_negative(attributes, rng)
            for n in range(self.questions)
        ]

    def _asked(self, query: Query, boxes: np.ndarray, rng: np.random.Generator) -> FindQueryLoaded:
        prompt = None
        if query.box_object is not None:
            prompt = torch.from_numpy(noisy_box(boxes[query.box_object], rng)[None])
        return FindQueryLoaded(
            query_text=query.text,
            image_id=0,
            object_ids_output=list(query.targets),
            is_exhaustive=True,
            input_bbox=prompt,
            input_bbox_label=None if prompt is None else torch.ones(1, dtype=torch.bool),
            inference_metadata=InferenceMetadata(
                coco_image_id=_NO_ORIGIN,
                original_image_id=_NO_ORIGIN,
                original_category_id=_NO_ORIGIN,
                original_size=(self.side, self.side),
                object_id=_NO_ORIGIN,
                frame_index=_NO_ORIGIN,
            ),
        )


def _names_colour_and_shape(query: Query) -> bool:
    """Whether a pasted object cannot be meant, be it new in its colour or in its shape."""
    concept = parse(query.text)
    return concept is not None and concept.colour is not None and concept.shape is not None


def _boxes_of(labels: np.ndarray, count: int) -> np.ndarray:
    """Boxes of labels 1..count of a square picture as fractions (cxcywh): [count, 4] float32."""
    corners = label_boxes(labels, count) / labels.shape[0]
    centres, sizes = (corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]
    return np.concatenate([centres, sizes], axis=1).astype(np.float32)


def _pixels(image: np.ndarray, rng: np.random.Generator) -> Tensor:
    """uint8 [S, S, 3] -> normalised float32 [3, S, S] with a random change of light."""
    curve = tone_curve(rng)
    return torch.from_numpy(np.stack([np.take(curve[:, c], image[..., c]) for c in range(3)]))
