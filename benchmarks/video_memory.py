"""Is memory flat? A long video through the small video model, memory noted on the way, a plot.

    python -m benchmarks.video_memory      # 2,000 frames, 15 minutes of processor time
    python -m benchmarks.video_memory --device cuda

Three sessions, each in a fresh process: the tracker alone, from a click on each object; the video
model from a phrase, by the released rules; the same where every detection is kept, with random
weights. Frames are drawn when they are read. Once the memory bank is full a session may only grow
by the masks it keeps, with their scores, as compressed bits; the report says how much those take
and what else grew.

Without ``--checkpoint`` the bundled sam3-tiny is used. Where it has no tracker that part gets
seeded random weights: the detector then finds objects again and again and hotstart removes their
tracks, so that many come and go.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sam3.config import presets

from . import common
from .plot import draw_lines
from .sizes import deep_bytes
from .video_models import PHRASE, build_ours, config_of
from .video_once import Meter

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("tracker", "video", "keep all")
SETTLED = 0.2
"""Part of the frames after which the memory bank is full and the allocator has settled."""
EVERY = 10
"""Frames from one note to the next."""
BUNDLED = "sam3-tiny"


class ShapeFrames:
    """Frames [3, S, S] in [-1, 1] of coloured discs that move about, drawn when they are read."""

    def __init__(self, count: int, side: int, shapes: int, device: torch.device) -> None:
        self.count, self.side, self.device = count, side, device
        stream = np.random.default_rng(0)
        self.colours = stream.uniform(-1, 1, (shapes, 3))
        self.colours[0] = (1, -1, -1)  # what the phrase asks for
        self.speeds = stream.uniform(0.01, 0.04, (shapes, 2))
        self.phases = stream.uniform(0, 2 * np.pi, (shapes, 2))

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Tensor:
        if not 0 <= index < self.count:
            raise IndexError(index)
        y, x = np.mgrid[0 : self.side, 0 : self.side] / self.side
        frame = np.zeros((3, self.side, self.side), np.float32)
        for colour, (cx, cy) in zip(self.colours, self.centres(index), strict=True):
            frame[:, (x - cx) ** 2 + (y - cy) ** 2 < 0.01] = colour[:, None]
        return torch.from_numpy(frame).to(self.device)

    def centres(self, index: int) -> np.ndarray:
        """[shapes, 2] (x, y), as parts of the picture."""
        return 0.5 + 0.38 * np.sin(self.speeds * index + self.phases)


# ---- one session ------------------------------------------------------------------------------


def small_model(options: argparse.Namespace) -> tuple[Any, str]:
    """(the small video model, what its weights are)."""
    from sam3.checkpoint import read_checkpoint
    from sam3.checkpoint.resolve import resolve_model
    from sam3.model_builder import build_sam3_image_model, build_sam3_video_model

    path, device = options.checkpoint or resolve_model(BUNDLED), torch.device(options.device)
    if options.part == "keep all":
        return build_ours(config_of("tiny", options.objects), None, device), "random"
    limit = {"max_num_objects": options.objects}
    if read_checkpoint(path).layout_details.tracker:
        return build_sam3_video_model(checkpoint_path=path, device=device, **limit), path.name
    model = build_ours(presets.SAM3_TINY_VIDEO, None, device, **limit)
    image = build_sam3_image_model(checkpoint_path=path, device=device)
    found = model.detector.load_state_dict(image.state_dict(), strict=False)
    assert not found.unexpected_keys and all("sam2_convs" in n for n in found.missing_keys)
    return model, f"{path.name} for detection, a random tracker"


def tracker_session(model: Any, frames: ShapeFrames, objects: int) -> tuple[Any, Iterator[Any]]:
    """(session, stream) of the tracker on its own, with a click on each disc."""
    tracker = model.tracker
    tracker.backbone = model.detector.backbone
    state = tracker.init_state(frames.side, frames.side, len(frames))
    state.images = frames
    for obj_id, centre in enumerate(frames.centres(0).tolist()[:objects]):
        tracker.add_new_points_or_box(state, 0, obj_id, points=[centre], labels=[1])
    stream = tracker.propagate_in_video(
        state, 0, None, False, tqdm_disable=True, propagate_preflight=True
    )
    return state, stream


def video_session(model: Any, frames: ShapeFrames) -> tuple[Any, Iterator[Any]]:
    """(session, stream) of the whole model."""
    from sam3.model.video.session import new_session

    size = (frames.side, frames.side)
    session = new_session(
        frames, size, frames.side, model.device, model._empty_metadata(), is_image_only=False
    )
    model.add_prompt(session, 0, text_str=PHRASE)
    return session, model.propagate_in_video(session, start_frame_idx=0)


def kept_of(part: str, session: Any) -> Any:
    """What a session keeps of finished frames: masks and scores."""
    if part == "tracker":
        return [session.archive, session.frames_already_tracked]
    archives = [kept_of("tracker", state) for state in session.tracker_inference_states]
    scores = session.tracker_metadata.obj_id_to_tracker_score_frame_wise
    return [session.cached_frame_outputs, scores, archives]


@torch.inference_mode()
def run_part(part: str, options: argparse.Namespace) -> dict[str, Any]:
    """Run one session and note its memory on the way."""
    device = torch.device(options.device)
    model, weights = small_model(options)
    frames = ShapeFrames(options.frames, model.image_size, options.objects, device)

    def open_one() -> tuple[Any, Iterator[Any]]:
        if part == "tracker":
            return tracker_session(model, frames, options.objects)
        return video_session(model, frames)

    session, stream = open_one()
    for _ in range(3):  # so that everything is imported
        next(stream)
    stream.close()
    session, stream = open_one()
    meter = Meter(device)
    found: dict[str, list[int]] = {"frames": [], "objects": [], "held": [], "kept": [], "other": []}
    for number, step in enumerate(stream):
        if number % EVERY and number != options.frames - 1:
            continue
        kept = deep_bytes(kept_of(part, session))
        shown = step[1] if part == "tracker" else step[1]["out_obj_ids"]
        now = (number, len(shown), meter.held(), kept, deep_bytes(session, frames) - kept)
        for notes, value in zip(found.values(), now, strict=True):
            notes.append(value)
    return {"part": part, "weights": weights, "peak_bytes": meter.peak(), **found}


def slope(row: dict[str, Any], what: str, first: int) -> float:
    """Bytes per frame: a line through the notes from frame ``first`` on."""
    chosen = [n for n in zip(row["frames"], row[what], strict=True) if n[0] >= first]
    return float(np.polyfit(*zip(*chosen, strict=True), 1)[0])


# ---- all of them, and the report --------------------------------------------------------------


def run_apart(part: str, argv: list[str]) -> dict[str, Any]:
    """One part in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.video_memory", *argv, "--part", part]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{part} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def report(data: dict[str, Any]) -> str:
    """The result as markdown."""
    first = data["from_frame"]
    lines = []
    for row in data["parts"]:
        begin, end = row["held"][row["frames"].index(first)], row["held"][-1]
        numbers = (np.mean(row["objects"]).item(), begin / 2**20, end / 2**20)
        slopes = (slope(row, what, first) for what in ("held", "kept", "other"))
        lines.append((row["part"], row["weights"], *numbers, *slopes))
    header = ("session", "weights", "objects shown", f"MiB at frame {first}", "MiB at the end")
    header += ("process B / frame", "kept masks B / frame", "other records B / frame")
    return "\n\n".join(
        [
            f"# Memory over {data['frames']} frames, small video model, {data['device']}",
            f"`{data['command']}`",
            "![memory over frames](video_memory.png)",
            "Memory is what the process wrote (or the device holds) beyond the model. The growth is"
            f" a line through all notes from frame {first} on, when the memory bank is full: of the"
            " process, of what the session keeps of finished frames (masks as compressed bits,"
            " their scores, and the records that hold them), and of everything else that can be"
            " reached from the session.",
            common.table(header, lines),
            common.machine_table(data["machine"]),
        ]
    )


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.video_memory",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--frames", type=int, default=2000)
    parser.add_argument("--objects", type=int, default=3)
    parser.add_argument("--device", default=None, help="cpu, cuda ...; default: CUDA if present")
    parser.add_argument("--checkpoint", type=Path, help="weights; default: the bundled ones")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "reports")
    options = parser.parse_args(argv)
    if options.frames < 100 or options.objects < 1:
        parser.error("--frames must be at least 100, --objects at least 1")
    if options.checkpoint is not None and not options.checkpoint.is_file():
        parser.error(f"--checkpoint {options.checkpoint}: there is no such file")
    options.device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    return options


