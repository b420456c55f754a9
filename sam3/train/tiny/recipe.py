"""The numbers of the tiny training, in one place."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from ..loss.loss_fns import Boxes, IABCEMdetr, Masks, SemanticSegCriterion
from ..loss.sam3_loss import Sam3LossWrapper
from ..matcher import BinaryHungarianMatcherV2, BinaryOneToManyMatcher


@dataclass(frozen=True, kw_only=True)
class TinyRecipe:
    """Batch, curriculum, initialisation and loss weights.

    Attributes:
        images, phrases: pictures per batch and questions per picture, half of them absent.
        trunk_images, trunk_share: batch and share of the first stage, of the trunk alone.
        trunk_lr: factor on the trunk's learning rate afterwards. The small batches of the whole
            model are noisy: at the full rate the trunk forgets shapes it knew.
        coarse_side, coarse_share: the next share of the training sees pictures of this side,
            on a coarser token grid.
        simple_share: share of the coarse stage with easy scenes only.
        box_side: width and height of the initial reference boxes, share of the picture.
        position_scale: factor on the sine-cosine position table.
        local_bias: output weight of the units that keep queries inside their boxes.
        text_phrases, text_share: batch and share of the stage of the text encoder alone.
        cell_weight, word_weight: of what trunk and text encoder know, in all later stages.
        memory_weight, memory_limit: penalty on the mean square of the encoder memory.
        positive_weight: of the queries that found something against all others in the class loss;
            the released 10 leaves duplicates in a model as small as this.
        o2m_weight: of the one-to-many branch, where the model has one.
    """

    images: int = 8
    phrases: int = 2
    trunk_images: int = 32
    trunk_share: float = 0.16
    trunk_lr: float = 0.2
    text_phrases: int = 128
    text_share: float = 0.02
    coarse_side: int = 96
    coarse_share: float = 0.24
    simple_share: float = 0.15
    box_side: float = 0.27
    position_scale: float = 0.5
    local_bias: float = -8.0
    cell_weight: float = 20.0
    word_weight: float = 5.0
    memory_weight: float = 0.05
    memory_limit: float = 1.0
    bbox: float = 5.0
    giou: float = 2.0
    classification: float = 5.0
    positive_weight: float = 10.0
    presence: float = 10.0
    mask_focal: float = 20.0
    mask_dice: float = 10.0
    semantic_focal: float = 20.0
    semantic_dice: float = 10.0
    o2m_weight: float = 1.0


def make_matcher() -> BinaryHungarianMatcherV2:
    """The one-to-one matcher of every SAM 3 training: weights 2 / 5 / 2, focal."""
    return BinaryHungarianMatcherV2(cost_class=2, cost_bbox=5, cost_giou=2, focal=True)


def make_loss(recipe: TinyRecipe, num_queries: int) -> nn.Module:
    """All losses with the weights of ``recipe``."""
    semantic = SemanticSegCriterion(
        weight_dict={
            "loss_semantic_seg": recipe.semantic_focal,
            "loss_semantic_dice": recipe.semantic_dice,
        },
        focal=True,
        downsample=True,
        presence_head=True,
        presence_loss=False,
    )
    return Sam3LossWrapper(
        loss_fns_find=[
            Boxes(weight_dict={"loss_bbox": recipe.bbox, "loss_giou": recipe.giou}),
            IABCEMdetr(
                pos_weight=recipe.positive_weight,
                weight_dict={"loss_ce": recipe.classification, "presence_loss": recipe.presence},
                gamma=2,
                alpha=0.25,
                weak_loss=False,
                use_presence=True,
                pad_n_queries=num_queries,
            ),
            Masks(weight_dict={"loss_mask": recipe.mask_focal, "loss_dice": recipe.mask_dice}),
        ],
        matcher=make_matcher(),
        o2m_matcher=BinaryOneToManyMatcher(alpha=0.3, threshold=0.4, topk=4),
        o2m_weight=recipe.o2m_weight,
        use_o2m_matcher_on_o2m_aux=False,
        loss_fn_semantic_seg=semantic,
    )
