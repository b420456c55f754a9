"""Training batches by number: the user's pictures, shuffled anew in every epoch, and replay."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from ...model.data_misc import BatchedDatapoint
from ..data.coco_json_loaders import COCO_FROM_JSON
from ..data.collator import collate_fn_api
from ..data.datapoint import Datapoint
from ..data.sam3_image_dataset import Sam3ImageDataset
from ..data.torch_dataset import seeded_random_numbers
from .data import PictureSet
from .recipe import FinetuneRecipe
from .replay import SceneReplay
from .transforms import training_transforms

KEY = "finetune"
_MOST = 100_000  # objects or queries of a sample: the data set's own limits are not wanted


def training_set(pictures: PictureSet, recipe: FinetuneRecipe, side: int) -> Sam3ImageDataset:
    """The pictures as samples of at most ``recipe.chunk`` questions each."""
    return Sam3ImageDataset(
        pictures.folder,
        pictures.content,
        training_transforms(side, recipe.changes),
        max_ann_per_img=_MOST,
        multiplier=1,
        training=True,
        load_segmentation=pictures.has_masks,
        max_train_queries=_MOST,
        coco_json_loader=partial(COCO_FROM_JSON, category_chunk_size=recipe.chunk),
    )


class FinetuneBatches:
    """Batches that depend on (seed, number) alone, so that a resumed run sees the same ones.

    Args:
        dataset: the user's pictures.
        recipe: batch size and share of replay.
        seed: of order, random changes and replay.
        mask_size: side that target masks are brought to; None leaves masks out.
        replay: drawn scenes for the share ``recipe.replay`` of every batch.
    """

    def __init__(
        self,
        dataset: Sam3ImageDataset,
        recipe: FinetuneRecipe,
        *,
        seed: int,
        mask_size: int | None,
        replay: SceneReplay | None = None,
    ) -> None:
        self.dataset, self.seed, self.mask_size, self.replay = dataset, seed, mask_size, replay
        self.scenes = 0 if replay is None else round(recipe.batch_size * recipe.replay)
        self.own = max(1, recipe.batch_size - self.scenes)

    def batch(self, number: int, progress: float) -> BatchedDatapoint:
        """Batch ``number``; ``progress`` makes no difference."""
        samples = [self._own(number * self.own + k) for k in range(self.own)]
        if self.replay is not None:
            first = number * self.scenes
            samples += [self.replay.sample(first + k) for k in range(self.scenes)]
        made = collate_fn_api(samples, KEY, with_seg_masks=self.mask_size is not None)[KEY]
        return made if self.mask_size is None else with_masks_of(made, self.mask_size)

    @property
    def batches_per_epoch(self) -> float:
        """Batches until every sample was seen once."""
        return len(self.dataset) / self.own

    def _own(self, position: int) -> Datapoint:
        epoch, offset = divmod(position, len(self.dataset))
        order = np.random.default_rng((self.seed, epoch, 19)).permutation(len(self.dataset))
        with seeded_random_numbers((self.seed, 23, position)):
            return self.dataset[int(order[offset])]


def with_masks_of(batch: BatchedDatapoint, size: int) -> BatchedDatapoint:
    """``batch`` with target masks of ``size`` x ``size``; thin objects keep a pixel."""
    targets = [
        replace(t, segments=None if t.segments is None else _shrunk(t.segments, size))
        for t in batch.find_targets
    ]
    return replace(batch, find_targets=targets)


def _shrunk(masks: Tensor, size: int) -> Tensor:
    """bool [N, H, W] -> [N, size, size]: what is half covered, or most of what is covered least."""
    if not len(masks):
        return masks.new_zeros(0, size, size)
    share = F.adaptive_avg_pool2d(masks.float()[:, None], size)[:, 0]
    peak = share.amax((1, 2), keepdim=True)
    return (share >= peak.clamp(max=0.5)) & (share > 0)


def describe_batch(batch: BatchedDatapoint) -> str:
    """The phrases of a batch, for the report of a diverged loss."""
    return "[" + ", ".join(batch.find_text_batch) + "]"
