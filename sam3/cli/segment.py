"""``segment``: find what the text says in every picture and write the results.

The pictures go through ``sam3.pipeline``, the code the ComfyUI node uses. A picture that fails is
reported and the rest is done.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import Sam3Error
from . import exit_codes
from .instances import Instance, instances_of
from .models import check_device, find_model, report_unusable
from .options import Region, SegmentOptions
from .outputs import (
    RECORD,
    check_folder,
    is_complete,
    make_record,
    output_paths,
    overwriting,
    save_png,
    save_record,
)
from .sources import Source, assign_stems, expand, identity

if TYPE_CHECKING:
    from torch import Tensor

    from ..pipeline.segment import BoxPrompt, FrameResult, PointPrompt
    from .pictures import Picture

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """One picture, where its results go, and how it ended."""

    source: Source
    paths: Mapping[str, Path]
    status: str = "pending"  # done, skipped or failed in the end
    instances: int = 0
    best_score: float | None = None
    error: str = ""

    def summary(self) -> dict[str, Any]:
        """What ``--json`` prints about it."""
        common = {"picture": str(self.source.path), "status": self.status}
        if self.status == "failed":
            return {**common, "error": self.error}
        files = {kind: str(path) for kind, path in self.paths.items()}
        found = {"instances": self.instances, "best_score": self.best_score}
        return {**common, **found, "files": files}

    def line(self) -> str:
        """What is printed about it otherwise."""
        score = "" if self.best_score is None else f"{self.best_score:.4f}"
        return f"{self.source.path}\t{self.instances}\t{score}\t{self.paths[RECORD]}"


def run(options: SegmentOptions) -> int:
    """Segment every picture.

    Args:
        options: the checked command line.

    Returns:
        An exit code of ``exit_codes``.

    Raises:
        InputError: the options contradict the file system (usage).
    """
    jobs = plan(options)
    try:
        model_file = find_model(options)
        settings = options.fingerprint(model_file)
        inputs = {identity(job.source.path) for job in jobs}
        jobs = [check_job(job, settings, options.resume, inputs) for job in jobs]
        if any(job.status == "pending" for job in jobs):
            processor, phrases = load_processor(model_file, options)
    except (Sam3Error, OSError) as error:
        return report_unusable(options.model, error)
    finished = []
    for job in with_progress(jobs):
        if job.status == "pending":
            job = attempt(job, processor, phrases, options, settings)
        report(job, options.json)
        finished.append(job)
    return conclude(finished, options.json)


def plan(options: SegmentOptions) -> list[Job]:
    """A job for every picture, with output paths of its own."""
    sources = expand(options.pictures, options.output, options.recursive)
    stems = assign_stems(sources)
    jobs = [
        Job(source, output_paths(options.output, stem))
        for source, stem in zip(sources, stems, strict=True)
    ]
    check_folder(options.output)
    return jobs


def check_job(job: Job, settings: Mapping[str, Any], resume: bool, inputs: set[Path]) -> Job:
    """Fail what cannot be done; skip what is done already when resuming."""
    problem = job.source.problem or overwriting(job.paths, inputs)
    if problem:
        return Job(job.source, job.paths, "failed", error=problem)
    if resume and is_complete(job.source.path, settings, job.paths):
        record = json.loads(job.paths[RECORD].read_text(encoding="utf-8"))
        found, best = len(record["instances"]), record["best_score"]
        return Job(job.source, job.paths, "skipped", found, best)
    return job


def load_processor(model_file: Path, options: SegmentOptions) -> tuple[Any, list[str]]:
    """The processor with its threshold set, and the phrases cut to what its text encoder reads."""
    from ..model.sam3_image_processor import Sam3Processor
    from ..model_builder import build_sam3_image_model
    from ..pipeline.phrases import prepare_phrases

    check_device(options.device)
    model: Any = build_sam3_image_model(
        checkpoint_path=str(model_file),
        load_from_HF=False,
        device=options.device,
        precision=options.precision,
    )
    processor = Sam3Processor(model, confidence_threshold=options.confidence)
    if options.prompt is None:
        return processor, []
    tokenizer = model.backbone.language_backbone.tokenizer
    return processor, prepare_phrases(options.prompt, tokenizer)


def with_progress(jobs: list[Job]) -> Iterator[Job]:
    """The jobs, with a progress bar on a terminal when there are several."""
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    # disable=None hides the bar where the standard error is not a terminal.
    hidden = True if len(jobs) < 2 else None
    with logging_redirect_tqdm():
        yield from tqdm(jobs, unit="picture", file=sys.stderr, disable=hidden)


def attempt(
    job: Job,
    processor: Any,
    phrases: list[str],
    options: SegmentOptions,
    settings: Mapping[str, Any],
) -> Job:
    """Do one picture; whatever goes wrong with it becomes part of the job, not of the run."""
    try:
        result = do_picture(job, processor, phrases, options, settings)
    except Exception as error:  # one bad file must not end the batch
        log.debug("%s failed", job.source.path, exc_info=True)
        text = str(error) or type(error).__name__
        return Job(job.source, job.paths, "failed", error=text)
    return Job(job.source, job.paths, "done", len(result.phrases), result.best_score)


def do_picture(
    job: Job,
    processor: Any,
    phrases: list[str],
    options: SegmentOptions,
    settings: Mapping[str, Any],
) -> FrameResult:
    """Read, segment and write one picture; the record comes last."""
    from ..pipeline.segment import segment_frame
    from .pictures import load_picture

    picture = load_picture(job.source.path)
    size = picture.rgb.size
    result = segment_frame(
        processor,
        picture.rgb,
        phrases,
        boxes=pixel_boxes(options.boxes, options.units, size),
        points=pixel_points(options.points, options.units, size),
    )
    if not result.phrases:
        log.info(
            "%s: nothing above %.2f; the best score was %.4f for %r",
            job.source.path,
            options.confidence,
            result.best_score,
            result.best_phrase,
        )
    found = instances_of(result)
    write_images(job.paths, picture, result.mask.cpu(), found, options)
    best = (result.best_score, result.best_phrase)
    record = make_record(job.source.path, size, found, best, settings, job.paths)
    save_record(job.paths[RECORD], record)
    return result


def write_images(
    paths: Mapping[str, Path],
    picture: Picture,
    union: Tensor,
    found: Sequence[Instance],
    options: SegmentOptions,
) -> None:
    """Cut-out, mask and overlay of one picture."""
    import torch
    from PIL import Image

    from ..pipeline.colors import parse_color
    from ..pipeline.compose import compose_alpha, compose_color
    from ..pipeline.frames import from_pil
    from ..pipeline.mask_edit import edit_mask
    from .overlay import draw_overlay

    paths[RECORD].unlink(missing_ok=True)  # an old record would vouch for the new images
    mask = edit_mask(union, options.offset, options.blur, options.invert)
    image = from_pil(picture.rgb)
    kept = mask if picture.alpha is None else mask * torch.from_numpy(picture.alpha)
    if options.background == "alpha":
        cutout = compose_alpha(image, kept)
    else:
        cutout = compose_color(image, kept, parse_color(options.background_color))
    save_png(paths["cutout"], Image.fromarray(to_bytes(cutout)))
    save_png(paths["mask"], Image.fromarray(to_bytes(mask)))
    save_png(paths["overlay"], draw_overlay(picture.rgb, found))


def to_bytes(values: Tensor) -> Any:
    """Floats in 0..1 as a uint8 array."""
    import torch

    return (values.clamp(0, 1) * 255).round().to(torch.uint8).numpy()


def pixel_boxes(boxes: tuple[Region, ...], units: str, size: tuple[int, int]) -> list[BoxPrompt]:
    """Box prompts in pixels of a picture of ``size`` (W, H)."""
    from ..pipeline.segment import BoxPrompt

    prompts = []
    for box in boxes:
        x0, y0, x1, y1 = box.in_pixels(units, size)
        prompts.append(BoxPrompt(x0, y0, x1, y1, positive=box.positive))
    return prompts


def pixel_points(
    points: tuple[Region, ...], units: str, size: tuple[int, int]
) -> list[PointPrompt]:
    """Point prompts in pixels of a picture of ``size`` (W, H)."""
    from ..pipeline.segment import PointPrompt

    prompts = []
    for point in points:
        x, y = point.in_pixels(units, size)
        prompts.append(PointPrompt(x, y, positive=point.positive))
    return prompts


def report(job: Job, as_json: bool) -> None:
    """Say at once how one picture ended."""
    if job.status == "failed":
        log.error("%s: %s", job.source.path, job.error)
    elif not as_json:
        from tqdm import tqdm

        tqdm.write(job.line(), file=sys.stdout)  # keeps clear of the progress bar
        sys.stdout.flush()


def conclude(jobs: list[Job], as_json: bool) -> int:
    """Print the summary and choose the exit code."""
    counts = {s: sum(job.status == s for job in jobs) for s in ("done", "skipped", "failed")}
    if as_json:
        summary = {**counts, "pictures": [job.summary() for job in jobs]}
        sys.stdout.write(json.dumps(summary, ensure_ascii=False) + "\n")
    log.info("%(done)d done, %(skipped)d skipped, %(failed)d failed", counts)
    return exit_codes.SOME_FAILED if counts["failed"] else exit_codes.OK
