"""What a fine-tuning is asked to do, apart from how it learns (``recipe``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ...errors import InputError

LAYOUTS = ("same", "transformers")
PRECISIONS = ("auto", "fp32", "bf16")


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """Which pictures and phrases.

    Attributes:
        data: a folder (Roboflow export, or pictures with an annotation file) or a COCO JSON file.
        images: folder of the pictures, where it is not found by itself.
        validation: a COCO JSON file to measure on; None takes the export's split, or holds out.
        hold_out: share of the pictures to hold out where there is no validation split.
        bad_data: what to do about errors in the data.
        prompts: category name -> phrase to ask for instead.
        seed: of the pictures held out.
    """

    data: Path
    images: Path | None = None
    validation: Path | None = None
    hold_out: float = 0.2
    bad_data: Literal["stop", "skip"] = "stop"
    prompts: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.hold_out < 1:
            raise InputError(f"hold_out must be a share between 0 and 1, got {self.hold_out}")
        if self.bad_data not in ("stop", "skip"):
            raise InputError(f"bad_data must be 'stop' or 'skip', got {self.bad_data!r}")


@dataclass(frozen=True, kw_only=True)
class FinetuneSettings:
    """One run.

    Attributes:
        checkpoint: any SAM 3 file with an image model.
        output: folder of the model, the report and everything needed to resume.
        data: which pictures.
        device: where to train; None picks the best one.
        precision: "bf16" computes in half precision but keeps weights whole; "auto" does so where
            the device is fast at it.
        resume: go on from the checkpoint in ``output``.
        transformers: also write the model as transformers loads it, to ``output/transformers``.
        threads: torch threads on the CPU, None = leave as is.
        workers: processes that make batches ahead, 0 = none.
        evaluate_minutes, checkpoint_minutes: pauses between measurements and checkpoints.
    """

    checkpoint: Path
    output: Path
    data: DataSettings
    device: str | None = None
    precision: str = "auto"
    resume: bool = False
    transformers: bool = False
    threads: int | None = None
    workers: int = 0
    checkpoint_minutes: float = 5.0

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise InputError(
                f"precision must be one of {', '.join(PRECISIONS)}, got {self.precision!r}"
            )
