"""Everything one tracking session knows, as typed records. The model itself holds none of it.

Records allow item access (``state["obj_ids"]``), so code written for the published dict layout
reads them unchanged. ``output_dict`` holds the packed outputs of all objects; the entries of
``output_dict_per_obj`` are views that cut one object's row out when asked, so they cost no memory
and never go stale.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...errors import InputError, SessionError
from .packed_masks import PackedMasks
from .records import ItemAccess


@dataclass
class PointInputs(ItemAccess):
    """Clicks (and box corners) on one object in one frame.

    point_coords: float32 ``[1, P, 2]``, (x, y) in pixels of the model's input picture.
    point_labels: int32 ``[1, P]``; 1 on the object, 0 not on it, 2 and 3 box corners.
    """

    point_coords: Tensor
    point_labels: Tensor


@dataclass(slots=True)
class FrameOutput(ItemAccess):
    """What a frame leaves behind, for B objects.

    maskmem_features: ``[B, 64, h, w]`` bfloat16 on the storage device, None without memory.
    maskmem_pos_enc: one ``[B, 64, h, w]``, expanded from a copy that all frames share.
    pred_masks: ``[B, 1, 288, 288]`` logits; None for a mask prompt or once they are packed.
    obj_ptr: ``[B, 256]``; object_score_logits: ``[B, 1]``.
    iou_score: ``[B]`` or ``[B, 1]``, eff_iou_score: scalar on the CPU; only with memory selection.
    pred_masks_video_res: ``[B, 1, H, W]`` +-1024, for mask prompts that are not consolidated yet.
    packed_masks: foreground and scores of a frame after its logits were let go.
    """

    OPTIONAL: ClassVar[frozenset[str]] = frozenset(
        ("iou_score", "eff_iou_score", "pred_masks_video_res", "packed_masks")
    )

    maskmem_features: Tensor | None = None
    maskmem_pos_enc: list[Tensor] | None = None
    pred_masks: Tensor | None = None
    obj_ptr: Tensor | None = None
    object_score_logits: Tensor | None = None
    iou_score: Tensor | None = None
    eff_iou_score: Tensor | None = None
    pred_masks_video_res: Tensor | None = None
    packed_masks: PackedMasks | None = None

    def rows(self, keep: slice | list[int]) -> FrameOutput:
        """The same record for some of the objects; views of the tensors for a slice."""

        def cut(value: Tensor | None) -> Tensor | None:
            return None if value is None else value[keep]

        pos, packed = self.maskmem_pos_enc, self.packed_masks
        # All rows of the position encoding are one: a slice of it needs no copy.
        shared = keep if isinstance(keep, slice) else slice(len(keep))
        if packed is not None:
            indices = range(*keep.indices(len(packed))) if isinstance(keep, slice) else keep
            packed = packed.select(list(indices))
        return FrameOutput(
            maskmem_features=cut(self.maskmem_features),
            maskmem_pos_enc=None if pos is None else [p[shared] for p in pos],
            pred_masks=cut(self.pred_masks),
            obj_ptr=cut(self.obj_ptr),
            object_score_logits=cut(self.object_score_logits),
            iou_score=cut(self.iou_score),
            eff_iou_score=self.eff_iou_score,
            pred_masks_video_res=cut(self.pred_masks_video_res),
            packed_masks=packed,
        )

    def mask_logits(self, device: torch.device | None = None) -> Tensor | None:
        """``[B, 1, h, w]`` logits, +-10 where only packed masks are left; None without masks."""
        if self.pred_masks is not None:
            return self.pred_masks.to(device)
        return None if self.packed_masks is None else self.packed_masks.logits(device)

    def score_logits(self, device: torch.device | None = None) -> Tensor | None:
        """``[B, 1]`` object score logits, also of a frame of which only packed masks are left."""
        if self.object_score_logits is not None:
            return self.object_score_logits.to(device)
        if self.packed_masks is None or not self.packed_masks.scores:
            return None
        return torch.tensor(self.packed_masks.scores, device=device)[:, None]


Frames = MutableMapping[int, FrameOutput]


@dataclass
class OutputBank(ItemAccess):
    """Outputs by frame index: of frames with input (conditioning) and of tracked frames."""

    cond_frame_outputs: Frames = field(default_factory=dict)
    non_cond_frame_outputs: Frames = field(default_factory=dict)

    def frames(self, is_cond: bool) -> Frames:
        """The conditioning or the other frames."""
        return self.cond_frame_outputs if is_cond else self.non_cond_frame_outputs


class ObjectFrames(Mapping[int, FrameOutput]):
    """One object's row of the packed outputs, cut out when asked; without ``hidden`` frames."""

    def __init__(self, packed: Frames, row: int, hidden: set[int] | None = None) -> None:
        self._packed, self._row = packed, row
        self._hidden: set[int] = set() if hidden is None else hidden

    def __getitem__(self, frame_idx: int) -> FrameOutput:
        if frame_idx in self._hidden:
            raise KeyError(frame_idx)
        return self._packed[frame_idx].rows(slice(self._row, self._row + 1))

    def __contains__(self, frame_idx: object) -> bool:
        return frame_idx in self._packed and frame_idx not in self._hidden

    def __iter__(self) -> Iterator[int]:
        return (t for t in self._packed if t not in self._hidden)

    def __len__(self) -> int:
        return sum(1 for _ in self)


