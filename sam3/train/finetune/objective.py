"""What a fine-tuning minimises."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ...model.data_misc import BatchedDatapoint
from ...model.sam3_image import Sam3Image
from ..loss.base import CORE_LOSS_KEY
from ..loss.loss_fns import Boxes, IABCEMdetr, Masks, SemanticSegCriterion
from ..loss.sam3_loss import Sam3LossWrapper
from ..matcher import BinaryHungarianMatcherV2, BinaryOneToManyMatcher
from .anchor import TextAnchor
from .recipe import LossWeights


def make_matcher() -> BinaryHungarianMatcherV2:
    """The one-to-one matcher of every SAM 3 training: weights 2 / 5 / 2, focal."""
    return BinaryHungarianMatcherV2(cost_class=2, cost_bbox=5, cost_giou=2, focal=True)


class FinetuneObjective:
    """The SAM 3 losses of a batch, without those of masks where there are none.

    Args:
        weights: of the losses.
        num_queries: of the model's decoder.
        masks: whether masks are trained.
        anchor: keeps the meaning of old phrases.
    """

    def __init__(
        self,
        weights: LossWeights,
        num_queries: int,
        *,
        masks: bool,
        anchor: TextAnchor | None = None,
    ) -> None:
        self.loss = make_loss(weights, num_queries, masks)
        self.weights, self.anchor = weights, anchor

    def __call__(self, outputs: Any, batch: BatchedDatapoint) -> dict[str, Tensor]:
        """Named scalar losses; ``core_loss`` is differentiated."""
        targets = [Sam3Image.back_convert(target) for target in batch.find_targets]
        losses: dict[str, Tensor] = self.loss(outputs, targets)
        if self.anchor is not None:
            change = self.anchor()
            losses[CORE_LOSS_KEY] = losses[CORE_LOSS_KEY] + self.weights.anchor * change
            losses["anchor"] = change.detach()
        return losses


def make_loss(weights: LossWeights, num_queries: int, masks: bool) -> nn.Module:
    """The losses of the released fine-tuning; with ``masks`` those of its documented variant."""
    w = weights
    losses: list[nn.Module] = [
        Boxes(weight_dict={"loss_bbox": w.bbox, "loss_giou": w.giou}),
        IABCEMdetr(
            pos_weight=w.positive,
            weight_dict={"loss_ce": w.classification, "presence_loss": w.presence},
            gamma=2,
            alpha=0.25,
            weak_loss=False,
            use_presence=True,
            pad_n_queries=num_queries,
        ),
    ]
    semantic = None
    if masks:
        losses.append(Masks(weight_dict={"loss_mask": w.mask_focal, "loss_dice": w.mask_dice}))
        semantic = SemanticSegCriterion(
            weight_dict={
                "loss_semantic_seg": w.semantic_focal,
                "loss_semantic_dice": w.semantic_dice,
            },
            focal=True,
            focal_gamma=2,
            downsample=True,
            presence_head=True,
            presence_loss=False,
        )
    return Sam3LossWrapper(
        loss_fns_find=losses,
        matcher=make_matcher(),
        o2m_matcher=BinaryOneToManyMatcher(alpha=0.3, threshold=0.4, topk=4),
        o2m_weight=w.o2m,
        use_o2m_matcher_on_o2m_aux=False,
        loss_fn_semantic_seg=semantic,
        scale_by_find_batch_size=w.scale_by_batch,
    )
