"""``python -m sam3.train.tiny.tracking``: train the tiny tracker."""

from __future__ import annotations

from .command import main

if __name__ == "__main__":
    raise SystemExit(main())
