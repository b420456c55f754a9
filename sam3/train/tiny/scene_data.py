"""Drawn scenes as a data set of the trainer: a sample is a whole batch, made by a worker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from ...config import Sam3ImageConfig, presets
from ...eval.collect import current_collective
from ..data.scenes.prerender import PrerenderConfig, prerender
from ..data.scenes.prerender_clips import ClipPrerenderConfig, prerender_clips
from .attributes import AttributeBatches
from .objective import MASK_STRIDE, CurriculumSource
from .recipe import TinyRecipe


class SceneExamples(Dataset[Any]):
    """``size`` batches an epoch; batch ``index`` depends on (seed, epoch, index) alone.

    Args:
        folder: of the scenes. Those that are missing are drawn first.
        size: batches in an epoch.
        images, phrases: pictures in a batch, questions about each.
        seed: of questions, turns and light.
        augment: turn pictures and change their light.
        scenes: how many the folder holds.
        scene_seed: of the drawing.
        draw_workers: processes that draw.
        config: of the model, which gives the sizes.
    """

    def __init__(
        self,
        folder: str,
        size: int,
        *,
        images: int,
        phrases: int,
        seed: int = 0,
        augment: bool = True,
        scenes: int = 32768,
        scene_seed: int = 1,
        draw_workers: int = 1,
        config: Sam3ImageConfig = presets.SAM3_TINY,
    ) -> None:
        self.folder = Path(folder)
        self.size = size
        self.recipe = TinyRecipe(images=images, phrases=phrases, simple_share=0.0)
        self.seed = seed
        self.augment = augment
        self.config = config
        self.epoch = 0
        self._source: Any = None
        drawn = PrerenderConfig(scenes=scenes, resolution=config.vision.img_size, seed=scene_seed)
        processes = current_collective()
        if processes.rank == 0:
            prerender(self.folder, drawn, draw_workers)
        processes.barrier()

    def __len__(self) -> int:
        """Batches in an epoch."""
        return self.size

    def set_epoch(self, epoch: int) -> None:
        """Go to another epoch."""
        self.epoch = epoch

    def __getitem__(self, index: int) -> Any:
        """Batch ``index`` of the epoch, a ``TinyBatch``."""
        return self.source.batch(self._number(index), progress=1.0)

    def image_ids(self, index: int) -> list[int]:
        """Rows, in the scene folder, of the pictures of batch ``index``."""
        return self.source.batches.scene_rows(self._number(index), level=1)

    @property
    def source(self) -> Any:
        """The open folder; every process opens its own."""
        if self._source is None:
            self._source = self._open()
        return self._source

    def _open(self) -> Any:
        return CurriculumSource(
            self.folder,
            self.recipe,
            side=self.config.vision.img_size,
            mask_size=self.config.vision.grid * MASK_STRIDE,
            seed=self.seed,
            augment=self.augment,
        )

    def _number(self, index: int) -> int:
        return self.epoch * self.size + index

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_source": None}  # memory maps would be copied


class TrunkExamples(SceneExamples):
    """The same for the trunk alone: a sample is an ``AttributeBatch``; there are no questions.

    Args:
        clip_folder: every other picture is a frame of these clips; None = scenes only.
        clips: how many that folder holds.
        clip_seed: of their drawing.
        options: as above.
    """

    def __init__(
        self,
        folder: str,
        size: int,
        *,
        images: int,
        clip_folder: str | None = None,
        clips: int = 4096,
        clip_seed: int = 1,
        **options: Any,
    ) -> None:
        super().__init__(folder, size, images=images, phrases=1, **options)
        self.clip_folder = None if clip_folder is None else Path(clip_folder)
        side = self.config.vision.img_size
        drawn = ClipPrerenderConfig(clips=clips, resolution=side, seed=clip_seed)
        processes = current_collective()
        if self.clip_folder is not None and processes.rank == 0:
            prerender_clips(self.clip_folder, drawn, options.get("draw_workers", 1))
        processes.barrier()

    def image_ids(self, index: int) -> list[int]:
        """Rows of the pictures of batch ``index``; frames of clips count on after the scenes."""
        return self.source.rows(self._number(index))

    def _open(self) -> AttributeBatches:
        return AttributeBatches(
            self.folder,
            self.recipe.images,
            grid=self.config.vision.grid,
            seed=self.seed,
            clips=self.clip_folder,
        )


class TheOnly:
    """Collates the one sample of a batch, which is a batch: ``{key: sample}``."""

    def __init__(self, key: str) -> None:
        self.key = key

    def __call__(self, samples: list[Any]) -> dict[str, Any]:
        (batch,) = samples
        return {self.key: batch}
