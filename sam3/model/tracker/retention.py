"""Memory stays flat: what the memory bank can no longer reach is let go after every frame.

Two places count as where tracking may go on, in either direction: the frame tracked last (head)
and the frame where the run began (anchor), for a second run the other way. Around both,

* the nearest frames keep their spatial memory (6 in the published model),
* the nearest frames keep their object pointers (16),
* with memory selection, frames that it passes over are not counted;
* conditioning frames stay while they can be selected, while the run has yet to reach them, and
  always if they hold clicks.

Tracking that restarts elsewhere, far from both, finds fewer past frames than the published model,
which keeps everything (``keep_outputs="all"``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from .options import KeepOutputs
from .packed_masks import PackedMasks
from .state import FrameOutput, InferenceState, TrackRun
from .types import MemoryRules


@dataclass
class Keep:
    """Frames to keep: with spatial memory and logits, with pointers only, conditioning."""

    spatial: set[int] = field(default_factory=set)
    pointers: set[int] = field(default_factory=set)
    cond: set[int] = field(default_factory=set)


def release_unreachable(
    state: InferenceState, rules: MemoryRules, keep_outputs: KeepOutputs
) -> None:
    """Let go of what no continuation of ``state.run`` can reach; see the module's text."""
    if keep_outputs == "all" or state.run is None:
        return
    bank = state.output_dict
    clicked = {t for frames in state.point_inputs_per_obj.values() for t in frames}
    scores = {
        t: None if out.eff_iou_score is None else float(out.eff_iou_score)
        for t, out in bank.non_cond_frame_outputs.items()
        if out.obj_ptr is not None
    }
    keep = decide(scores, bank.cond_frame_outputs, state.run, rules)
    for t in [t for t in bank.non_cond_frame_outputs if t not in keep.spatial]:
        out = bank.non_cond_frame_outputs[t]
        if t in keep.pointers:
            _thin(out, keep_outputs == "masks")
            continue
        del bank.non_cond_frame_outputs[t]
        if keep_outputs == "masks":
            state.archive.non_cond_frame_outputs[t] = _archived(out)
    for t in [t for t in bank.cond_frame_outputs if t not in keep.cond | clicked]:
        state.archive.cond_frame_outputs[t] = _archived(bank.cond_frame_outputs.pop(t))


def decide(
    scores: dict[int, float | None], cond: Iterable[int], run: TrackRun, rules: MemoryRules
) -> Keep:
    """Which frames a continuation of ``run`` can reach.

    Args:
        scores: tracked frame -> its effective IoU (None without memory selection).
        cond: conditioning frames in the bank.
    """
    keep = Keep()
    ordered = sorted(scores)
    for origin in {run.head, run.anchor}:
        before = [t for t in reversed(ordered) if t <= origin]
        after = [t for t in ordered if t >= origin]
        for walk in (before, after):
            _walk(keep, walk, origin, scores, rules)
    keep.cond = _reachable_cond(sorted(cond), run, rules)
    return keep


def _walk(
    keep: Keep,
    walk: list[int],
    origin: int,
    scores: dict[int, float | None],
    rules: MemoryRules,
) -> None:
    """Collect frames in order of their distance from ``origin``."""
    seen = 0
    for t in walk:
        score = scores[t]
        if rules.score_threshold is None:
            rank = abs(t - origin)
        else:
            if abs(t - origin) <= 1:
                keep.spatial.add(t)  # the adjacent frame is used whatever its score
            if score is None or score <= rules.score_threshold:
                continue
            rank, seen = seen, seen + 1
        if rank <= (rules.num_maskmem - 1) * rules.stride:
            keep.spatial.add(t)
        if rank <= rules.max_obj_ptrs:
            keep.pointers.add(t)
        else:
            break


def _reachable_cond(cond: list[int], run: TrackRun, rules: MemoryRules) -> set[int]:
    if rules.max_cond_frames < 0 or len(cond) <= rules.max_cond_frames:
        return set(cond)
    ahead = {t for t in cond if (t <= run.head if run.reverse else t >= run.head)}
    kept = ahead | ({cond[0]} if rules.keep_first_cond_frame else set())
    for origin in {run.head, run.anchor}:
        # Selection takes the nearest frame on each side, so both sides are counted apart.
        kept |= set([t for t in cond if t <= origin][-rules.max_cond_frames :])
        kept |= set([t for t in cond if t >= origin][: rules.max_cond_frames])
        # Frames that are not selected are still looked up like tracked ones.
        kept |= {t for t in cond if abs(t - origin) <= rules.max_obj_ptrs}
    return kept


def _thin(out: FrameOutput, keep_masks: bool) -> None:
    """Leave the pointers and scores of a frame, and its masks as bits if asked."""
    if keep_masks:
        out.packed_masks = _packed(out)
    out.maskmem_features, out.maskmem_pos_enc, out.pred_masks = None, None, None


def _archived(out: FrameOutput) -> FrameOutput:
    """A record of the masks as bits with their scores, and no tensors."""
    return FrameOutput(packed_masks=_packed(out))


def _packed(out: FrameOutput) -> PackedMasks | None:
    if out.packed_masks is not None or out.pred_masks is None:
        return out.packed_masks
    return PackedMasks.pack(out.pred_masks, out.object_score_logits)
