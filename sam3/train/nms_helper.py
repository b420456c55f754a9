"""Front door of the suppression of repeated tracks that video evaluation offers.

The implementations live in ``sam3/eval/veval/nms.py``.
"""

from __future__ import annotations

from ..eval.veval.nms import frame_nms, track_nms

__all__ = ["frame_nms", "track_nms"]
