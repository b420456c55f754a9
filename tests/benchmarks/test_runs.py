"""Both benchmark commands from end to end at tiny size on the CPU."""

from __future__ import annotations

import json

import pytest

from benchmarks import cuda, image, peer

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
