"""Where a run reports: text to the screen and a file, curves to TensorBoard."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .distributed import is_main_process

_log = logging.getLogger(__name__)
PACKAGE = __name__.rpartition(".train.")[0]  # the logger above all of the package's
FORMAT = "%(levelname)s %(asctime)s %(name)s: %(message)s"


class TensorBoardLogger:
    """Curves for TensorBoard; does nothing without a writer.

    Args:
        writer: a ``SummaryWriter`` or None.
    """

    def __init__(self, writer: Any = None) -> None:
        self.writer = writer

    def log(self, name: str, value: float, step: int) -> None:
        """One point of a curve."""
        if self.writer is not None:
            self.writer.add_scalar(name, value, global_step=step, new_style=True)

    def log_dict(self, values: Mapping[str, float], step: int) -> None:
        """One point of every curve."""
        for name, value in values.items():
            self.log(name, value, step)

    def close(self) -> None:
        """Write what is left."""
        if self.writer is not None:
            self.writer.close()


def make_tensorboard_logger(
    log_dir: str, flush_secs: int = 120, should_log: bool = True, **writer_kwargs: Any
) -> TensorBoardLogger:
    """A writer of curves in ``log_dir``, for process 0; in the others it does nothing.

    Args:
        flush_secs: at most so long points wait in memory.
        should_log: False writes nothing.
        writer_kwargs: as of ``torch.utils.tensorboard.SummaryWriter``.

    Without the package tensorboard a warning says how to install it, and nothing is written.
    """
    if not should_log or not is_main_process():
        return TensorBoardLogger()
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        _log.warning(
            'no curves are written: TensorBoard is missing; pip install "sam3-segment[train]" '
            "(or pip install tensorboard)"
        )
        return TensorBoardLogger()
    return TensorBoardLogger(
        SummaryWriter(log_dir=str(log_dir), flush_secs=flush_secs, **writer_kwargs)
    )


def setup_logging(
    folder: str | Path,
    rank: int = 0,
    log_level_primary: str = "INFO",
    log_level_secondary: str = "ERROR",
) -> logging.Logger:
    """Send the package's messages to the screen, and those of process 0 to ``folder/log.txt``.

    Calling it again replaces what an earlier call set up. Returns the package's logger.
    """
    root = logging.getLogger(PACKAGE)
    close_logging()
    root.setLevel(log_level_primary if rank == 0 else log_level_secondary)
    handlers: list[logging.Handler] = []
    if not logging.getLogger().handlers:
        handlers.append(logging.StreamHandler())
    if rank == 0:
        Path(folder).mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(Path(folder) / "log.txt", encoding="utf-8"))
    for handler in handlers:
        handler.setFormatter(logging.Formatter(FORMAT))
        handler.set_name(PACKAGE)
        root.addHandler(handler)
    return root


def close_logging() -> None:
    """Take back what :func:`setup_logging` set up."""
    root = logging.getLogger(PACKAGE)
    for handler in [h for h in root.handlers if h.get_name() == PACKAGE]:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(logging.NOTSET)
