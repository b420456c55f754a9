"""The image model on the frames of a video, shared out over processes.

Entry point :class:`Sam3ImageOnVideoMultiGPU`. Frames are taken in chunks of one per process; every
process runs its frame of the chunk and all of them get all results. The next chunk is started
before it is needed, so that the exchange runs beside the tracker.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..perflib.distributed import Collective, collective_for, world_from_env
from ..perflib.nms import nms_masks
from .data_misc import FindStage
from .prompts.container import Prompt
from .sam3_image import Sam3Image

DROPPED_LOGIT = -1e4
"""Added to the logits of queries that non-maximum suppression drops."""
_DETECTION_KEYS = ("pred_logits", "pred_boxes", "pred_boxes_xyxy", "pred_masks")
_LEVELS = 3

Detections = dict[str, Any]
Pending = Callable[[], list[dict[str, Tensor]]]


class Sam3ImageOnVideoMultiGPU(Sam3Image):
    """:class:`Sam3Image` whose backbone has the second ("sam2") neck, one frame at a time.

    RANK and WORLD_SIZE of the environment say which process this is. Nothing of a video is kept
    here: results wait in the caller's ``multigpu_buffer``.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.rank, self.world_size = world_from_env()
        self._collective: Collective | None = None

    @property
    def collective(self) -> Collective:
        """How the processes talk; made at first use."""
        if self._collective is None:
            self._collective = collective_for(self.world_size)
        return self._collective

    def forward_video_grounding_multigpu(
        self,
        backbone_out: dict[str, Any],
        find_inputs: Any,
        geometric_prompt: Prompt,
        frame_idx: int,
        num_frames: int,
        multigpu_buffer: dict[int, Any],
        track_in_reverse: bool = False,
        run_nms: bool = False,
        nms_prob_thresh: float = 0.5,
        nms_iou_thresh: float = 0.5,
        **_: Any,
    ) -> tuple[Detections, dict[str, Any]]:
        """Detections of one frame; all processes call this for the same frames in one order.

        backbone_out: text outputs and, under "img_batch_all_stages", the frames by index;
        find_inputs: one find stage per frame; multigpu_buffer: the caller's, changed here: it holds
        this chunk of frames and the next one in tracking direction.

        Returns (outputs, backbone_out): ``pred_logits`` [1, Q, 1], ``pred_boxes`` (cxcywh) and
        ``pred_boxes_xyxy`` [1, Q, 4] normalised, ``pred_masks`` [1, Q, h, w] logits,
        ``tracker_backbone_fpn_0`` to ``_2`` [1, C, ...] and ``tracker_backbone_pos_enc`` (list of
        3). Features keep the number format of the weights.
        """

        def chunk(start: int) -> None:
            if not 0 <= start < num_frames or start in multigpu_buffer:
                return
            end = min(start + self.world_size, num_frames)
            own = min(start + self.rank, end - 1)
            stage = FindStage.for_texts(
                img_ids=torch.zeros(1, dtype=torch.long, device=self.device),
                text_ids=find_inputs[own].text_ids,
            )
            found = self._detect(backbone_out, stage, geometric_prompt, own)
            if run_nms:
                _suppress(found, nms_prob_thresh, nms_iou_thresh)
            pending = _Chunk(self.collective.start_gather(found))
            for place, frame in enumerate(range(start, end)):
                multigpu_buffer[frame] = (pending, place)

        size = self.world_size
        start = frame_idx - frame_idx % size
        following = start - size if track_in_reverse else start + size
        chunk(start)
        wanted = {*range(start, start + size), *range(following, following + size)}
        for frame in [t for t in multigpu_buffer if t not in wanted]:
            del multigpu_buffer[frame]
        chunk(following)
        pending, place = multigpu_buffer[frame_idx]
        return _public(pending.results()[place]), backbone_out

    def _detect(
        self,
        backbone_out: dict[str, Any],
        stage: FindStage,
        geometric_prompt: Prompt,
        frame_idx: int,
    ) -> dict[str, Tensor]:
        """The kept outputs of one frame as a flat dict of tensors."""
        frame = backbone_out["img_batch_all_stages"][frame_idx]
        pixels = frame[None].to(device=self.device, dtype=self.dtype)
        features = self.backbone.forward_image(pixels)
        texts = {k: v for k, v in backbone_out.items() if k != "img_batch_all_stages"}
        out = self.forward_grounding(features | texts, stage, None, geometric_prompt)
        second = features["sam2_backbone_out"]
        if second is None:
            raise RuntimeError(
                "this detector was built without the tracker's neck; build it with"
                " build_sam3_video_model"
            )
        kept = {key: out[key] for key in _DETECTION_KEYS}
        for level in range(_LEVELS):
            kept[f"tracker_backbone_fpn_{level}"] = second["backbone_fpn"][level]
            kept[f"tracker_backbone_pos_enc_{level}"] = second["vision_pos_enc"][level]
        return {key: value.detach() for key, value in kept.items()}


class _Chunk:
    """Results of a chunk, exchanged when they are first read."""

    def __init__(self, wait: Pending) -> None:
        self._wait: Pending | None = wait
        self._results: list[dict[str, Tensor]] = []

    def results(self) -> list[dict[str, Tensor]]:
        if self._wait is not None:
            self._results, self._wait = self._wait(), None
        return self._results


def _suppress(found: dict[str, Tensor], prob_threshold: float, iou_threshold: float) -> None:
    """Push the logits of queries that a better one covers far down."""
    logits = found["pred_logits"].clone()
    for row in range(len(logits)):
        keep = nms_masks(
            logits[row].squeeze(-1).float().sigmoid(),
            found["pred_masks"][row],
            prob_threshold,
            iou_threshold,
        )
        logits[row, ~keep] += DROPPED_LOGIT
    found["pred_logits"] = logits


def _public(flat: dict[str, Tensor]) -> Detections:
    """Position encodings as one list."""
    positions = [flat[f"tracker_backbone_pos_enc_{level}"] for level in range(_LEVELS)]
    kept = {k: v for k, v in flat.items() if not k.startswith("tracker_backbone_pos_enc_")}
    return {**kept, "tracker_backbone_pos_enc": positions}
