"""Running the tracker on one frame: masks of all objects, and their new memories."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import SessionError
from ...perflib.distributed import Collective
from ..sam3_tracker_utils import fill_holes_in_mask_scores
from .detect import device_of
from .metadata import TrackMetadata
from .records import TrackedMasks
from .suppress import ALWAYS_OCCLUDED, NEVER_OCCLUDED, recently_occluded

HIDDEN_LOGIT = -10.0
PRESENT, ABSENT = 10.0, -10.0
"""Object score logits that go with a mask that has pixels, or none."""


def propagate_states(
    tracker: Any,
    states: Sequence[Any],
    frame_idx: int,
    *,
    reverse: bool,
    run_mem_encoder: bool = False,
    fill_hole_area: int = 0,
) -> TrackedMasks:
    """Track all objects of this process's ``states`` into one frame.

    Holes and specks up to ``fill_hole_area`` pixels are cleaned away.
    """
    ids: list[int] = []
    masks: list[Tensor] = []
    scores: list[Tensor] = []
    for state in states:
        if not state["obj_ids"]:
            continue
        with quietly(state):
            steps = list(
                tracker.propagate_in_video(
                    state,
                    start_frame_idx=frame_idx,
                    max_frame_num_to_track=0,
                    reverse=reverse,
                    tqdm_disable=True,
                    run_mem_encoder=run_mem_encoder,
                )
            )
        if [step[0] for step in steps] != [frame_idx]:
            raise SessionError(
                f"the tracker was asked for frame {frame_idx} and gave {[s[0] for s in steps]}"
            )
        _, obj_ids, low_res, _, obj_scores = steps[0]
        ids += [int(i) for i in obj_ids]
        masks.append(low_res.float())
        scores.append(obj_scores.float().flatten())
    if not ids:
        size, device = tracker.low_res_mask_size, device_of(tracker)
        return TrackedMasks(
            np.zeros(0, np.int64),
            torch.zeros(0, size, size, device=device),
            torch.zeros(0, device=device),
        )
    low_res = fill_holes_in_mask_scores(torch.cat(masks), fill_hole_area)
    return TrackedMasks(np.array(ids, np.int64), low_res[:, 0], torch.cat(scores))


def gather_tracks(
    local: TrackedMasks, metadata: TrackMetadata, collective: Collective
) -> TrackedMasks:
    """Masks of the objects of all processes; by ascending id where there is more than one."""
    if collective.world_size == 1:
        return local
    counts = metadata.num_obj_per_gpu.tolist()
    return TrackedMasks(
        metadata.obj_ids_all_gpu,
        collective.gather_rows(local.low_res.float().contiguous(), counts),
        collective.gather_rows(local.scores.float().contiguous(), counts),
    ).sorted()


def hide_occluded(
    tracked: TrackedMasks,
    metadata: TrackMetadata,
    frame_idx: int,
    iou_threshold: float,
    *,
    removed: frozenset[int],
    reverse: bool,
) -> tuple[TrackedMasks, dict[int, Tensor]]:
    """Put out tracks that came up from an occlusion on top of another.

    Returns the masks (hidden ones at -10) and, per id, the last frame it was empty or hidden.
    """
    ids = [int(i) for i in tracked.obj_ids]
    known = metadata.obj_id_to_last_occluded
    last = np.array(
        [
            ALWAYS_OCCLUDED if i in removed else int(known[i]) if i in known else NEVER_OCCLUDED
            for i in ids
        ],
        np.int64,
    )
    hidden = recently_occluded(tracked.low_res, last, iou_threshold, reverse=reverse)
    empty = ~(tracked.low_res > 0).flatten(1).any(dim=1).cpu().numpy()
    last = np.where(empty | hidden, frame_idx, last)
    low_res = tracked.low_res
    if hidden.any():
        rows = torch.from_numpy(hidden).to(low_res.device)[:, None, None]
        low_res = low_res.masked_fill(rows, HIDDEN_LOGIT)
    masks = TrackedMasks(tracked.obj_ids, low_res, tracked.scores)
    return masks, {i: torch.tensor([t]) for i, t in zip(ids, last.tolist(), strict=True)}


@contextmanager
def quietly(state: Any, *, memory_follows: bool = False) -> Iterator[None]:
    """Spare a tracker state what nobody looks at in this block: masks at the video's size.

    With ``memory_follows`` also memories, which :func:`update_memories` encodes anew for the frame.
    """
    state["quiet"], state["memory_follows"] = True, memory_follows
    try:
        yield
    finally:
        state["quiet"] = state["memory_follows"] = False


def update_memories(
    tracker: Any, states: Sequence[Any], tracked: TrackedMasks, frame_idx: int
) -> None:
    """Encode the frame's masks into the memories of this process's states.

    Objects that lie mostly under others count as absent. Memories of frames that hold a prompt
    are replaced as well; their masks and pointers stay.
    """
    states = [state for state in states if state["obj_ids"]]
    if not states:
        return
    size = tuple(tracker.maskmem_backbone.mask_downsampler.interpol_size)
    high_res = F.interpolate(
        tracked.low_res[:, None].float(), size=size, mode="bilinear", align_corners=False
    )
    high_res = tracker._suppress_object_pw_area_shrinkage(high_res)
    present = (high_res > 0).flatten(1).any(dim=1, keepdim=True)
    scores = torch.where(present, PRESENT, ABSENT)
    for state in states:
        rows = tracked.rows(state["obj_ids"])
        features, positions = tracker._run_memory_encoder(
            state, frame_idx, len(rows), high_res[rows], scores[rows], False
        )
        bank = state["output_dict"]
        for kind in ("cond_frame_outputs", "non_cond_frame_outputs"):
            if frame_idx not in bank[kind]:
                continue
            output = bank[kind][frame_idx]
            output["maskmem_features"], output["maskmem_pos_enc"] = features, positions
            tracker._add_output_per_object(
                inference_state=state, frame_idx=frame_idx, current_out=output, storage_key=kind
            )
