"""``finetune``: the words of its command line, wrong use, and one run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from sam3.checkpoint import save_checkpoint
from sam3.cli import parse
from sam3.cli.finetune_options import read_settings, recipe_changes
from sam3.train.finetune.recipe import RELEASED, TINY
from tests.support.datasets import coco_annotations, write_pictures

from .conftest import Shell


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = write_pictures(tmp_path / "set")
    (folder / "labels.json").write_text(json.dumps(coco_annotations()))
    return folder


def parsed(*words: str):
    return parse(["finetune", "--data", "d", "--checkpoint", "c.pt", "-o", "out", *words])


def test_options_become_settings() -> None:
    arguments = parsed(
        *("--prompts", "cat=tabby cat", "dog=poodle", "--bad-data", "skip", "--device", "auto"),
        *("--precision", "bf16", "--seed", "4", "--hold-out", "0.3", "--resume"),
    )
    settings = read_settings(arguments, Path("c.pt"))
    assert settings.data.prompts == {"cat": "tabby cat", "dog": "poodle"}
    assert settings.data.bad_data == "skip" and settings.data.seed == 4
    assert settings.device is None and settings.precision == "bf16" and settings.resume


def test_options_change_the_recipe_and_leave_the_rest() -> None:
    arguments = parsed(
        *("--minutes", "2", "--batch-size", "3", "--lr-scale", "0.5", "--lora", "8"),
        *("--freeze", "trunk", "text", "--degrees", "90"),
    )
    recipe = recipe_changes(arguments)(RELEASED)
    assert (recipe.minutes, recipe.epochs, recipe.batch_size) == (2.0, None, 3)
    assert recipe.lr == RELEASED.lr / 2 and recipe.lora_rank == 8
    assert recipe.frozen == ("trunk", "text") and recipe.changes.degrees == 90
    assert recipe.clip == RELEASED.clip and recipe.changes.flip == RELEASED.changes.flip
    assert recipe_changes(parsed())(TINY) == TINY


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--prompts", "cat"], "NAME=PHRASE"),
        (["--steps", "0"], "whole number"),
        (["--minutes", "-1"], "above 0"),
        (["--hold-out", "2"], "from 0 to 1"),
        (["--steps", "3", "--epochs", "2"], "not allowed with"),
        (["--bad-data", "ignore"], "invalid choice"),
    ],
)
def test_wrong_words_are_explained(shell: Shell, words: list[str], message: str) -> None:
    code = shell("finetune", "--data", "d", "--checkpoint", "c.pt", "-o", "out", *words)
    assert code == 2 and message in shell.err


def test_missing_data_and_checkpoints_are_told(shell: Shell, data: Path, tmp_path: Path) -> None:
    def run(*words: object) -> int:
        return shell("finetune", "-o", tmp_path / "out", *words)

    assert run("--data", tmp_path / "nowhere", "--checkpoint", "sam3-tiny") == 2
    assert "no file or folder" in shell.err
    assert run("--data", data, "--checkpoint", "nowhere.pt") == 2
    assert "There is no model 'nowhere.pt'" in shell.err
    junk = tmp_path / "junk.safetensors"
    junk.write_bytes(b"junk")
    assert run("--data", data, "--checkpoint", junk) == 3
    assert "cannot be fine-tuned" in shell.err
    video = save_checkpoint({"tracker.a": torch.zeros(2)}, tmp_path / "video.safetensors")
    assert run("--data", data, "--checkpoint", video) == 3
    assert "only a tracker" in shell.err
    assert run("--data", data, "--checkpoint", "sam3-tiny", "--freeze", "tail") == 2
    assert "unknown parts tail; there are trunk" in shell.err
    assert run("--data", data, "--checkpoint", "sam3-tiny", "--device", "warp") == 4
    assert "warp" in shell.err and not (tmp_path / "out" / "model.safetensors").exists()


def test_bad_data_are_listed_before_anything_else(shell: Shell, data: Path, tmp_path: Path) -> None:
    content = coco_annotations()
    content["annotations"][1]["bbox"] = [90, 90, 5, 5]
    (data / "labels.json").write_text(json.dumps(content))
    (data / "p0.png").unlink()
    code = shell("finetune", "--data", data, "--checkpoint", "sam3-tiny", "-o", tmp_path / "out")
    assert code == 2
    for part in ("labels.json", "image 1", "p0.png", "annotation 101", "outside"):
        assert part in shell.err


def test_one_run_prints_what_changed(shell: Shell, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code = shell(
        *("finetune", "--data", data, "--checkpoint", "sam3-tiny", "-o", out),
        *("--steps", "1", "--batch-size", "2", "--device", "cpu", "-q"),
    )
    assert code == 0, shell.err
    lines = shell.out.splitlines()
    assert lines[0] == "validation\tbefore\tafter" and lines[-1] == str(out / "model.safetensors")
    assert any(line.startswith("mask AP@50\t") for line in lines)
    assert (out / "report.md").exists() and Path(lines[-1]).stat().st_size > 4_000_000
