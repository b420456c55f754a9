"""The typed configuration of the video model's rules: every threshold is named here once.

Defaults are the released video model (temporal disambiguation on). :meth:`VideoRules.keywords` and
:meth:`VideoRules.from_keywords` translate to and from the flat constructor keywords of
``Sam3VideoBase``, whose own defaults are ``CLASS_DEFAULTS``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from .image import Sam3ImageConfig
from .tracker import Sam3TrackerConfig

HISTORY_FRAMES = 256
"""See ``HotstartConfig.history``."""
UNLIMITED_OBJECTS = 10_000
"""What ``max_num_objects = -1`` stands for."""


def _require(ok: bool, message: str) -> None:
    if not ok:
        raise ValueError(message)


@dataclass(frozen=True, kw_only=True)
class DetectionConfig:
    """Which detections of a frame count. ``nms_iou_threshold`` 0 switches suppression off."""

    score_threshold: float = 0.5
    nms_iou_threshold: float = 0.1
    suppress_close_to_boundary: bool = False


@dataclass(frozen=True, kw_only=True)
class AssociationConfig:
    """When a detection and a track are the same object (mask IoU), and when one is new (score)."""

    assoc_iou_thresh: float = 0.1
    trk_assoc_iou_thresh: float = 0.5
    new_det_thresh: float = 0.7
    one_to_one: bool = False


@dataclass(frozen=True, kw_only=True)
class HotstartConfig:
    """Outputs wait ``delay`` frames, during which unmatched and duplicate tracks are removed."""

    delay: int = 15
    unmatch_thresh: int = 8
    dup_thresh: int = 8
    suppress_unmatched_only_within: bool = True
    init_keep_alive: int = 30
    max_keep_alive: int = 30
    min_keep_alive: int = -1
    decrease_for_empty: bool = False

    @property
    def history(self) -> int:
        """Frames without a detection, or with a double one, that are remembered of a track: more
        than the thresholds can count, and no more for a longer video."""
        return max(HISTORY_FRAMES, self.unmatch_thresh, self.dup_thresh)

    def __post_init__(self) -> None:
        _require(self.delay >= 0, f"hotstart delay must be 0 or more, got {self.delay}")
        if self.delay:
            for name in ("unmatch_thresh", "dup_thresh"):
                value = getattr(self, name)
                _require(
                    value <= self.delay,
                    f"hotstart {name} {value} can never be reached within the delay of"
                    f" {self.delay} frames; choose at most {self.delay}",
                )


@dataclass(frozen=True, kw_only=True)
class ReconditionConfig:
    """When a confident detection replaces a track's mask; 0 or less switches each way off."""

    every_nth_frame: int = 16
    bbox_iou_thresh: float = 0.0
    bbox_det_score: float = 0.0
    high_conf_score: float = 0.8
    high_conf_iou: float = 0.8


@dataclass(frozen=True, kw_only=True)
class ConfirmationConfig:
    """Hide tracks until they were detected on ``consecutive_det_thresh`` frames in a row."""

    enable: bool = False
    consecutive_det_thresh: int = 3


@dataclass(frozen=True, kw_only=True)
class InteractionConfig:
    """How clicks act on tracks."""

    use_prev_mem_frame: bool = False
    use_stateless_refinement: bool = False
    cond_frame_removal_window: int = 16


@dataclass(frozen=True, kw_only=True)
class VideoRules:
    """All rules of the video model. ``recent_occlusion_threshold`` 0 switches that rule off."""

    detection: DetectionConfig = field(default_factory=DetectionConfig)
    association: AssociationConfig = field(default_factory=AssociationConfig)
    hotstart: HotstartConfig = field(default_factory=HotstartConfig)
    recondition: ReconditionConfig = field(default_factory=ReconditionConfig)
    confirmation: ConfirmationConfig = field(default_factory=ConfirmationConfig)
    interaction: InteractionConfig = field(default_factory=InteractionConfig)
    recent_occlusion_threshold: float = 0.7
    fill_hole_area: int = 16
    max_num_objects: int = -1

    @property
    def object_limit(self) -> int:
        """``max_num_objects`` with -1 read as :data:`UNLIMITED_OBJECTS`."""
        return self.max_num_objects if self.max_num_objects >= 0 else UNLIMITED_OBJECTS

    def keywords(self) -> dict[str, Any]:
        """The flat constructor keywords of the published classes."""
        values = asdict(self)
        return {k: _get(values, path) for k, path in _PATHS.items()}

    @classmethod
    def from_keywords(cls, keywords: Mapping[str, Any]) -> VideoRules:
        """Rules from flat keywords; what is missing takes the published class default.

        TypeError for an unknown keyword, ValueError for values that contradict each other.
        """
        unknown = sorted(set(keywords) - set(_PATHS))
        if unknown:
            raise TypeError(f"unknown video keywords {unknown}; allowed are {sorted(_PATHS)}")
        parts: dict[str, dict[str, Any]] = {name: {} for name in _SECTIONS}
        own: dict[str, Any] = {}
        for keyword, value in {**CLASS_DEFAULTS, **keywords}.items():
            section, _, name = _PATHS[keyword].rpartition(".")
            (parts[section] if section else own)[name] = value
        return cls(**own, **{name: _SECTIONS[name](**parts[name]) for name in _SECTIONS})


