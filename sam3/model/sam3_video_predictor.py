"""Video sessions behind requests, for servers and user interfaces.

predictor = Sam3VideoPredictor(model=build_sam3_video_model())
session_id = predictor.handle_request(
    {"type": "start_session", "resource_path": "clip.mp4"}
)["session_id"]
predictor.handle_request(
    {"type": "add_prompt", "session_id": session_id, "frame_index": 0, "text": "red car"}
)
for step in predictor.handle_stream_request(
    {"type": "propagate_in_video", "session_id": session_id}
):
    step["frame_index"], step["outputs"]
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import torch

from ..errors import SessionError
from .video import requests as req
from .video.session import VideoSession
from .video.workers import WorkerPool

__all__ = ["Sam3VideoPredictor", "Sam3VideoPredictorMultiGPU"]

_log = logging.getLogger(__name__)
Response = dict[str, Any]
MODEL_KEYWORDS = (
    "checkpoint_path",
    "bpe_path",
    "has_presence_token",
    "geo_encoder_use_img_cross_attn",
    "strict_state_dict_loading",
    "apply_temporal_disambiguation",
)
"""Published keywords that build the model; the other two say how videos are read."""


@dataclass
class OpenSession:
    """A session and what guards it. lock: held while its state changes; cancel: stops a stream."""

    session_id: str
    state: VideoSession
    start_time: float
    lock: threading.RLock = field(default_factory=threading.RLock)
    cancel: threading.Event = field(default_factory=threading.Event)
    closed: bool = False


class Sam3VideoPredictor:
    """Sessions on one model, by id; safe to use from several threads.

    model: a built video model. Without one, ``build_sam3_video_model`` builds it from
    ``MODEL_KEYWORDS`` and any further keyword. async_loading_frames, video_loader_type: how
    sessions read their videos.

    The model runs one frame at a time, whichever session asks, so that its memory is not needed
    twice; between frames sessions take turns.
    """

    def __init__(
        self,
        checkpoint_path: Any = None,
        bpe_path: Any = None,
        has_presence_token: bool = True,
        geo_encoder_use_img_cross_attn: bool = True,
        strict_state_dict_loading: bool = True,
        async_loading_frames: bool = False,
        video_loader_type: str = "cv2",
        apply_temporal_disambiguation: bool = True,
        *,
        model: Any = None,
        **build_keywords: Any,
    ) -> None:
        self.async_loading_frames = async_loading_frames
        self.video_loader_type = video_loader_type
        if model is None:
            values = (
                checkpoint_path,
                bpe_path,
                has_presence_token,
                geo_encoder_use_img_cross_attn,
                strict_state_dict_loading,
                apply_temporal_disambiguation,
            )
            published = dict(zip(MODEL_KEYWORDS, values, strict=True))
            model = _builder()(**published, **build_keywords)
        self.model = model
        self._sessions: dict[str, OpenSession] = {}
        self._sessions_lock = threading.Lock()
        self._model_lock = threading.RLock()
        self._shut_down = False

    # ---- requests ---------------------------------------------------------------------------

    def handle_request(self, request: Mapping[str, Any]) -> Response:
        """Answer one request dict; the types and their fields are in ``video.requests``.

        Raises SessionError (a RuntimeError) for an unknown type or session, InputError for a bad
        prompt; the session is then as before.
        """
        self._check_running()
        parsed = req.parse(request)
        if isinstance(parsed, req.StartSession):
            return self.start_session(parsed.resource_path, parsed.session_id)
        if isinstance(parsed, req.CloseSession):
            return self.close_session(parsed.session_id)
        if isinstance(parsed, req.CancelPropagation):
            return self.cancel_propagation(parsed.session_id)
        if isinstance(parsed, req.ResetSession):
            return self.reset_session(parsed.session_id)
        if isinstance(parsed, req.RemoveObject):
            return self.remove_object(parsed.session_id, parsed.obj_id, parsed.is_user_action)
        return self._add_prompt(parsed)

    def handle_stream_request(self, request: Mapping[str, Any]) -> Iterator[Response]:
        """Stream ``{"frame_index", "outputs"}`` for a propagate_in_video request.

        The request is checked at once; frames are run as the stream is read. Closing the stream, or
        cancel_propagation from another thread, stops it after a whole frame.
        """
        self._check_running()
        parsed = req.parse(request, stream=True)
        return self._stream(self._session(parsed.session_id), parsed)

    # ---- the same as methods ----------------------------------------------------------------

    def start_session(self, resource_path: Any, session_id: str | None = None) -> Response:
        """Open a video: {"session_id"}. SessionError for an id that is taken."""
        session_id = str(uuid.uuid4()) if session_id is None else session_id
        self._check_free(session_id)
        state = self.model.init_state(
            resource_path=resource_path,
            async_loading_frames=self.async_loading_frames,
            video_loader_type=self.video_loader_type,
        )
        with self._sessions_lock:
            if session_id in self._sessions:
                raise SessionError(f"session {session_id!r} is open already")
            self._sessions[session_id] = OpenSession(session_id, state, time.time())
        return {"session_id": session_id}

    def add_prompt(self, session_id: str, frame_idx: int, **fields: Any) -> Response:
        """{"frame_index", "outputs"} of the prompted frame; fields as in ``video.requests``."""
        return self._add_prompt(req.AddPrompt(session_id, frame_idx, **fields))

    def remove_object(self, session_id: str, obj_id: int, is_user_action: bool = True) -> Response:
        """Drop an object: {"is_success": True}. SessionError for an unknown object."""
        session = self._session(session_id)
        with session.lock, self._model_lock:
            self.model.remove_object(session.state, obj_id, is_user_action=is_user_action)
        return {"is_success": True}

    def reset_session(self, session_id: str) -> Response:
        """Forget prompts and results; a running stream ends with an error."""
        session = self._session(session_id)
        with session.lock:
            self.model.reset_state(session.state)
        return {"is_success": True}

    def close_session(self, session_id: str) -> Response:
        """Forget the session and free what it holds; a running stream ends."""
        with self._sessions_lock:
            session = self._sessions.pop(session_id, None)
        if session is None:
            _log.warning("close_session: session %r is not open", session_id)
            return {"is_success": True}
        session.closed = True
        session.cancel.set()
        with session.lock:
            self.model.reset_state(session.state)
        return {"is_success": True}

    def cancel_propagation(self, session_id: str) -> Response:
        """Stop the session's stream after the frame it is at; nothing happens without one."""
        self._session(session_id).cancel.set()
        return {"is_success": True}

    def propagate_in_video(
        self,
        session_id: str,
        propagation_direction: str = "both",
        start_frame_idx: int | None = None,
        max_frame_num_to_track: int | None = None,
    ) -> Iterator[Response]:
        """The stream of ``handle_stream_request``."""
        return self.handle_stream_request(
            {
                "type": "propagate_in_video",
                "session_id": session_id,
                "propagation_direction": propagation_direction,
                "start_frame_index": start_frame_idx,
                "max_frame_num_to_track": max_frame_num_to_track,
            }
        )

    def shutdown(self) -> None:
        """Close all sessions; later requests raise SessionError."""
        self._shut_down = True
        for session_id in self.session_ids():
            self.close_session(session_id)

    def session_ids(self) -> list[str]:
        """Ids of the open sessions."""
        with self._sessions_lock:
            return list(self._sessions)

    # ---- helpers ----------------------------------------------------------------------------

    def _add_prompt(self, request: req.AddPrompt) -> Response:
        session = self._session(request.session_id)
        clicks: dict[str, Any] = {}
        if request.points is not None or request.point_labels is not None:
            clicks = {
                "points": request.points,
                "point_labels": request.point_labels,
                "obj_id": request.obj_id,
            }
        with session.lock, self._model_lock:
            frame_idx, outputs = self.model.add_prompt(
                session.state,
                request.frame_index,
                text_str=request.text,
                boxes_xywh=request.bounding_boxes,
                box_labels=request.bounding_box_labels,
                **clicks,
            )
        return {"frame_index": frame_idx, "outputs": outputs}

    def _stream(self, session: OpenSession, request: req.PropagateInVideo) -> Iterator[Response]:
        session.cancel.clear()
        wanted = request.propagation_direction
        for reverse in (False, True):
            if wanted not in ("both", "backward" if reverse else "forward"):
                continue
            steps = self.model.propagate_in_video(
                session.state,
                start_frame_idx=request.start_frame_index,
                max_frame_num_to_track=request.max_frame_num_to_track,
                reverse=reverse,
            )
            try:
                while True:
                    with session.lock, self._model_lock:
                        if self._is_cancelled(session):
                            return
                        step = next(steps, None)
                    if step is None:
                        break
                    yield {"frame_index": step[0], "outputs": step[1]}
            finally:
                with session.lock:
                    steps.close()

    def _is_cancelled(self, session: OpenSession) -> bool:
        return session.cancel.is_set()

    def _session(self, session_id: str) -> OpenSession:
        with self._sessions_lock:
            session = self._sessions.get(session_id)
        if session is None:
            raise SessionError(
                f"session {session_id!r} is not open; start_session opens one"
                f" ({len(self._sessions)} open now)"
            )
        return session

    def _check_free(self, session_id: str) -> None:
        with self._sessions_lock:
            if session_id in self._sessions:
                raise SessionError(
                    f"session {session_id!r} is open already; close it or choose another id"
                )

    def _check_running(self) -> None:
        if self._shut_down:
            raise SessionError("this predictor was shut down; build a new one")