@dataclass(frozen=True)
class ObjectBank(ItemAccess):
    """One object's view of an :class:`OutputBank`."""

    cond_frame_outputs: Mapping[int, FrameOutput]
    non_cond_frame_outputs: Mapping[int, FrameOutput]


@dataclass
class FrameSets(ItemAccess):
    """Indices of the frames whose inputs are consolidated, by kind."""

    cond_frame_outputs: set[int] = field(default_factory=set)
    non_cond_frame_outputs: set[int] = field(default_factory=set)

    def frames(self, is_cond: bool) -> set[int]:
        """The conditioning or the other frames."""
        return self.cond_frame_outputs if is_cond else self.non_cond_frame_outputs

    def all(self) -> set[int]:
        """Frames of both kinds."""
        return self.cond_frame_outputs | self.non_cond_frame_outputs


@dataclass(frozen=True)
class TrackedFrame(ItemAccess):
    """How a frame was tracked last."""

    reverse: bool


TRACKED = {reverse: TrackedFrame(reverse) for reverse in (False, True)}


@dataclass(frozen=True)
class TrackRun:
    """Frames tracked one after the other: where the run began, where it is, which way it goes."""

    anchor: int
    head: int
    reverse: bool

    def extended(self, frame_idx: int, reverse: bool) -> TrackRun:
        """The run after ``frame_idx``: this one, if the frame continues it, or a new one."""
        step = frame_idx - self.head
        if reverse == self.reverse and step in (0, -1 if reverse else 1):
            return replace(self, head=frame_idx)
        return TrackRun(frame_idx, frame_idx, reverse)