_SECTIONS: dict[str, Any] = {
    "detection": DetectionConfig,
    "association": AssociationConfig,
    "hotstart": HotstartConfig,
    "recondition": ReconditionConfig,
    "confirmation": ConfirmationConfig,
    "interaction": InteractionConfig,
}

# Published keyword -> (place in VideoRules, default of the published class).
_TABLE: dict[str, tuple[str, Any]] = {
    "score_threshold_detection": ("detection.score_threshold", 0.5),
    "det_nms_thresh": ("detection.nms_iou_threshold", 0.0),
    "suppress_det_close_to_boundary": ("detection.suppress_close_to_boundary", False),
    "assoc_iou_thresh": ("association.assoc_iou_thresh", 0.5),
    "trk_assoc_iou_thresh": ("association.trk_assoc_iou_thresh", 0.5),
    "new_det_thresh": ("association.new_det_thresh", 0.0),
    "o2o_matching_masklets_enable": ("association.one_to_one", False),
    "hotstart_delay": ("hotstart.delay", 0),
    "hotstart_unmatch_thresh": ("hotstart.unmatch_thresh", 3),
    "hotstart_dup_thresh": ("hotstart.dup_thresh", 3),
    "suppress_unmatched_only_within_hotstart": (
        "hotstart.suppress_unmatched_only_within",
        True,
    ),
    "init_trk_keep_alive": ("hotstart.init_keep_alive", 0),
    "max_trk_keep_alive": ("hotstart.max_keep_alive", 8),
    "min_trk_keep_alive": ("hotstart.min_keep_alive", -4),
    "decrease_trk_keep_alive_for_empty_masklets": ("hotstart.decrease_for_empty", False),
    "suppress_overlapping_based_on_recent_occlusion_threshold": (
        "recent_occlusion_threshold",
        0.0,
    ),
    "fill_hole_area": ("fill_hole_area", 16),
    "max_num_objects": ("max_num_objects", -1),
    "recondition_every_nth_frame": ("recondition.every_nth_frame", -1),
    "reconstruction_bbox_iou_thresh": ("recondition.bbox_iou_thresh", 0.0),
    "reconstruction_bbox_det_score": ("recondition.bbox_det_score", 0.0),
    "masklet_confirmation_enable": ("confirmation.enable", False),
    "masklet_confirmation_consecutive_det_thresh": ("confirmation.consecutive_det_thresh", 3),
    "use_prev_mem_frame": ("interaction.use_prev_mem_frame", False),
    "use_stateless_refinement": ("interaction.use_stateless_refinement", False),
    "refinement_detector_cond_frame_removal_window": ("interaction.cond_frame_removal_window", 16),
}
_PATHS = {keyword: path for keyword, (path, _) in _TABLE.items()}
CLASS_DEFAULTS: dict[str, Any] = {keyword: default for keyword, (_, default) in _TABLE.items()}
"""Defaults of the published classes; they differ from the released model's values."""


def _get(values: Mapping[str, Any], path: str) -> Any:
    section, _, name = path.rpartition(".")
    return values[section][name] if section else values[name]


@dataclass(frozen=True, kw_only=True)
class Sam3VideoConfig:
    """The whole video model: detector, tracker and rules.

    memory_selection: the tracker leaves out memories of frames it was unsure about.
    """

    image: Sam3ImageConfig = field(default_factory=Sam3ImageConfig)
    tracker: Sam3TrackerConfig = field(default_factory=Sam3TrackerConfig)
    rules: VideoRules = field(default_factory=VideoRules)
    memory_selection: bool = True

    def __post_init__(self) -> None:
        sizes = (self.image.vision.img_size, self.image.vision.patch_size, self.image.d_model)
        own = (self.tracker.image_size, self.tracker.patch_size, self.tracker.d_model)
        _require(
            sizes == own,
            f"the tracker reads features of (image size, patch size, width) {own}, the detector"
            f" makes {sizes}",
        )

    def without_disambiguation(self) -> Sam3VideoConfig:
        """The variant that decides every frame for itself: no hotstart, no routine reconditioning,
        no memory selection."""
        hotstart = replace(self.rules.hotstart, delay=0, unmatch_thresh=0, dup_thresh=0)
        recondition = replace(self.rules.recondition, every_nth_frame=0)
        rules = replace(self.rules, hotstart=hotstart, recondition=recondition)
        return replace(self, rules=rules, memory_selection=False)
