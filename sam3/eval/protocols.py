"""How a validation loop, meters, post-processors and evaluators talk to each other.

loop --update--> meter --process_results--> post-processor
loop --compute_synced--> meter --evaluate(file)--> evaluator --> metrics
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from ..model.data_misc import BatchedInferenceMetadata


@runtime_checkable
class PostProcessor(Protocol):
    """Turns a model's outputs into results that mean something outside the model."""

    def process_results(
        self, find_stages: Any, find_metadatas: Sequence[BatchedInferenceMetadata], **kwargs: Any
    ) -> Mapping[int, Mapping[str, Any]]:
        """Results by image (or video) id."""
        ...


@runtime_checkable
class PredFileEvaluator(Protocol):
    """Computes metrics from a file of predictions."""

    def evaluate(self, pred_file: str) -> dict[str, float]:
        """Metrics by name."""
        ...


@runtime_checkable
class Meter(Protocol):
    """What a validation loop feeds with batches and asks for metrics at the end.

    A meter with a method ``is_better(name, new, old)`` takes part in choosing the best checkpoint.
    """

    def update(
        self,
        *,
        find_stages: Any,
        find_metadatas: Sequence[BatchedInferenceMetadata],
        model: Any = None,
        batch: Any = None,
        key: str | None = None,
    ) -> None:
        """Take the outputs of one batch."""
        ...

    def compute_synced(self) -> dict[str, float]:
        """Metrics over all batches of all processes; called by every process, the same for all."""
        ...

    def reset(self) -> None:
        """Forget everything, for the next validation."""
        ...
