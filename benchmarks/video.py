"""Times and memory of the video model beside transformers', same weights, same run.

    python -m benchmarks.video                      # tiny sizes
    python -m benchmarks.video --size full --device cuda
    python -m benchmarks.video --size full --checkpoint sam3.pt --device cuda

Measured at 1, 4, 16 and 64 objects, per frame, the two models in turns (A B A B):

* *tracker*: ``Sam3TrackerPredictor`` beside ``Sam3TrackerVideoModel`` from clicks on frame 0, with
  the picture's features given;
* *video*: detection and tracking of a phrase, beside ``Sam3VideoModel``, from pixels to masks. The
  rules let every detection become an object up to the number asked for, so that it is exact;
* memory over the frames, each model in a fresh process;
* *decode*: frames of a 1280 x 720 video made ready for the model.

Without ``--checkpoint`` both get the same seeded random weights; times do not depend on them.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from . import common, peer_video, video_models
from .video_decode import has_torchcodec, measure_decoding

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("tracker", "video")
Rows = list[dict[str, Any]]
_log = logging.getLogger("benchmarks.video")


# ---- measuring --------------------------------------------------------------------------------


def streams_of(
    part: str, objects: int, ours: Any, theirs: Any, options: argparse.Namespace
) -> dict[str, Iterator[Any]]:
    """Both sides' streams of frames, at their first frame; theirs: None without the peer."""
    frames = options.frames + options.warmup
    pixels = video_models.MovingFrames(frames, ours.image_size, options.device).all()
    found: dict[str, Iterator[Any]] = {}
    if part == "tracker":
        features = video_models.our_features(ours, pixels)
        found["ours"] = video_models.our_tracker(ours, pixels, objects, features)
        if theirs is not None:
            session = video_models.their_features(theirs, pixels)
            found["peer"] = video_models.their_tracker(session, objects)
        return found
    video_models.limit_objects(ours, theirs, objects)
    found["ours"] = video_models.our_video(ours, pixels)
    if theirs is not None:
        tokens = video_models.phrase_tokens(ours)
        found["peer"] = video_models.their_video(theirs, pixels, tokens)
    return found


@torch.inference_mode()
def measure_frames(
    part: str, objects: int, ours: Any, theirs: Any, options: argparse.Namespace
) -> dict[str, Any]:
    """Times of ``options.frames`` frames after ``options.warmup`` others, the sides in turns."""
    streams = streams_of(part, objects, ours, theirs, options)
    actions: dict[str, Callable[[], Any]] = {
        name: lambda stream=stream: next(stream) for name, stream in streams.items()
    }
    times = common.time_alternating(
        actions, torch.device(options.device), options.frames, options.warmup, options.processor
    )
    row = {"part": part, "objects": objects} | {k: common.summary(t) for k, t in times.items()}
    _log.info("%s, %d objects: %s", part, objects, {k: row[k]["median_ms"] for k in streams})
    return row


def measure_times(options: argparse.Namespace) -> Rows:
    """Every part at every number of objects; each model is built once."""
    device = torch.device(options.device)
    config = video_models.config_of(options.size, max(options.objects))
    ours = video_models.build_ours(config, options.checkpoint, device)
    builders = {"tracker": peer_video.build_tracker_peer, "video": peer_video.build_video_peer}
    rows = []
    for part in options.parts:
        theirs = None if options.no_peer else builders[part](config, ours.state_dict(), device)
        rows += [measure_frames(part, n, ours, theirs, options) for n in options.objects]
    return rows


def measure_memory(part: str, objects: int, options: argparse.Namespace) -> Rows:
    """Bytes over the same number of frames, each side in a fresh process."""
    rows = []
    for side in ("ours",) if options.no_peer else ("ours", "peer"):
        command = [sys.executable, "-m", "benchmarks.video_once", part, side, str(objects)]
        command += [str(options.frames + options.warmup), options.size, options.device]
        command += [str(options.checkpoint)] if options.checkpoint else []
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        _log.info("%s %s, %d objects: peak %d", part, side, objects, rows[-1]["peak_bytes"])
    return rows


# ---- report -----------------------------------------------------------------------------------


def frame_table(rows: Rows) -> str:
    """Medians per frame, their ratio, and ours per object."""
    lines = []
    for row in rows:
        ours, theirs = row["ours"]["median_ms"], row.get("peer", {}).get("median_ms")
        ratio = ours / theirs if theirs else None
        lines.append((row["part"], row["objects"], ours, theirs, ratio, ours / row["objects"]))
    header = ("part", "objects", "ours ms", "peer ms", "ratio", "ours ms / object")
    return common.table(header, lines)


