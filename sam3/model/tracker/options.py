"""Options of tracking sessions; none of them changes the weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from ...errors import InputError

KeepOutputs = Literal["all", "masks", "bank"]


@dataclass(frozen=True)
class TrackerOptions:
    """Options of ``Sam3TrackerPredictor``, in the order of its keywords.

    clear_non_cond_mem_around_input: forget tracked frames near an input, in the view that
        later clicks on single objects use; with several objects only if
        clear_non_cond_mem_for_multi_obj too.
    fill_hole_area: holes and specks of at most so many pixels go from tracked masks (0: none).
    always_start_from_first_ann_frame: propagation starts at the earliest input, whatever is asked.
    max_point_num_in_prompt_enc: of more points the first and last half are used.
    non_overlap_masks_for_output: returned video masks give each pixel to one object.
    add_all_frames_to_correct_as_cond: clicks on tracked frames make conditioning frames.
    iter_use_prev_mask_pred: the mask a frame has already goes into the next click on it.
    keep_outputs: what stays of a frame that the memory bank can no longer reach. "masks": its
        masks as compressed bits, so that it can still be shown and clicked on; "bank": nothing,
        unless it has inputs; "all": everything, so memory grows with the video, as published.
    """

    clear_non_cond_mem_around_input: bool = False
    clear_non_cond_mem_for_multi_obj: bool = False
    fill_hole_area: int = 0
    always_start_from_first_ann_frame: bool = False
    max_point_num_in_prompt_enc: int = 16
    non_overlap_masks_for_output: bool = True
    add_all_frames_to_correct_as_cond: bool = True
    iter_use_prev_mask_pred: bool = True
    keep_outputs: KeepOutputs = "masks"

    def __post_init__(self) -> None:
        if self.keep_outputs not in get_args(KeepOutputs):
            raise InputError(
                f"keep_outputs is {self.keep_outputs!r}; allowed are "
                + ", ".join(repr(v) for v in get_args(KeepOutputs))
            )

    def clears_around_inputs(self, num_objects: int) -> bool:
        """Whether tracked frames near inputs are forgotten, with so many objects."""
        allowed = self.clear_non_cond_mem_for_multi_obj or num_objects <= 1
        return self.clear_non_cond_mem_around_input and allowed
