"""The numbers of the tracker's training, in one place."""

from __future__ import annotations

from dataclasses import dataclass

from ....errors import InputError

PROMPTS = ("mask", "box", "points")


@dataclass(frozen=True, kw_only=True)
class TrackingRecipe:
    """Batches, prompts, corruption and loss weights.

    Attributes:
        frames: frames per batch of clips; longer windows come with fewer clips.
        windows: lengths of the windows and how often each is drawn.
        objects: at most so many objects of a clip.
        neck_share: share of the pictures that the second neck learns from.
        truncate: gradients reach back through so many frames.
        neck_lr: factor on the second neck's learning rate; at the full rate its features grow until
            position codes drown in them.
        pictures, picture_share: pictures per batch of single pictures, and how often one comes.
        place_stage, picture_stage: up to this progress all pictures ask for places (``places.py``);
            up to that one there are only pictures, half of whose prompts are for places.
        place_share: the same share later on.
        prompt_shares: how often the first frame gets a mask, a box, points.
        corrections: at most so many clicks after the first prompt; pictures always get some.
        centre_share: clicks in the middle of a wrong region; the others go anywhere in it.
        corruption: share of tracked frames whose memory is dropped, eroded or dilated.
        pixel, dice, iou, presence, grouping: weights of the losses.
        hard: how much more a pixel weighs that is taken for the object and is not.
    """

    frames: int = 24
    windows: tuple[tuple[int, float], ...] = ((4, 0.5), (6, 0.25), (8, 0.25))
    objects: int = 2
    neck_share: float = 0.25
    truncate: int = 4
    neck_lr: float = 0.1
    pictures: int = 16
    picture_share: float = 0.2
    place_stage: float = 0.04
    picture_stage: float = 0.25
    place_share: float = 0.2
    prompt_shares: tuple[float, float, float] = (0.5, 0.25, 0.25)
    corrections: int = 2
    centre_share: float = 0.5
    corruption: float = 0.1
    pixel: float = 2.0
    hard: float = 8.0
    dice: float = 5.0
    iou: float = 1.0
    presence: float = 1.0
    grouping: float = 5.0

    def __post_init__(self) -> None:
        longest = max(length for length, _ in self.windows)
        if self.frames < longest or self.pictures < 1 or self.objects < 1 or self.truncate < 1:
            raise InputError(
                f"frames {self.frames} must hold the longest window ({longest}); pictures "
                f"{self.pictures}, objects {self.objects} and truncate {self.truncate} must be "
                "positive"
            )
        windows = [share for _, share in self.windows]
        for name, shares in (("prompt_shares", self.prompt_shares), ("windows", windows)):
            if abs(sum(shares) - 1) > 1e-6:
                raise InputError(f"the shares of {name}, {shares}, must add up to 1")
