"""Turning phrases into example boxes."""

from __future__ import annotations

import random
from typing import Any

import torch

from ..data.datapoint import Datapoint

# The phrase that the model reads where a box alone says what to look for.
VISUAL_PHRASE = "visual"


class TextQueryToVisual:
    """Gives queries one of their own objects as an example box.

    Queries without objects, with boxes or points already, or of a later stage stay as they are.

    Args:
        probability: of each change.
        keep_text_queries: keep the phrase; otherwise it becomes "visual".
    """

    def __init__(self, probability: float, keep_text_queries: bool = False) -> None:
        self.probability = probability
        self.keep_text_queries = keep_text_queries

    def __call__(self, datapoint: Datapoint, **_kwargs: Any) -> Datapoint:
        """Change queries in place; draws from Python's ``random``."""
        for query in datapoint.find_queries:
            if query.query_processing_order > 0 or query.has_geometry:
                continue
            if not query.object_ids_output or random.random() >= self.probability:
                continue
            example = random.choice(query.object_ids_output)
            objects = datapoint.images[query.image_id].objects
            query.input_bbox = objects[example].bbox.view(-1, 4).clone()
            query.input_bbox_label = torch.ones(1, dtype=torch.bool)
            if not self.keep_text_queries:
                query.query_text = VISUAL_PHRASE
        return datapoint
