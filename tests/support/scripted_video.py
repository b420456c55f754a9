"""Scripted stand-ins of the video goldens: a detector and a tracker whose results are written down,
and the scene (``story``) they play.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Box = tuple[int, int, int, int]
Detections = dict[int, list[tuple[float, list[Box]]]]
Tracks = dict[tuple[int, int], tuple[float, list[Box]]]

PAD_SCORE = 0.01
LOST: tuple[float, list[Box]] = (-5.0, [])


def rect_logits(size: int, boxes: Sequence[Sequence[Box]], value: float = 6.0) -> Tensor:
    """float32 [N, size, size]: +value in the union of each entry's boxes, -value elsewhere.

    Boxes are (x0, y0, x1, y1) in pixels, half-open, cut at the border.
    """
    inside = np.zeros((len(boxes), size, size), dtype=bool)
    for mask, entry in zip(inside, boxes, strict=True):
        for box in entry:
            x0, y0, x1, y1 = (max(0, edge) for edge in box)
            mask[y0:y1, x0:x1] = True
    return torch.from_numpy(np.where(inside, np.float32(value), np.float32(-value)))


def _hull(boxes: Sequence[Box]) -> np.ndarray:
    if not boxes:
        return np.zeros(4, np.float32)
    corners = np.asarray(boxes, np.float32)
    return np.concatenate([corners[:, :2].min(0), corners[:, 2:].max(0)])


class ScriptDetector(nn.Module):
    """``script``: frame -> rows (probability, boxes); missing queries get 0.01 and empty masks.

    ``feats(frame)`` gives "backbone_fpn" (three levels) and "vision_pos_enc". Every call is kept in
    ``calls``.
    """

    def __init__(
        self,
        script: Detections,
        size: int,
        feats: Callable[[int], dict[str, Any]],
        num_queries: int = 6,
    ) -> None:
        super().__init__()
        self.script, self.size, self.feats, self.num_queries = script, size, feats, num_queries
        self.rank, self.world_size = 0, 1
        self.calls: list[tuple[Any, ...]] = []
        self.backbone = SimpleNamespace(forward_text=self._forward_text)

    def _forward_text(
        self,
        captions: Sequence[str],
        input_boxes: Any = None,
        additional_text: Any = None,
        device: Any = "cpu",
    ) -> dict[str, Any]:
        self.calls.append(("text", tuple(captions)))
        return {}

    def forward_video_grounding_multigpu(
        self,
        backbone_out: Any = None,
        find_inputs: Any = None,
        geometric_prompt: Any = None,
        frame_idx: int | None = None,
        num_frames: int | None = None,
        multigpu_buffer: Any = None,
        track_in_reverse: bool = False,
        **kwargs: Any,
    ) -> tuple[dict[str, Any], Any]:
        assert frame_idx is not None
        frame = int(frame_idx)
        text = int(find_inputs[frame_idx].text_ids[0])
        self.calls.append(("det", frame, bool(track_in_reverse), text))
        out = self._detections(self.script.get(frame, []))
        features = self.feats(frame)
        for level in range(3):
            out[f"tracker_backbone_fpn_{level}"] = features["backbone_fpn"][level]
        out["tracker_backbone_pos_enc"] = features["vision_pos_enc"]
        return out, backbone_out

    def _detections(self, rows: list[tuple[float, list[Box]]]) -> dict[str, Any]:
        missing = self.num_queries - len(rows)
        scores = np.array([score for score, _ in rows] + [PAD_SCORE] * missing)
        boxes: list[list[Box]] = [entry for _, entry in rows] + [[] for _ in range(missing)]
        corners = torch.from_numpy(np.stack([_hull(b) for b in boxes]) / np.float32(self.size))
        near, far = corners[None, :, :2], corners[None, :, 2:]
        logits = np.log(scores / (1 - scores)).astype(np.float32)
        return {
            "pred_logits": torch.from_numpy(logits)[None, :, None],
            "pred_boxes_xyxy": corners[None],
            "pred_boxes": torch.cat([(near + far) / 2, far - near], dim=-1),
            "pred_masks": rect_logits(self.size, boxes)[None],
        }


class ScriptTracker(nn.Module):
    """``masks``: (frame, object id) -> (score logit, boxes); missing rows are lost and empty.

    ``log`` holds every call of the video model. ``mask_ops`` lends the two mask methods of the real
    tracker (shrinkage suppression, object-wise non-overlap).
    """

    def __init__(self, masks: Tracks, size: int, mask_ops: Any) -> None:
        super().__init__()
        self.masks, self.size = masks, size
        self.low_res_mask_size = size
        self.input_mask_size = self.image_size = 4 * size
        self.hidden_dim, self.mem_dim = 256, 64
        self.log: list[list[Any]] = []
        self._suppress_object_pw_area_shrinkage = mask_ops._suppress_object_pw_area_shrinkage
        self._apply_object_wise_non_overlapping_constraints = (
            mask_ops._apply_object_wise_non_overlapping_constraints
        )
        self.sam_mask_decoder = SimpleNamespace(conv_s0=lambda x: x, conv_s1=lambda x: x)
        downsampler = SimpleNamespace(interpol_size=[4 * size, 4 * size])
        self.maskmem_backbone = SimpleNamespace(mask_downsampler=downsampler)
        self.dummy = nn.Parameter(torch.zeros(1))

    def init_state(
        self,
        video_height: int | None = None,
        video_width: int | None = None,
        num_frames: int | None = None,
        cached_features: Any = None,
        **kw: Any,
    ) -> dict[str, Any]:
        outputs: dict[str, dict[int, Any]] = {
            "cond_frame_outputs": {},
            "non_cond_frame_outputs": {},
        }
        return {"obj_ids": [], "num_frames": num_frames, "output_dict": outputs}

    def add_new_mask(
        self,
        inference_state: dict[str, Any],
        frame_idx: int,
        obj_id: int,
        mask: Tensor,
        add_mask_to_memory: bool = False,
    ) -> None:
        frame, obj_id, ids = int(frame_idx), int(obj_id), inference_state["obj_ids"]
        area = int((mask > 0).sum())
        self.log.append(
            ["add_mask", frame, obj_id, list(mask.shape), area, bool(add_mask_to_memory)]
        )
        if obj_id not in ids:
            ids.append(obj_id)
        inference_state["output_dict"]["cond_frame_outputs"].setdefault(frame, {})

    def propagate_in_video_preflight(
        self, inference_state: dict[str, Any], run_mem_encoder: bool = True
    ) -> None:
        ids = [int(i) for i in inference_state["obj_ids"]]
        self.log.append(["preflight", ids, bool(run_mem_encoder)])

    def propagate_in_video(
        self,
        inference_state: dict[str, Any],
        start_frame_idx: int,
        max_frame_num_to_track: int,
        reverse: bool = False,
        tqdm_disable: bool = False,
        run_mem_encoder: bool = True,
        **kw: Any,
    ) -> Iterator[tuple[int, list[int], Tensor, None, Tensor]]:
        frame, ids = int(start_frame_idx), list(inference_state["obj_ids"])
        self.log.append(
            ["propagate", frame, ids, bool(reverse), int(max_frame_num_to_track)]
            + [bool(run_mem_encoder)]
        )
        rows = [self.masks.get((frame, i), LOST) for i in ids]
        store = inference_state["output_dict"]
        if frame not in store["cond_frame_outputs"]:
            store["non_cond_frame_outputs"].setdefault(frame, {})
        masks = rect_logits(self.size, [boxes for _, boxes in rows])[:, None]
        scores = torch.tensor([[score] for score, _ in rows], dtype=torch.float32)
        yield frame, ids, masks, None, scores

    def _run_memory_encoder(
        self,
        inference_state: dict[str, Any],
        frame_idx: int,
        batch_size: int,
        high_res_masks: Tensor,
        object_score_logits: Tensor,
        is_mask_from_pts: bool,
    ) -> tuple[Tensor, list[Tensor]]:
        self.log.append(
            [
                "memory",
                int(frame_idx),
                [int(i) for i in inference_state["obj_ids"]],
                [int((m > 0).sum()) for m in high_res_masks],
                [round(float(m.sum()), 2) for m in high_res_masks],
                [float(s) for s in object_score_logits.flatten()],
                bool(is_mask_from_pts),
            ]
        )
        return torch.zeros(batch_size, 64, 2, 2), [torch.zeros(batch_size, 64, 2, 2)]

    def _add_output_per_object(
        self, inference_state: Any, frame_idx: int, current_out: Any, storage_key: str
    ) -> None:
        """Slices per object are of no use to a script."""

    def remove_object(
        self,
        inference_state: dict[str, Any],
        obj_id: int,
        strict: bool = False,
        need_output: bool = True,
    ) -> tuple[list[int], list[Any]]:
        ids = inference_state["obj_ids"]
        if int(obj_id) in ids:
            self.log.append(["remove", int(obj_id)])
            ids.remove(int(obj_id))
        return ids, []


def story(seed: int, frames: int = 24) -> tuple[Detections, Tracks]:
    """A scene on a 32 x 32 grid: (detections per frame, tracked masks per (frame, id)).

    Going forward from frame 0 with the released thresholds: id 0 stays, id 1 is detected once, id 2
    vanishes for a while, id 3 enters later, id 4's track drifts onto id 3, id 5 vanishes after id 2
    and comes back on top of it.
    """
    stream = np.random.RandomState(seed)

    def whole(low: int, high: int) -> int:
        return int(stream.randint(low, high))

    def score(low: float, high: float) -> float:
        return round(float(stream.uniform(low, high)), 3)

    # the order of the draws is part of the format
    shift, gone, gap = whole(0, 3), whole(7, 10), whole(3, 6)
    enter3, enter4, enter5 = whole(3, 6), whole(6, 8), whole(10, 12)
    score0, score1, score2 = score(0.9, 0.99), score(0.8, 0.9), score(0.85, 0.95)
    score3, score4, score5 = score(0.81, 0.9), score(0.72, 0.79), score(0.705, 0.72)
    still, corner, small = [(20, 20, 29, 29)], [(18, 2, 29, 12)], [(13, 13, 17, 17)]
    detections: Detections = {}
    tracks: Tracks = {}
    for f in range(frames):
        x = 2 + shift + f // 6
        first = [(x, 2, x + 9, 11)]
        absent = gone <= f < gone + gap
        flicker: list[Box] = [] if absent else [(2, 18, 12, 29)]
        rows: list[tuple[float, list[Box]]] = [(score0, first)]
        rows += [(score1, still)] if f == 0 else []
        rows += [] if absent else [(score2 if f % 2 else 0.6, flicker)]
        rows += [(score3, corner)] if f >= enter3 else []
        rows += [(score4, [(18, 13, 29, 17)])] if f == enter4 else []
        rows += [(score5, small)] if f == enter5 else []
        detections[f] = rows
        tracks[f, 0] = (4.0, first)
        tracks[f, 1] = (2.0, still)
        tracks[f, 2] = (-3.0 if absent else 3.0, flicker)
        tracks[f, 3] = (3.5, corner)
        tracks[f, 4] = (1.5, [(18, 2, 29, 12 + f % 2)])
        if f > 16:
            last = flicker
        else:
            last = [] if enter5 + 2 <= f <= 15 else small
        tracks[f, 5] = (0.5, last)
    return detections, tracks
