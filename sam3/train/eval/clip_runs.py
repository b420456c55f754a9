"""Runs clips through tracker and video predictor, as a user would, and keeps the records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..data.scenes.clips import Clip
from ..data.scenes.phrases import Query
from .clip_plan import ObjectPrompt, clearly_visible, distinct_phrases, object_prompts, pictures
from .prompt_metrics import PromptRecord, region_similarity
from .track_records import TrackRecord

PROMPTS = ("click", "box", "mask")


def run_prompts(tracker: Any, clip: Clip) -> list[PromptRecord]:
    """Follow every object of frame 0 from a click, from a box and from its true mask.

    tracker: a ``Sam3TrackerPredictor`` with a backbone. All objects of a clip share a session.
    """
    prompts = object_prompts(clip)
    state = tracker.init_state(video_path=pictures(clip))
    records = []
    for kind in PROMPTS:
        tracker.reset(state)
        for prompt in prompts:
            _give(tracker, state, prompt, kind)
        j = _followed(tracker, state, clip)
        records += [_record(kind, p, j[:, p.obj_id], clip, len(prompts)) for p in prompts]
    return records


def _give(tracker: Any, state: Any, prompt: ObjectPrompt, kind: str) -> None:
    if kind == "click":
        tracker.add_new_points_or_box(state, 0, prompt.obj_id, points=[prompt.point], labels=[1])
    elif kind == "box":
        tracker.add_new_points_or_box(state, 0, prompt.obj_id, box=prompt.box)
    else:
        tracker.add_new_mask(state, 0, prompt.obj_id, prompt.mask)


def _followed(tracker: Any, state: Any, clip: Clip) -> np.ndarray:
    """J [T, n] over the whole clip; NaN for objects without a prompt."""
    j = np.full(clip.visible.shape, np.nan)
    steps = tracker.propagate_in_video(
        state, start_frame_idx=0, max_frame_num_to_track=None, reverse=False,
        tqdm_disable=True, propagate_preflight=True,
    )  # fmt: skip
    for t, obj_ids, _, logits, _ in steps:
        masks = (logits[:, 0] > 0).cpu().numpy()
        for obj_id, mask in zip(obj_ids, masks, strict=True):
            j[t, obj_id] = region_similarity(mask, clip.labels[t] == obj_id + 1)
    return j


def _record(
    kind: str, prompt: ObjectPrompt, j: np.ndarray, clip: Clip, objects: int
) -> PromptRecord:
    visible = clip.visible[:, prompt.obj_id]
    motion = clip.motions[prompt.obj_id].kind
    return PromptRecord(kind, j, visible, motion, objects, float(prompt.mask.mean()))


def run_phrases(predictor: Any, clip: Clip) -> list[TrackRecord]:
    """Ask every phrase of a clip on frame 0 and follow what is found.

    predictor: a ``Sam3VideoPredictor``; its session is closed again.
    """
    request = {"type": "start_session", "resource_path": pictures(clip)}
    session = {"session_id": predictor.handle_request(request)["session_id"]}
    clear = clearly_visible(clip)
    try:
        return [
            _track_record(_outputs(predictor, session, query.text, clip), clip, query, clear)
            for query in distinct_phrases(clip)
        ]
    finally:
        predictor.handle_request({"type": "close_session", **session})


def _outputs(
    predictor: Any, session: Mapping[str, str], text: str, clip: Clip
) -> list[dict[int, np.ndarray]]:
    """Masks of every frame by track id; {} on frames without an answer."""
    predictor.handle_request({"type": "add_prompt", **session, "frame_index": 0, "text": text})
    frames: list[dict[int, np.ndarray]] = [{} for _ in clip.images]
    request = {"type": "propagate_in_video", **session, "propagation_direction": "forward"}
    for step in predictor.handle_stream_request(request):
        found = step["outputs"]
        ids = (int(i) for i in found["out_obj_ids"])
        frames[step["frame_index"]] = dict(zip(ids, found["out_binary_masks"], strict=True))
    return frames


def _track_record(
    outputs: list[dict[int, np.ndarray]], clip: Clip, query: Query, clear: np.ndarray
) -> TrackRecord:
    wanted = list(query.targets)
    truth = clip.masks[:, wanted]
    return TrackRecord.from_masks(outputs, truth, clear[:, wanted], query.kind, query.hard)
