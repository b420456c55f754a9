"""Two processes over gloo write the files and report the metrics of one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from sam3.eval.collect import Entry, merge
from tests.support.eval_batches import EvaluateShare, dump_images, dump_videos, in_group


@pytest.mark.skipif(not torch.distributed.is_available(), reason="no torch.distributed")
def test_two_processes_give_the_files_of_one(tmp_path: Path) -> None:
    pair, single = tmp_path / "pair", tmp_path / "single"
    pair.mkdir()
    torch.multiprocessing.spawn(
        in_group, (2, str(tmp_path / "rendezvous"), EvaluateShare(pair), str(pair)), nprocs=2
    )
    everything = [1, 2, 3, 4, 5]
    wanted = []
    for kind in ("bbox", "segm"):
        metrics = dump_images(single / kind, everything, kind, by_files=False)
        assert metrics == {"rows": 25.0}  # five of eight, the limit of a picture
        text = (single / kind / f"coco_predictions_{kind}.json").read_text()
        for files in (False, True):
            folder = pair / f"{kind}_{files}"
            assert [p.name for p in folder.iterdir()] == [f"coco_predictions_{kind}.json"]
            assert (folder / f"coco_predictions_{kind}.json").read_text() == text
            wanted.append(metrics)
    metrics = dump_videos(single, everything, by_files=False)
    for files in (False, True):
        text = (single / "preds.json").read_text()
        assert (pair / f"v_{files}" / "preds.json").read_text() == text
        wanted.append(metrics)
    for rank in (0, 1):
        assert json.loads((pair / f"result_{rank}.json").read_text()) == wanted
        assert (pair / f"heard_{rank}").read_text() == "broken evaluator"


def test_merging_drops_only_what_was_answered_before() -> None:
    def entry(source: int, *categories: int) -> Entry:
        return Entry(source, tuple((source, c) for c in categories), [])

    first, again, more, other = entry(5, 1, 2), entry(5, 1, 2), entry(5, 3), entry(2, 1)
    assert merge([first, again, more, other]) == [other, first, more]
