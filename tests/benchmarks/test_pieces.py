"""The measuring tools themselves: turns, tables, gates, stages."""

from __future__ import annotations

import json

import pytest
import torch

from benchmarks import common, cuda, cuda_parity, image
from benchmarks.cuda_speed import FLOORS_MS, compile_parts, restore_parts
from benchmarks.stages import Staged
from sam3.model_builder import assemble_image_model

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def tiny():
    config = common.config_of("tiny")
    model = assemble_image_model(config)
    model.load_state_dict(common.random_state(config), strict=True)
    return model.eval()


@pytest.fixture(scope="module")
def staged(tiny):
    with torch.inference_mode():
        return Staged(tiny, common.random_pixels(tiny.config), common.PROMPTS[:2], with_box=True)


def test_models_take_turns():
    order = []
    actions = {"a": lambda: order.append("a"), "b": lambda: order.append("b")}
    times = common.time_alternating(actions, CPU, repeats=2, warmup=1)
    assert order == list("ababab")
    assert {name: len(t) for name, t in times.items()} == {"a": 2, "b": 2}


def test_table_cells():
    text = common.table(("a", "b"), [(1.23456, None), (True, False), (12345.6, "x")])
    assert text.splitlines()[2:] == ["| 1.23 | – |", "| yes | NO |", "| 12346 | x |"]


def test_results_replace_older_ones(tmp_path):
    for number in (1, 2):
        written = common.write_results(tmp_path / "new", "x", {"n": number}, f"text {number}")
    assert json.loads(written[0].read_text()) == {"n": 2}
    assert written[1].read_text() == "text 2\n"
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["x.json", "x.md"]


@pytest.mark.parametrize(
    ("value", "limit", "at_least", "passed"),
    [(0.9991, 0.999, True, True), (0.9989, 0.999, True, False), (0.0, 0.0, False, True)]
    + [(2.0, 1.0, False, False), (float("nan"), 0.999, True, False)],
)
def test_gate(value, limit, at_least, passed):
    assert cuda_parity.gate("x", value, limit, at_least)["passed"] is passed


@torch.inference_mode()
def test_a_model_agrees_with_itself_and_not_with_a_changed_one(tiny, staged):
    again = Staged(tiny, staged.pixels, common.PROMPTS[:2], with_box=True)
    same = cuda_parity.compare_precisions(staged, again, "x")
    assert all(row["passed"] for row in same) and len(same) == 15
    weight = tiny.backbone.vision_backbone.trunk.blocks[0].mlp.fc1.weight
    kept = weight.clone()
    weight.mul_(1.5)
    try:
        changed = Staged(tiny, staged.pixels, common.PROMPTS[:2], with_box=True)
        rows = {r["check"]: r for r in cuda_parity.compare_precisions(staged, changed, "x")}
    finally:
        weight.copy_(kept)
    assert not rows["x cosine, trunk"]["passed"]
    assert rows["x cosine, text"]["passed"]


@torch.inference_mode()
def test_masks_of_untrained_weights_are_reported_but_not_judged(staged):
    rows = cuda_parity.compare_precisions(staged, staged, "x", trained=False)
    open_ones = [r["check"] for r in rows if r["passed"] is None]
    assert len(open_ones) == 3 and all("mask" in c or "box" in c for c in open_ones)
    assert all(isinstance(r["value"], float) for r in rows)


@torch.inference_mode()
def test_stages_give_what_the_model_gives(staged):
    whole = staged.whole()
    for key in ("pred_logits", "pred_boxes", "pred_masks", "presence_logit_dec"):
        assert torch.equal(whole[key], staged.out[key]), key
    actions = staged.actions()
    assert set(actions) == set(FLOORS_MS)
    for action in actions.values():
        action()


@torch.inference_mode()
def test_compiled_parts_are_restored(tiny, staged):
    expected = staged.trunk
    parts = compile_parts(tiny, "default", "eager")
    assert "forward" in vars(tiny.backbone.vision_backbone.trunk) and len(parts) == 3
    restore_parts(tiny)
    assert not any("forward" in vars(m) for m in tiny.modules())
    trunk = tiny.backbone.vision_backbone.trunk
    assert torch.equal(trunk(staged.pixels)[-1], expected)


def test_mask_functions_pass_their_own_checks():
    checks, times = cuda_parity.compare_kernels(CPU, (5,), 16)
    assert len(checks) >= 2 and all(c["passed"] for c in checks)
    assert all(t["ms"] > 0 for t in times)
    masks = cuda_parity.random_masks(5, 16)
    assert masks.any(dim=(1, 2)).all() and not masks.all()


def test_a_failing_part_is_reported_and_the_rest_goes_on(tmp_path):
    options = cuda.parse(["--dry-run"])
    session = cuda.Session(CPU, tmp_path, options)

    def broken() -> None:
        raise RuntimeError("no such kernel\nmore")

    session.attempt("part", 0, broken)
    session.attempt("late", 1e9, broken)
    assert session.found["checks"][0]["passed"] is False
    assert session.found["notes"][0] == "part: FAILED: RuntimeError: no such kernel"
    assert session.found["notes"][1].startswith("late: left out")


@pytest.mark.parametrize(
    ("parse", "arguments"),
    [
        (image.parse, ["--checkpoint", "absent.safetensors"]),
        (image.parse, ["--repeats", "0"]),
        (cuda.parse, ["--checkpoint", "absent.safetensors"]),
    ],
)
def test_wrong_options(parse, arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        parse(arguments)
    assert stop.value.code == 2
    assert arguments[0] in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_cuda_nothing_is_measured(tmp_path):
    assert cuda.main(["--out", str(tmp_path)]) == 2
    assert not list(tmp_path.iterdir())
