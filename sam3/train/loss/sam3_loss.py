"""The loss of a whole forward pass: all stages, interactive steps, decoder layers and branches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ...errors import InputError
from ..matching.assignment import Indices
from .association import AssociationLoss
from .base import CORE_LOSS_KEY
from .masks import Masks

O2M_SUFFIX = "_o2m"


class DummyLoss(nn.Module):
    """A loss that is 0, for evaluation loops that need one."""

    def __init__(self, core_loss_key: str = CORE_LOSS_KEY, **ignored: Any) -> None:
        super().__init__()
        self.core_loss_key = core_loss_key

    def forward(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Return ``{core_loss_key: 0}`` whatever the arguments."""
        return {self.core_loss_key: torch.zeros(())}


class Sam3LossWrapper(nn.Module):
    """Applies the losses to every output of the image model and sums them.

    Args:
        loss_fns_find: losses of queries (``LossWithWeights``).
        normalization: how ``num_boxes`` is formed: mean over ranks, this rank's, or 1.
        matcher: one-to-one matcher for one-to-many auxiliary outputs.
        o2m_matcher: one-to-many matcher.
        o2m_weight: weight of everything that comes from the one-to-many branch.
        use_o2m_matcher_on_o2m_aux: False matches auxiliary one-to-many outputs one-to-one.
        loss_fn_semantic_seg: semantic loss, once per step.
        normalize_by_valid_object_num: count only boxes with positive width and height.
        normalize_by_stage_num: divide by the number of stages.
        scale_by_find_batch_size: multiply the core loss of a stage by the root of its prompts.
    """

    def __init__(
        self,
        loss_fns_find: Sequence[nn.Module],
        normalization: Literal["global", "local", "none"] = "global",
        matcher: nn.Module | None = None,
        o2m_matcher: nn.Module | None = None,
        o2m_weight: float = 1.0,
        use_o2m_matcher_on_o2m_aux: bool = True,
        loss_fn_semantic_seg: nn.Module | None = None,
        normalize_by_valid_object_num: bool = False,
        normalize_by_stage_num: bool = False,
        scale_by_find_batch_size: bool = False,
    ) -> None:
        super().__init__()
        if normalization not in ("global", "local", "none"):
            raise InputError(
                f"normalization must be 'global', 'local' or 'none', got {normalization!r}"
            )
        self.loss_fns_find = nn.ModuleList(loss_fns_find)
        self.normalization = normalization
        self.matcher = matcher
        self.o2m_matcher = o2m_matcher
        self.o2m_weight = o2m_weight
        self.use_o2m_matcher_on_o2m_aux = use_o2m_matcher_on_o2m_aux
        self.loss_fn_semantic_seg = loss_fn_semantic_seg
        self.normalize_by_valid_object_num = normalize_by_valid_object_num
        self.normalize_by_stage_num = normalize_by_stage_num
        self.scale_by_find_batch_size = scale_by_find_batch_size

    def forward(
        self, find_stages: Iterable[Any], find_targets: Sequence[Mapping[str, Any]]
    ) -> dict[str, Tensor]:
        """Sum the losses of all stages and steps.

        Args:
            find_stages: per stage, the list of step output dicts (or one dict).
            find_targets: per stage, the dict of ``Sam3Image.back_convert``.

        Returns:
            named scalar losses; ``core_loss`` is the one to differentiate.
        """
        stages = list(find_stages)
        if len(stages) != len(find_targets):
            raise InputError(f"{len(stages)} output stages but {len(find_targets)} targets")
        total: dict[str, Tensor] = {}
        for steps, targets in zip(stages, find_targets, strict=True):
            num_boxes = self._num_boxes(targets)
            for outputs in [steps] if isinstance(steps, Mapping) else steps:
                losses = self._step_losses(outputs, targets, num_boxes)
                if self.scale_by_find_batch_size:
                    losses[CORE_LOSS_KEY] *= len(targets["num_boxes"]) ** 0.5
                for name, value in losses.items():
                    total[name] = total[name] + value if name in total else value
        if self.normalize_by_stage_num:
            total = {name: value / max(len(stages), 1) for name, value in total.items()}
        return total

    def _num_boxes(self, targets: Mapping[str, Any]) -> Tensor:
        """Number of targets used as normaliser, scalar float, at least 1."""
        counts = targets["num_boxes"]
        if self.normalization == "none":
            return torch.ones((), device=counts.device)
        if self.normalize_by_valid_object_num:
            count = (targets["boxes"].reshape(-1, 4)[:, 2:] > 0).all(-1).sum().float()
        else:
            count = counts.sum().float()
        if self.normalization == "global" and dist.is_available() and dist.is_initialized():
            dist.all_reduce(count)
            count = count / dist.get_world_size()
        return count.clamp(min=1)

    def _step_losses(
        self, outputs: Mapping[str, Any], targets: Mapping[str, Any], num_boxes: Tensor
    ) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = {}
        for layer, suffix, is_aux in _layers(outputs):
            self._add(losses, layer, targets, layer["indices"], num_boxes, suffix, is_aux)
            if "pred_logits" + O2M_SUFFIX in layer:
                self._add_o2m(losses, layer, targets, num_boxes, suffix, is_aux)
        if self.loss_fn_semantic_seg is not None:
            _merge(losses, self.loss_fn_semantic_seg(outputs, targets), "", 1.0)
        return losses

    def _add_o2m(
        self,
        losses: dict[str, Tensor],
        layer: Mapping[str, Any],
        targets: Mapping[str, Any],
        num_boxes: Tensor,
        suffix: str,
        is_aux: bool,
    ) -> None:
        branch = {
            name.removesuffix(O2M_SUFFIX): value
            for name, value in layer.items()
            if name.endswith(O2M_SUFFIX)
        }
        o2m = not is_aux or self.use_o2m_matcher_on_o2m_aux
        matcher = self.o2m_matcher if o2m else self.matcher
        if matcher is None:
            name = "o2m_matcher" if o2m else "matcher"
            raise InputError(f"the outputs have a one-to-many branch: Sam3LossWrapper needs {name}")
        indices = matcher(branch, targets)
        self._add(
            losses, branch, targets, indices, num_boxes, suffix + O2M_SUFFIX, is_aux,
            weight=self.o2m_weight,
        )  # fmt: skip

    def _add(
        self,
        losses: dict[str, Tensor],
        layer: Mapping[str, Any],
        targets: Mapping[str, Any],
        indices: Indices,
        num_boxes: Tensor,
        suffix: str,
        is_aux: bool,
        weight: float = 1.0,
    ) -> None:
        for loss_fn in self.loss_fns_find:
            if suffix.endswith(O2M_SUFFIX) and _speaks_of_o2o_only(loss_fn, layer):
                continue
            values = loss_fn(
                outputs=layer, targets=targets, indices=indices, num_boxes=num_boxes, is_aux=is_aux
            )
            _merge(losses, values, suffix, weight)


def _speaks_of_o2o_only(loss_fn: nn.Module, layer: Mapping[str, Any]) -> bool:
    """Whether a loss has nothing to say about a one-to-many layer."""
    without_masks = isinstance(loss_fn, Masks) and "pred_masks" not in layer
    return without_masks or isinstance(loss_fn, AssociationLoss)


def _layers(outputs: Mapping[str, Any]) -> Iterable[tuple[Mapping[str, Any], str, bool]]:
    """The outputs to supervise: final layer, auxiliary layers, first stage."""
    yield outputs, "", False
    for index, layer in enumerate(outputs.get("aux_outputs") or ()):
        yield layer, f"_aux_{index}", True
    first = outputs.get("first_stage")
    if first is not None:
        yield first, "_fs", True


def _merge(
    losses: dict[str, Tensor], values: Mapping[str, Tensor], suffix: str, weight: float
) -> None:
    """Add ``values`` to ``losses``: the core loss is summed, the rest is renamed by ``suffix``."""
    for name, value in values.items():
        value = value if weight == 1.0 else value * weight
        if name == CORE_LOSS_KEY:
            losses[name] = losses[name] + value if name in losses else value
        else:
            losses[name + suffix] = value
