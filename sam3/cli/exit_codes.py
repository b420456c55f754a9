"""Exit codes of the command line; a contract with scripts."""

from __future__ import annotations

OK = 0
SOME_FAILED = 1
USAGE = 2
MODEL = 3
DEVICE = 4
INTERRUPTED = 130
