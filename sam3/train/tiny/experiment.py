"""The tiny model as the trainer of the experiments takes it: model, loss, meter and export.

Used by the configurations ``sam3/train/configs/tiny/``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ...config import presets
from ...errors import InputError
from ...eval.collect import current_collective
from ...model.sam3_image import Sam3Image
from ...model_builder import build_sam3_image_model
from ...perflib.distributed import Collective
from ..loop.checkpoints import CheckpointStore
from ..loop.conf import read_conf
from ..loop.config import TrainConfig
from ..utils.checkpoint_utils import load_model_state
from .attributes import AttributeBatch, attribute_loss
from .evaluation import SceneScores
from .grow import load_grown
from .objective import SupervisedModel, TinyBatch, TinyObjective, TinyOutputs
from .recipe import TinyRecipe, make_loss
from .stages import TinyRun, build_model, export


@dataclass(frozen=True)
class TinyPass:
    """What came out of a batch, together with the batch: the losses of the heads read both."""

    outputs: TinyOutputs
    batch: TinyBatch


class TinyExperiment(SupervisedModel):
    """A tiny model with the heads of the recipe, from scratch or from trained weights.

    Args:
        start: weights of a tiny model, perhaps of a coarser grid, or the ``checkpoint.pt`` of a run
            of a tiny experiment, which has the heads, too, and averaged weights; None = from
            scratch.
        seed: of the first weights.
        bpe_path: the text encoder's vocabulary, None = the bundled one.
        freeze_trunk: the trunk stays as it is, which saves a part of each step.
    """

    back_convert = staticmethod(Sam3Image.back_convert)

    def __init__(
        self,
        start: str | None = None,
        seed: int = 0,
        bpe_path: str | None = None,
        freeze_trunk: bool = False,
    ) -> None:
        run = TinyRun(
            out=Path(), scenes=Path(), train=TrainConfig(steps=1, seed=seed), recipe=TinyRecipe()
        )
        model = build_model(run, bpe_path)
        super().__init__(model)
        if start is not None and Path(start).suffix == ".pt":
            self._go_on_from(Path(start))
        elif start is not None:
            trained = build_sam3_image_model(checkpoint_path=start, device="cpu")
            load_grown(model, trained.state_dict())
        if freeze_trunk:
            model.backbone.vision_backbone.trunk.requires_grad_(False)

    def _go_on_from(self, path: Path) -> None:
        """Take the weights of a run, averaged where they are."""
        state = CheckpointStore(path.parent, latest=path.name, previous=path.name).load()
        if state is None:
            raise InputError(f"there is no checkpoint {path} to start from")
        average = (state.get("ema") or {}).get("average") or {}
        load_model_state(self, {**state["model"], **average}, (), str(path))

    def forward(self, batch: TinyBatch) -> TinyPass:  # type: ignore[override]
        """One pass of the whole model over the batch."""
        return TinyPass(super().forward(batch), batch)


@dataclass(frozen=True)
class TrunkPass:
    """What the trunk's classifier said about a batch, together with the batch."""

    outputs: tuple[Tensor, ...]
    batch: AttributeBatch


class TrunkExperiment(TinyExperiment):
    """A tiny model whose trunk alone trains, to name colours, shapes and patterns."""

    def __init__(
        self, start: str | None = None, seed: int = 0, bpe_path: str | None = None
    ) -> None:
        super().__init__(start, seed, bpe_path)
        self.requires_grad_(False)
        for part in (self.model.backbone.vision_backbone.trunk, self.cell_head):
            part.requires_grad_(True)

    def forward(self, batch: AttributeBatch) -> TrunkPass:  # type: ignore[override]
        """One pass of the trunk over the pictures."""
        features = self.model.backbone.vision_backbone.trunk(batch.images)[-1]
        self._seen.clear()
        return TrunkPass(self.cell_head(features), batch)


class TrunkLoss(nn.Module):
    """:func:`attribute_loss` as a loss of the trainer."""

    def forward(self, passed: TrunkPass, targets: Sequence[Any]) -> dict[str, Tensor]:
        """Named scalar losses and accuracies."""
        return attribute_loss(passed.outputs, passed.batch)


class TinyLoss(nn.Module):
    """:class:`TinyObjective` as a loss of the trainer; ``recipe`` holds fields of TinyRecipe."""

    def __init__(self, recipe: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        chosen = read_conf(TinyRecipe, recipe)
        self.loss = make_loss(chosen, presets.SAM3_TINY.decoder.num_queries)
        self.objective = TinyObjective(self.loss, chosen)

    def forward(self, passed: TinyPass, targets: Sequence[Any]) -> dict[str, Tensor]:
        """Named scalar losses. The objective reads the targets from the batch."""
        return self.objective(passed.outputs, passed.batch)


class SceneMeter:
    """The numbers of ``SceneScores`` over all batches of a validation."""

    def __init__(self) -> None:
        self._collective: Collective | None = None
        self.reset()

    def update(self, *, find_stages: TinyPass, batch: TinyBatch, **rest: Any) -> None:
        """Take the outputs of one batch."""
        targets = Sam3Image.back_convert(batch.find_targets[0])
        self.scores.add(find_stages.outputs.stages[0][-1], targets)

    def compute_synced(self) -> dict[str, float]:
        """Metrics over all batches of all processes."""
        collective = self._collective = self._collective or current_collective()
        parts = collective.gather_objects(self.scores) or []

        def metrics() -> dict[str, float]:
            whole = SceneScores()
            for part in parts:
                whole.extend(part)
            return whole.metrics()

        return collective.broadcast(metrics)

    def reset(self) -> None:
        """Forget everything."""
        self.scores = SceneScores()


class TinyExport:
    """Writes the trained tiny model, with its averaged weights, as the bundled file is written."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def on_training_end(self, trainer: Any) -> None:
        """Write the file, in process 0."""
        if trainer.ranks.rank != 0:
            return
        ema = trainer.parts.ema
        with nullcontext() if ema is None else ema.averaged():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            export(trainer.model.model, self.path)
