"""``track``: follow what a text, points or boxes mean through a video and write the results.

Every finished frame goes to the disk at once (``track_journal``), so that an interruption loses
none. The overlay is drawn from there, behind the tracking.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import Sam3Error
from . import exit_codes
from .interruption import interruption_held
from .models import check_device, check_tracks, find_model, report_unusable
from .outputs import check_folder
from .track_journal import Journal
from .track_options import TrackOptions
from .track_outputs import (
    TrackPaths,
    finished_before,
    frame_record,
    save_label_map,
    write_record,
)
from .track_session import Described, TrackSession, describe
from .track_source import Clip, check_place, open_clip

if TYPE_CHECKING:
    from .track_overlay import TrackOverlay

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """One video, what to look for in it, and where its results go."""

    options: TrackOptions
    clip: Clip
    objects: tuple[Described, ...]
    paths: TrackPaths

    def facts(self, settings: dict[str, Any]) -> dict[str, Any]:
        """What the JSON file says before its frames."""
        width, height = self.clip.size
        return {
            "source": self.clip.stamp(),
            "width": width,
            "height": height,
            "frame_count": self.clip.frame_count,
            "fps": round(float(self.options.fps or self.clip.fps), 6),
            "settings": settings,
            "files": {kind: path.name for kind, path in self.paths.files().items()},
        }


@dataclass(frozen=True)
class Loaded:
    """The video model, and the phrase as it reads it (None without one)."""

    model: Any
    phrase: str | None


@dataclass(frozen=True)
class Outcome:
    """How it ended: done, skipped or failed; finished frames and the number of objects."""

    status: str
    finished: int = 0
    objects: int = 0
    error: str = ""


def run(options: TrackOptions) -> int:
    """Track through one video.

    Args:
        options: the checked command line.

    Returns:
        An exit code of ``exit_codes``.

    Raises:
        InputError: the options contradict the video or the file system (usage).
        KeyboardInterrupt: Ctrl-C; what was finished has been written.
    """
    check_folder(options.output)
    check_place(options.video, options.output)
    try:
        clip = open_clip(options.video)
    except (Sam3Error, OSError) as error:
        return report(options, None, Outcome("failed", error=str(error)))
    paths = TrackPaths.of(options.output, clip.name, masks=options.masks == "png")
    job = Job(options, clip, describe(options, clip), paths)
    try:
        check_tracks(options.model)
        model_file = find_model(options)
        settings = json.loads(json.dumps(options.fingerprint(model_file)))
        check_device(options.device)
        earlier = finished_before(paths, clip.stamp(), settings) if options.resume else None
        if earlier is None:
            journal = open_journal(job, settings)
            to_track = len(journal) < clip.frame_count
            loaded = load_model(model_file, options) if to_track else None
    except (Sam3Error, OSError) as error:
        return report_unusable(options.model, error)
    if earlier is not None:
        outcome = Outcome("skipped", len(earlier["frames"]), len(earlier["objects"]))
    else:
        outcome = track(job, settings, journal, loaded)
    return report(options, job, outcome)


def open_journal(job: Job, settings: dict[str, Any]) -> Journal:
    """The frames that are done already, when resuming; else an empty journal."""
    from ..model_builder import pick_device

    # Another kind of device may give other masks, which would not fit the rest.
    device = pick_device(job.options.device).type
    key = {"source": job.clip.stamp(), "settings": settings, "device": device}
    return Journal(job.paths.journal, key, resume=job.options.resume)


def load_model(model_file: Path, options: TrackOptions) -> Loaded:
    """The video model, with the confidence asked for and the phrase cut to what it reads."""
    from ..builders.video import build_sam3_video_model
    from ..pipeline.phrases import cut_phrase

    rules: dict[str, Any] = {}
    if options.confidence is not None:
        rules = dict.fromkeys(("score_threshold_detection", "new_det_thresh"), options.confidence)
    model: Any = build_sam3_video_model(
        checkpoint_path=model_file,
        load_from_HF=False,
        device=options.device,
        precision=options.precision,
        **rules,
    )
    if options.prompt is None:
        return Loaded(model, None)
    tokenizer = model.detector.backbone.language_backbone.tokenizer
    return Loaded(model, cut_phrase(options.prompt, tokenizer))


def track(job: Job, settings: dict[str, Any], journal: Journal, loaded: Loaded | None) -> Outcome:
    """Run the video and write everything; what is finished is written whatever happens.

    Args:
        job: the video.
        settings: what the results are made with.
        journal: frames done before; gets the others.
        loaded: the model; None where every frame has been tracked.

    Raises:
        KeyboardInterrupt: Ctrl-C, after the results so far were written.
    """
    stopped: BaseException | None = None
    objects = 0
    try:
        stopped = write_frames(job, journal, loaded)
        if len(journal):
            with interruption_held():
                objects = write_record(
                    job.paths.record,
                    job.facts(settings),
                    journal,
                    with_masks=job.options.masks == "packed",
                    complete=stopped is None,
                )
    finally:
        journal.close()
    log.info("%d of %d frames are finished", len(journal), job.clip.frame_count)
    if isinstance(stopped, KeyboardInterrupt):
        raise stopped
    if stopped is not None:
        return Outcome("failed", len(journal), objects, str(stopped) or type(stopped).__name__)
    journal.delete()
    return Outcome("done", len(journal), objects)


def write_frames(
    job: Job, journal: Journal, loaded: Loaded | None
) -> Exception | KeyboardInterrupt | None:
    """Track and draw. Returns what stopped it, with all that is finished on the disk."""
    from .track_overlay import TrackOverlay

    stopped: Exception | KeyboardInterrupt | None = None
    try:
        overlay = TrackOverlay(
            job.paths.overlay, job.clip, journal, job.options.fps or job.clip.fps
        )
        if not len(journal):
            job.paths.clear()
    except (Sam3Error, OSError) as error:
        return error
    try:
        restore_masks(job, journal)
        if loaded is not None:
            follow(job, journal, loaded, overlay)
    except (Exception, KeyboardInterrupt) as error:  # what is finished must still be written
        log.debug("%s stopped", job.clip.path, exc_info=True)
        stopped = error
    waiting = len(overlay.waiting())
    if isinstance(stopped, KeyboardInterrupt) and waiting:
        log.info("drawing %d frames that are finished; Ctrl-C again leaves them out", waiting)
    try:
        with progress(waiting, "drawing") as bar:
            overlay.finish(bar.update)
    except (Exception, KeyboardInterrupt) as error:
        log.debug("the overlay of %s stopped", job.clip.path, exc_info=True)
        stopped = stopped or error
    return stopped


def restore_masks(job: Job, journal: Journal) -> None:
    """Write the mask pictures of finished frames that have gone since."""
    for frame in journal:
        path = job.paths.mask(frame)
        if path is not None and not path.is_file():
            save_label_map(path, journal[frame], job.clip.size)


def follow(job: Job, journal: Journal, loaded: Loaded, overlay: TrackOverlay) -> None:
    """Run the model over the video; every new frame is written as it comes."""
    options = job.options
    session = TrackSession(loaded.model, options.video, loaded.phrase, job.objects, options.frame)
    with progress(session.steps, "tracking") as bar:
        for step in session.run():
            if step.outputs is not None and step.frame not in journal:
                record = frame_record(step.frame, step.outputs, session.phrase_of)
                path = job.paths.mask(step.frame)
                with interruption_held():
                    if path is not None:
                        save_label_map(path, record, job.clip.size)
                    journal.add(record)  # last: it says that the frame is done
            overlay.draw_next()
            bar.update()


@contextmanager
def progress(total: int, what: str) -> Iterator[Any]:
    """A progress bar of frames on the standard error, where that is a terminal."""
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    # disable=None hides the bar where the standard error is not a terminal.
    hidden = True if total == 0 else None
    with (
        logging_redirect_tqdm(),
        tqdm(total=total, desc=what, unit="frame", file=sys.stderr, disable=hidden) as bar,
    ):
        yield bar


def report(options: TrackOptions, job: Job | None, outcome: Outcome) -> int:
    """Say how it ended and choose the exit code."""
    failed = outcome.status == "failed"
    if failed:
        log.error("%s: %s", options.video, outcome.error)
    if options.json:
        sys.stdout.write(json.dumps(summary(options, job, outcome), ensure_ascii=False) + "\n")
    elif job is not None and not failed:
        columns = (options.video, outcome.finished, outcome.objects, job.paths.record)
        sys.stdout.write("\t".join(map(str, columns)) + "\n")
    return exit_codes.SOME_FAILED if failed else exit_codes.OK


def summary(options: TrackOptions, job: Job | None, outcome: Outcome) -> dict[str, Any]:
    """What ``--json`` prints."""
    facts: dict[str, Any] = {"video": str(options.video), "status": outcome.status}
    if outcome.status == "failed":
        facts["error"] = outcome.error
    if job is not None:
        facts["frames"] = job.clip.frame_count
        facts["finished"] = outcome.finished
    if job is not None and outcome.finished:
        facts["objects"] = outcome.objects
        facts["files"] = {kind: str(path) for kind, path in job.paths.files().items()}
    return facts
