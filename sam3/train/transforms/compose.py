"""Several transforms as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..data.datapoint import Datapoint


class ComposeAPI:
    """Runs transforms one after the other; keywords (``epoch``) go to each of them."""

    def __init__(self, transforms: Sequence[Callable[..., Datapoint]]) -> None:
        self.transforms = list(transforms)

    def __call__(self, datapoint: Datapoint, **kwargs: Any) -> Datapoint:
        """The datapoint after the last transform."""
        for transform in self.transforms:
            datapoint = transform(datapoint, **kwargs)
        return datapoint