class Sam3VideoPredictorMultiGPU(Sam3VideoPredictor):
    """The same with the work shared out over several processes, one device each.

    gpus_to_use: device numbers, by default the current one alone; without CUDA, that many CPU
    processes over gloo. build: ``build(device=..., **build_keywords)`` makes the model in every
    process and must be importable by name; by default the published keywords build the released
    model. Call ``shutdown`` when done.
    """

    def __init__(
        self,
        *model_args: Any,
        gpus_to_use: Sequence[int] | None = None,
        build: Callable[..., Any] | None = None,
        async_loading_frames: bool = False,
        video_loader_type: str = "cv2",
        **model_keywords: Any,
    ) -> None:
        model_keywords |= dict(zip(MODEL_KEYWORDS, model_args, strict=False))
        reading = {
            "async_loading_frames": async_loading_frames,
            "video_loader_type": video_loader_type,
        }
        ordinals = [_current_ordinal()] if gpus_to_use is None else list(gpus_to_use)
        self._pool = WorkerPool(ordinals, build or _builder(), model_keywords, reading)
        super().__init__(model=self._pool.model, **reading)
        self._order = threading.RLock()

    def handle_request(self, request: Mapping[str, Any]) -> Response:
        """As the parent's, in every process."""
        self._check_running()
        if request.get("type") == "cancel_propagation":
            return super().handle_request(request)  # streams are stepped from here
        if request.get("type") == "start_session" and request.get("session_id") is None:
            request = {**request, "session_id": str(uuid.uuid4())}
        with self._order:
            self._pool.send("request", dict(request))
            try:
                return super().handle_request(request)
            finally:
                self._pool.model.collective.barrier()

    def handle_stream_request(self, request: Mapping[str, Any]) -> Iterator[Response]:
        """As the parent's, in every process; each step is ordered anew."""
        steps = super().handle_stream_request(request)
        return self._stepped(self._session(request["session_id"]), steps, request)

    def _stepped(
        self, session: OpenSession, steps: Iterator[Response], request: Mapping[str, Any]
    ) -> Iterator[Response]:
        stream = str(uuid.uuid4())
        session.cancel.clear()
        self._pool.send("open", stream, dict(request))
        try:
            while True:
                with self._order:
                    if session.cancel.is_set():  # asked here only: all processes step, or none
                        return
                    self._pool.send("step", stream)
                    step = next(steps, None)
                if step is None:
                    return
                yield step
        finally:
            with self._order:
                self._pool.send("close", stream)
                steps.close()  # type: ignore[attr-defined]

    def _is_cancelled(self, session: OpenSession) -> bool:
        return False  # see _stepped

    def shutdown(self) -> None:
        """Close all sessions and stop the other processes."""
        if not self._shut_down:
            super().shutdown()
            self._pool.shutdown()


def _current_ordinal() -> int:
    return torch.cuda.current_device() if torch.cuda.is_available() else 0


def _builder() -> Callable[..., Any]:
    """``build_sam3_video_model``, found by name: the builder stands above this module."""
    builder = import_module("..model_builder", __package__)
    return builder.build_sam3_video_model