def write(parts: list[dict[str, Any]], options: argparse.Namespace, argv: list[str]) -> list[Path]:
    """Write report, numbers and plot of all parts."""
    data = {
        "command": " ".join(["python -m benchmarks.video_memory", *argv]),
        "frames": options.frames,
        "from_frame": int(SETTLED * options.frames) // EVERY * EVERY,
        "device": options.device,
        "machine": common.machine(),
        "parts": parts,
    }
    most = max(parts, key=lambda row: row["kept"][-1])
    lines = [(row["part"], row["frames"], row["held"]) for row in parts]
    lines.append((f"kept masks of {most['part']!r}", most["frames"], most["kept"]))
    series = [(name, frames, [size / 2**20 for size in sizes]) for name, frames, sizes in lines]
    title = f"Memory beyond the model, {options.objects} objects"
    plot = draw_lines(options.out / "video_memory.png", series, title, "frame", "MiB")
    text = report(data)
    print(text)
    return [*common.write_results(options.out, "video_memory", data, text), plot]


def main(argv: list[str] | None = None) -> int:
    """Run the sessions and write what they give; 0 when all of them ran."""
    argv = sys.argv[1:] if argv is None else argv
    options = parse(argv)
    if options.part:
        print(json.dumps(run_part(options.part, options)))
        return 0
    with ThreadPoolExecutor(len(PARTS)) as pool:  # at once: memory does not depend on time
        parts = list(pool.map(lambda part: run_apart(part, argv), PARTS))
    print("written:", ", ".join(map(str, write(parts, options, argv))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