@dataclass
class InferenceState(ItemAccess):
    """One session. Made by ``Sam3TrackerPredictor.init_state``; pass it to every call.

    cached_features: frame -> (image, backbone output); shared with the caller who passed it.
    archive: frames that left the memory bank; only their masks and scores are kept.
    hidden_frames: tracked frames that the objects' own views leave out (memory cleared around
    an input). run: the frames tracked last, which decides what the memory bank can still reach.
    quiet: no masks at the video's size are made, calls give back none; memory_follows:
    consolidated frames get no memory, because the caller encodes it right after. Both are for the
    video model, which looks at small masks only and encodes memories itself.
    The other fields are those of the published state.
    """

    OPTIONAL: ClassVar[frozenset[str]] = frozenset(("images",))

    device: torch.device
    storage_device: torch.device
    num_frames: int
    video_height: int
    video_width: int
    offload_video_to_cpu: bool = False
    offload_state_to_cpu: bool = False
    images: Any = None
    cached_features: dict[int, Any] = field(default_factory=dict)
    constants: dict[str, Any] = field(default_factory=dict)
    obj_ids: list[int] = field(default_factory=list)
    obj_id_to_idx: OrderedDict[int, int] = field(default_factory=OrderedDict)
    obj_idx_to_id: OrderedDict[int, int] = field(default_factory=OrderedDict)
    point_inputs_per_obj: dict[int, dict[int, PointInputs]] = field(default_factory=dict)
    mask_inputs_per_obj: dict[int, dict[int, PackedMasks]] = field(default_factory=dict)
    output_dict: OutputBank = field(default_factory=OutputBank)
    output_dict_per_obj: dict[int, ObjectBank] = field(default_factory=dict)
    temp_output_dict_per_obj: dict[int, OutputBank] = field(default_factory=dict)
    consolidated_frame_inds: FrameSets = field(default_factory=FrameSets)
    frames_already_tracked: dict[int, TrackedFrame] = field(default_factory=dict)
    first_ann_frame_idx: int | None = None
    tracking_has_started: bool = False
    archive: OutputBank = field(default_factory=OutputBank)
    hidden_frames: set[int] = field(default_factory=set)
    run: TrackRun | None = None
    quiet: bool = False
    memory_follows: bool = False

    # ---- objects ----------------------------------------------------------------------------

    def object_index(self, obj_id: int) -> int:
        """Row of the object. SessionError for an id that the session does not know."""
        idx = self.obj_id_to_idx.get(obj_id)
        if idx is None:
            raise SessionError(
                f"object id {obj_id} is unknown to this session; known ids are {self.obj_ids}"
            )
        return idx

    def prospective_index(self, obj_id: int) -> int:
        """Row of the object, or the row that a new object will get; changes nothing.

        Raises:
            SessionError: a new object, after tracking has started.
        """
        if obj_id in self.obj_id_to_idx:
            return self.obj_id_to_idx[obj_id]
        if self.tracking_has_started:
            raise SessionError(
                f"object id {obj_id} is new, but tracking has started with the ids {self.obj_ids}; "
                "add all objects before the first propagation, or reset the session with "
                "clear_all_points_in_video, or track the new object in a session of its own"
            )
        return len(self.obj_ids)

    def register(self, obj_id: int) -> int:
        """Row of the object, which is added to the session if it is new (see above)."""
        idx = self.prospective_index(obj_id)
        if obj_id not in self.obj_id_to_idx:
            self.set_objects([*self.obj_ids, obj_id])
            self.point_inputs_per_obj[idx] = {}
            self.mask_inputs_per_obj[idx] = {}
            self.temp_output_dict_per_obj[idx] = OutputBank()
        return idx

    def set_objects(self, obj_ids: list[int]) -> None:
        """Make these the session's objects, in this order, and renew their views."""
        self.obj_ids = list(obj_ids)
        self.obj_id_to_idx = OrderedDict((obj_id, i) for i, obj_id in enumerate(obj_ids))
        self.obj_idx_to_id = OrderedDict(enumerate(obj_ids))
        self.output_dict_per_obj = {i: self.object_view(i) for i in range(len(obj_ids))}

    def object_view(self, idx: int) -> ObjectBank:
        """The outputs of the object in row ``idx``."""
        bank = self.output_dict
        return ObjectBank(
            ObjectFrames(bank.cond_frame_outputs, idx),
            ObjectFrames(bank.non_cond_frame_outputs, idx, self.hidden_frames),
        )

    # ---- frames -----------------------------------------------------------------------------

    def check_frame(self, frame_idx: int) -> int:
        """``frame_idx`` as a plain int. InputError where the video has no such frame."""
        if isinstance(frame_idx, bool) or not hasattr(frame_idx, "__index__"):
            raise InputError(f"a frame index must be an integer, got {frame_idx!r}")
        index = int(frame_idx)
        if not 0 <= index < self.num_frames:
            raise InputError(
                f"frame index {index} is outside the video of {self.num_frames} frames; "
                f"allowed is 0 to {self.num_frames - 1}"
            )
        return index

    def input_frames(self) -> set[int]:
        """Frames where any object has points or a mask."""
        clicked = {t for frames in self.point_inputs_per_obj.values() for t in frames}
        return clicked | {t for frames in self.mask_inputs_per_obj.values() for t in frames}

    def cond_frames(self) -> list[int]:
        """Conditioning frames in ascending order, with those that left the memory bank."""
        return sorted({*self.output_dict.cond_frame_outputs, *self.archive.cond_frame_outputs})

    def stored(self, frame_idx: int, is_cond: bool) -> FrameOutput | None:
        """The packed output of a frame, from the memory bank or the archive."""
        live = self.output_dict.frames(is_cond).get(frame_idx)
        return self.archive.frames(is_cond).get(frame_idx) if live is None else live

    def drop_outputs(self) -> None:
        """Forget all outputs; inputs that wait for their consolidation stay."""
        for bank in (self.output_dict, self.archive):
            bank.cond_frame_outputs.clear()
            bank.non_cond_frame_outputs.clear()
        self.consolidated_frame_inds = FrameSets()
        self.frames_already_tracked.clear()
        self.hidden_frames.clear()
        self.first_ann_frame_idx, self.run = None, None
        self.tracking_has_started = False
        for idx, waiting in self.temp_output_dict_per_obj.items():
            frames = {*waiting.cond_frame_outputs, *waiting.non_cond_frame_outputs}
            for per_object in (self.point_inputs_per_obj, self.mask_inputs_per_obj):
                for t in [t for t in per_object[idx] if t not in frames]:
                    del per_object[idx][t]

    def drop_results(self) -> None:
        """Forget all inputs and outputs; objects and features stay."""
        for idx in self.temp_output_dict_per_obj:
            self.temp_output_dict_per_obj[idx] = OutputBank()
        self.drop_outputs()

    def drop_objects(self) -> None:
        """Forget all results and all objects."""
        self.drop_results()
        self.set_objects([])
        for per_object in (
            self.point_inputs_per_obj,
            self.mask_inputs_per_obj,
            self.temp_output_dict_per_obj,
        ):
            per_object.clear()
