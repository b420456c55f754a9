"""The command ``track`` on a short scripted scene, which may be stopped on the way."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sam3.cli import track
from sam3.cli.track_options import TrackOptions

from .video import pictures, scripted_model

COUNT = 12
WEIGHTS = b"stands for weights"


def short_model() -> Any:
    """The scripted scene with results that wait 4 frames, so that they come one by one."""
    return scripted_model(hotstart_delay=4, hotstart_unmatch_thresh=3, hotstart_dup_thresh=3)


def write_frames(folder: Path) -> Path:
    """A folder of ``COUNT`` pictures of 64 x 48 pixels."""
    folder.mkdir()
    for number, picture in enumerate(pictures(COUNT)):
        picture.save(folder / f"frame{number}.png")
    return folder


@dataclass
class Tracker:
    """Runs ``track`` through a shell; ``trouble`` comes after so many frames of the model."""

    shell: Any
    models: list[Any] = field(default_factory=list)
    after: int | None = None
    trouble: Callable[[], None] = lambda: signal.raise_signal(signal.SIGINT)

    def __call__(self, *arguments: object) -> int:
        """The exit code of ``track``."""
        return self.shell("track", *arguments, "--device", "cpu")

    def load(self, model_file: Path, options: TrackOptions) -> track.Loaded:
        """Stands for ``track.load_model``."""
        assert model_file.read_bytes() == WEIGHTS
        model = short_model()
        propagate, left = model.propagate_in_video, self.after

        def watched(*arguments: Any, **keywords: Any) -> Iterator[Any]:
            nonlocal left
            for step in propagate(*arguments, **keywords):
                if left == 0:
                    self.trouble()
                left = None if left is None else left - 1
                yield step

        model.propagate_in_video = watched
        self.models.append(model)
        return track.Loaded(model, options.prompt)
