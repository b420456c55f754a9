"""How a fine-tuning learns: rates, what is frozen, losses, changes of the pictures.

``RELEASED`` follows the fine-tuning of the released model on RF100-VL; ``TINY`` was found by
experiment for the bundled model, which starts from far less and has to move further.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from ...config import Sam3ImageConfig, presets
from ...errors import InputError

PARTS: dict[str, str] = {
    "trunk": "backbone.vision_backbone.trunk.",
    "neck": "backbone.vision_backbone.convs.",
    "text": "backbone.language_backbone.",
    "geometry": "geometry_encoder.",
    "encoder": "transformer.encoder.",
    "decoder": "transformer.decoder.",
    "scores": "dot_prod_scoring.",
    "masks": "segmentation_head.",
}
"""Parts of the image model by the name users freeze them with: the start of their parameters."""


@dataclass(frozen=True, kw_only=True)
class LossWeights:
    """Weights of the losses.

    positive: of found queries against all others in the class loss; anchor: of changes to the text
    features of phrases that the bundled model knows; o2m: of the one-to-many branch.
    """

    bbox: float = 5.0
    giou: float = 2.0
    classification: float = 20.0
    presence: float = 20.0
    positive: float = 10.0
    mask_focal: float = 200.0
    mask_dice: float = 10.0
    semantic_focal: float = 20.0
    semantic_dice: float = 30.0
    o2m: float = 2.0
    anchor: float = 0.0
    scale_by_batch: bool = True


@dataclass(frozen=True, kw_only=True)
class Changes:
    """Random changes of training pictures.

    flip: probability of mirroring; degrees: largest turn; zoom: largest factor; tone: of light and
    contrast; smallest: side of the smallest picture that is padded to full size, as a share.
    """

    flip: float = 0.0
    degrees: float = 0.0
    zoom: float = 1.0
    tone: float = 0.0
    smallest: float = 480 / 1008


@dataclass(frozen=True, kw_only=True)
class FinetuneRecipe:
    """See the module.

    Attributes:
        steps, epochs, minutes: the length; exactly one.
        batch_size: pictures in a batch.
        accumulation: batches in a step.
        chunk: categories asked about in one sample; more make more samples.
        lr: of all parts that ``part_rates`` does not name.
        part_rates: part -> factor on ``lr``.
        layer_decay: factor on the trunk's rate from each layer to the one below.
        weight_decay: of everything but biases and norms.
        clip: limit of the gradient norm.
        schedule: "inverse-sqrt" (warm-up, decay with the root of the steps, cool-down, as released)
            or "hold-cosine" (warm-up, hold, half a cosine).
        warmup, timescale, cooldown: of the schedule, in steps.
        hold: share of the training before the cosine begins.
        average: decay of the averaged weights, which are what is measured and saved; 0 = none.
        frozen: parts that do not learn.
        masks: train masks where the data have them; boxes alone are cheaper, and enough where what
            makes masks is frozen.
        lora_rank: 0 = train the weights themselves.
        replay: share of drawn scenes, which keep the bundled model's old phrases alive.
        changes, loss: see there.
    """

    steps: int | None = None
    epochs: float | None = 20
    minutes: float | None = None
    batch_size: int = 1
    accumulation: int = 1
    chunk: int = 8
    lr: float = 8e-5
    part_rates: dict[str, float] = field(
        default_factory=lambda: {"trunk": 0.3125, "neck": 0.3125, "text": 0.0625}
    )
    layer_decay: float = 0.9
    weight_decay: float = 0.1
    clip: float = 0.1
    betas: tuple[float, float] = (0.9, 0.999)
    schedule: str = "inverse-sqrt"
    warmup: int = 20
    timescale: int = 20
    cooldown: int = 20
    hold: float = 0.0
    average: float = 0.0
    frozen: tuple[str, ...] = ()
    masks: bool = True
    lora_rank: int = 0
    replay: float = 0.0
    changes: Changes = field(default_factory=Changes)
    loss: LossWeights = field(default_factory=LossWeights)

    def __post_init__(self) -> None:
        lengths = [v for v in (self.steps, self.epochs, self.minutes) if v is not None]
        if len(lengths) != 1 or lengths[0] <= 0:
            raise InputError(
                "give one positive length: steps, epochs or minutes, got "
                f"{self.steps}, {self.epochs} and {self.minutes}"
            )
        if self.batch_size < 1 or self.accumulation < 1 or self.chunk < 1 or self.lora_rank < 0:
            raise InputError(
                "batch_size, accumulation and chunk must be at least 1 and lora_rank at least 0"
            )
        if not 0 <= self.replay < 1:
            raise InputError(f"replay must be a share from 0 to below 1, got {self.replay}")
        unknown = sorted({*self.frozen, *self.part_rates} - set(PARTS))
        if unknown:
            raise InputError(f"unknown parts {', '.join(unknown)}; there are {', '.join(PARTS)}")

    def with_length(self, **length: Any) -> FinetuneRecipe:
        """The recipe with another length: ``steps``, ``epochs`` or ``minutes``."""
        return replace(self, **{"steps": None, "epochs": None, "minutes": None, **length})


RELEASED = FinetuneRecipe()

TINY = FinetuneRecipe(
    epochs=None,
    steps=150,
    batch_size=12,
    lr=1e-3,
    part_rates={},
    layer_decay=1.0,
    weight_decay=0.0,
    clip=1.0,
    betas=(0.9, 0.98),
    schedule="hold-cosine",
    warmup=30,
    hold=0.5,
    average=0.99,
    frozen=("trunk", "neck", "geometry", "encoder", "decoder", "scores", "masks"),
    masks=False,
    replay=0.5,
    changes=Changes(flip=0.5, degrees=15.0, zoom=1.3, tone=0.1, smallest=1.0),
    loss=LossWeights(
        classification=10.0,
        presence=10.0,
        positive=3.0,
        mask_focal=20.0,
        semantic_dice=10.0,
        o2m=1.0,
        scale_by_batch=False,
        anchor=50.0,
    ),
)
"""Only the text encoder learns, and what it says of the phrases it knows is held fast."""


def recipe_for(config: Sam3ImageConfig) -> FinetuneRecipe:
    """The recipe for a model: ``TINY`` for the bundled one, else ``RELEASED``."""
    return TINY if config.name == presets.SAM3_TINY.name else RELEASED