def memory_table(rows: Rows) -> str:
    """Peaks over the frames, beyond the model."""
    found = {(r["part"], r["objects"], r["side"]): r["peak_bytes"] / 2**20 for r in rows}
    lines = []
    for part, objects in dict.fromkeys((r["part"], r["objects"]) for r in rows):
        ours, theirs = (found.get((part, objects, side)) for side in ("ours", "peer"))
        lines.append((part, objects, ours, theirs))
    return common.table(("part", "objects", "ours peak MiB", "peer peak MiB"), lines)


def decode_table(rows: Rows) -> str:
    """Medians per frame."""
    lines = [
        (row["source"], row["ours"]["median_ms"], row.get("peer", {}).get("median_ms"))
        for row in rows
    ]
    return common.table(("source", "ours ms / frame", "peer ms / frame"), lines)


def report(data: dict[str, Any]) -> str:
    """The whole result as markdown."""
    parts = [
        f"# Video model, {data['size']} size, {data['device']}",
        f"`{data['command']}`, weights: {data['weights']}; medians of {data['frames']} frames"
        f" after {data['warmup']}, by {data['clock']}. A ratio below 1 means ours is faster.",
        *data["notes"],
        common.machine_table(data["machine"]),
        frame_table(data["times"]),
        memory_table(data["memory"]) if data["memory"] else "",
        decode_table(data["decoding"]),
    ]
    return "\n\n".join(part for part in parts if part)


# ---- command line -----------------------------------------------------------------------------


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.video",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--size", choices=("full", "tiny"), default="tiny")
    parser.add_argument("--device", default=None, help="cpu, cuda ...; default: CUDA if present")
    parser.add_argument("--objects", nargs="+", type=int, default=[1, 4, 16, 64])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--frames", type=int, default=10, help="measured frames")
    parser.add_argument("--warmup", type=int, default=17, help="frames before; fill the memory")
    parser.add_argument("--checkpoint", type=Path, help="weights; default: random ones")
    parser.add_argument("--threads", type=int, help="CPU threads of torch")
    parser.add_argument("--processor", action="store_true", help="measure processor time on a CPU")
    parser.add_argument("--no-peer", action="store_true", help="leave transformers out")
    parser.add_argument("--no-memory", action="store_true", help="leave memory out")
    parser.add_argument("--out", type=Path, default=ROOT / "outputs" / "benchmarks")
    options = parser.parse_args(argv)
    if min(options.objects) < 1 or options.frames < 1 or options.warmup < 1:
        parser.error("--objects, --frames and --warmup must be at least 1")
    if options.checkpoint is not None and not options.checkpoint.is_file():
        parser.error(f"--checkpoint {options.checkpoint}: there is no such file")
    options.device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    return options


def main(argv: list[str] | None = None) -> int:
    """Measure, print the tables, write them; 0 when all was measured."""
    argv = sys.argv[1:] if argv is None else argv
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options = parse(argv)
    if options.threads:
        torch.set_num_threads(options.threads)
    notes = []
    reason = "left out by --no-peer" if options.no_peer else peer_video.missing_video_peer()
    if reason:
        options.no_peer = True
        notes.append(f"Peer not measured: {reason}.")
    else:
        peer_video.silence_peer()
    if not has_torchcodec():
        notes.append("torchcodec not measured: it is not installed.")
    times = measure_times(options)
    memory: Rows = []
    wanted = [(part, objects) for part in options.parts for objects in options.objects]
    for part, objects in [] if options.no_memory else wanted:
        memory += measure_memory(part, objects, options)
    side = video_models.config_of(options.size, 1).image.vision.img_size
    with tempfile.TemporaryDirectory(prefix="sam3-benchmark-") as folder:
        decoding = measure_decoding(
            Path(folder), side, 24, with_peer=not options.no_peer, processor=options.processor
        )
    data = {
        "command": " ".join(["python -m benchmarks.video", *argv]),
        "size": options.size,
        "device": options.device,
        "weights": options.checkpoint.name if options.checkpoint else "random, seeded",
        "frames": options.frames,
        "warmup": options.warmup,
        "clock": "processor time" if options.processor else "the clock",
        "notes": notes,
        "machine": common.machine(),
        "times": times,
        "memory": memory,
        "decoding": decoding,
    }
    text = report(data)
    name = f"video-{options.size}-{torch.device(options.device).type}"
    files = common.write_results(options.out, name, data, text)
    print(text)
    print("written:", ", ".join(str(f) for f in files))
    return 0


if __name__ == "__main__":
    sys.exit(main())
