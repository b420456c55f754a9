"""One record per request of the predictor, made from the published request dicts.

``parse`` turns ``{"type": "add_prompt", "session_id": ..., ...}`` into its record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any

from ...errors import SessionError

DIRECTIONS = ("both", "forward", "backward")


@dataclass(frozen=True)
class StartSession:
    """Open a video. resource_path: see ``Sam3VideoInference.init_state``; session_id: by default a
    new random one."""

    resource_path: Any
    session_id: str | None = None


@dataclass(frozen=True)
class AddPrompt:
    """A phrase, a box or clicks on a frame; see the models' ``add_prompt``. Points are parts of
    width and height, boxes [n, 4] xywh likewise."""

    session_id: str
    frame_index: int
    text: str | None = None
    points: Any = None
    point_labels: Any = None
    bounding_boxes: Any = None
    bounding_box_labels: Any = None
    obj_id: int | None = None


@dataclass(frozen=True)
class RemoveObject:
    """Drop an object of a session."""

    session_id: str
    obj_id: int
    is_user_action: bool = True


@dataclass(frozen=True)
class ResetSession:
    """Forget prompts and results; the video stays open."""

    session_id: str


@dataclass(frozen=True)
class CloseSession:
    """Forget the session; an unknown one is only warned about."""

    session_id: str


@dataclass(frozen=True)
class CancelPropagation:
    """Stop the session's running stream after the frame it is at. Not among the published ones."""

    session_id: str


@dataclass(frozen=True)
class PropagateInVideo:
    """Stream results; propagation_direction: "both" (forward, then backward), "forward" or
    "backward"."""

    session_id: str
    propagation_direction: str = "both"
    start_frame_index: int | None = None
    max_frame_num_to_track: int | None = None


Request = StartSession | AddPrompt | RemoveObject | ResetSession | CloseSession | CancelPropagation
REQUESTS: dict[str, Any] = {
    "start_session": StartSession,
    "add_prompt": AddPrompt,
    "remove_object": RemoveObject,
    "reset_session": ResetSession,
    "close_session": CloseSession,
    "cancel_propagation": CancelPropagation,
}
STREAM_REQUESTS: dict[str, Any] = {"propagate_in_video": PropagateInVideo}


def parse(request: Mapping[str, Any], *, stream: bool = False) -> Any:
    """The record of a request dict.

    Fields that are None count as left out. SessionError (a ValueError and a RuntimeError) for an
    unknown type, a missing or unknown field, or another direction.
    """
    known = STREAM_REQUESTS if stream else REQUESTS
    kind = request.get("type")
    if kind not in known:
        other = REQUESTS if stream else STREAM_REQUESTS
        hint = ""
        if kind in other:
            hint = f"; send it to {'handle_request' if stream else 'handle_stream_request'}"
        raise SessionError(f"unknown request type {kind!r}; allowed are {sorted(known)}{hint}")
    record = known[kind]
    names = {f.name for f in fields(record)}
    given = {k: v for k, v in request.items() if k != "type"}
    unknown = sorted(set(given) - names)
    if unknown:
        raise SessionError(f"{kind}: unknown fields {unknown}; allowed are {sorted(names)}")
    given = {k: v for k, v in given.items() if v is not None}
    missing = [f.name for f in fields(record) if f.default is MISSING and f.name not in given]
    if missing:
        raise SessionError(f"{kind}: missing {missing}; allowed are {sorted(names)}")
    parsed = record(**given)
    direction = getattr(parsed, "propagation_direction", "both")
    if direction not in DIRECTIONS:
        raise SessionError(
            f"unknown propagation_direction {direction!r}; allowed are {', '.join(DIRECTIONS)}"
        )
    return parsed
