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
        pictures, picture_share: pictures per batch of single pictures, and how often one comes.
        prompt_shares: how often the first frame gets a mask, a box, points.
        corrections: at most so many clicks after the first prompt; pictures always get some.
        centre_share: clicks in the middle of a wrong region; the others go anywhere in it.
        corruption: share of tracked frames whose memory is dropped, eroded or dilated.
        focal, dice, iou, presence: weights of the losses.
    """

    frames: int = 24
    windows: tuple[tuple[int, float], ...] = ((4, 0.5), (6, 0.25), (8, 0.25))
    objects: int = 2
    neck_share: float = 0.25
    truncate: int = 4
    pictures: int = 16
    picture_share: float = 0.2
    prompt_shares: tuple[float, float, float] = (0.5, 0.25, 0.25)
    corrections: int = 2
    centre_share: float = 0.5
    corruption: float = 0.1
    focal: float = 20.0
    dice: float = 5.0
    iou: float = 1.0
    presence: float = 1.0

    def __post_init__(self) -> None:
        longest = max(length for length, _ in self.windows)
        if self.frames < longest or self.pictures < 1 or self.objects < 1 or self.truncate < 1:
            raise InputError(
                f"frames {self.frames} must hold the longest window ({longest}); pictures "
                f"{self.pictures}, objects {self.objects} and truncate {self.truncate} must be "
                "positive"
            )
        if abs(sum(self.prompt_shares) - 1) > 1e-6:
            raise InputError(f"prompt_shares {self.prompt_shares} must add up to 1")
