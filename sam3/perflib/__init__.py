"""Optional fast paths. Every one has a plain torch or numpy twin with the same results.

``is_enabled`` (bool) follows the environment variable ``USE_PERFLIB``, ``"1"`` when unset; it is
read at each access, so importing this package does no work.
"""

from __future__ import annotations

import os
from typing import Any


def __getattr__(name: str) -> Any:
    if name == "is_enabled":
        return os.environ.get("USE_PERFLIB", "1") == "1"
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
