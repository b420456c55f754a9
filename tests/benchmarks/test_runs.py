"""The benchmark commands from end to end at tiny size on the CPU."""

from __future__ import annotations

import json

import pytest

from benchmarks import cuda, image, peer, peer_video, video, video_memory

pytestmark = pytest.mark.slow


def test_cuda_dry_run(tmp_path):
    assert cuda.main(["--dry-run", "--out", str(tmp_path)]) == 0
    data = json.loads((tmp_path / "cuda-dry-run.json").read_text())
    found = data["found"]
    judged = [c for c in found["checks"] if c["passed"] is not None]
    assert len(judged) > 20 and all(c["passed"] for c in judged)
    kinds = {row["kind"] for row in found["stages"]}
    assert any(kind.startswith("compiled default") for kind in kinds) and "eager" in kinds
    assert {row["precision"] for row in found["stages"]} == {"fp32", "bf16"}
    text = (tmp_path / "cuda-dry-run.md").read_text()
    assert cuda.DRY_RUN in text and "x floor" in text


@pytest.mark.parametrize("with_peer", [True, False])
def test_image_benchmark(with_peer, tmp_path):
    reason = peer.missing_peer()
    if with_peer and reason:
        pytest.skip(reason)
    options = ["--device", "cpu", "--repeats", "1", "--load-repeats", "1", "--out", str(tmp_path)]
    assert image.main(options + ([] if with_peer else ["--no-peer"])) == 0
    data = json.loads((tmp_path / "image-tiny-cpu.json").read_text())
    sides = {"ours", "peer"} if with_peer else {"ours"}
    assert {row["side"] for row in data["loads"]} == sides
    timed = [row for row in data["steps"] if row["step"].startswith("picture")]
    assert len(timed) >= 2 and all(sides <= row.keys() for row in timed)
    assert all(row["ours"]["median_ms"] > 0 for row in data["steps"])


@pytest.mark.parametrize("with_peer", [True, False])
def test_video_benchmark(with_peer, tmp_path):
    reason = peer_video.missing_video_peer()
    if with_peer and reason:
        pytest.skip(reason)
    options = ["--device", "cpu", "--objects", "2", "--frames", "2", "--warmup", "1"]
    options += ["--out", str(tmp_path)] + ([] if with_peer else ["--no-peer"])
    assert video.main(options) == 0
    data = json.loads((tmp_path / "video-tiny-cpu.json").read_text())
    sides = {"ours", "peer"} if with_peer else {"ours"}
    assert [(r["part"], r["objects"]) for r in data["times"]] == [("tracker", 2), ("video", 2)]
    assert all(row[side]["median_ms"] > 0 for row in data["times"] for side in sides)
    assert [r["side"] for r in data["memory"]] == sorted(sides) * 2
    assert all(len(row["held_bytes"]) == 3 for row in data["memory"])
    assert {"MP4, PyAV", "JPEG folder"} <= {row["source"] for row in data["decoding"]}
    assert "| tracker | 2 |" in (tmp_path / "video-tiny-cpu.md").read_text()


def test_memory_benchmark(tmp_path):
    options = ["--frames", "100", "--objects", "2", "--device", "cpu", "--out", str(tmp_path)]
    assert video_memory.main(options) == 0
    data = json.loads((tmp_path / "video_memory.json").read_text())
    assert [row["part"] for row in data["parts"]] == list(video_memory.PARTS)
    for row in data["parts"]:
        assert row["frames"] == [*range(0, 100, 10), 99]
        assert row["kept"][-1] > row["kept"][0] > 0 and min(row["other"]) > 0
    assert {p.suffix for p in tmp_path.iterdir()} == {".json", ".md", ".png"}
