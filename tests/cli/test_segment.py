"""``segment`` end to end around a stand-in model: files, streams, exit codes, resume."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sam3.perflib.rle import decode_rle

Draw = Callable[..., Path]


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_one_picture_gives_four_files_with_the_right_content(shell: Any, draw: Draw) -> None:
    picture = draw()
    assert shell(picture_args := "segment", picture, "red square") == 0, picture_args
    names = {p.name for p in Path("outputs").iterdir()}
    assert names == {"a_cutout.png", "a_mask.png", "a_overlay.png", "a.json"}

    expected = np.zeros((40, 60), dtype=bool)
    expected[5:15, 10:20] = True
    mask = pixels(Path("outputs/a_mask.png"))
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, expected * 255)
    cutout = pixels(Path("outputs/a_cutout.png"))
    np.testing.assert_array_equal(cutout[..., :3], pixels(picture))
    np.testing.assert_array_equal(cutout[..., 3], expected * 255)
    overlay = pixels(Path("outputs/a_overlay.png"))
    assert overlay.shape == (40 * 9, 60 * 9, 3)
    changed = (overlay != pixels(picture).repeat(9, 0).repeat(9, 1)).any(axis=2)
    assert changed[6 * 9 : 14 * 9, 11 * 9 : 19 * 9].all()
    assert not changed[20 * 9 :, 30 * 9 :].any()

    record = read(Path("outputs/a.json"))
    assert (record["width"], record["height"], record["complete"]) == (60, 40, True)
    [instance] = record["instances"]
    assert instance["phrase"] == "red square"
    assert instance["score"] == pytest.approx(0.9)
    assert instance["box"] == [10, 5, 20, 15]
    assert instance["area"] == 100
    np.testing.assert_array_equal(decode_rle(instance["segmentation"]), expected)
    path, number, score, file = shell.out.strip().split("\t")
    assert (path, number, score) == (str(picture), "1", "0.9000")
    assert Path(file) == Path("outputs/a.json")


def test_several_phrases_are_found_separately_and_united(shell: Any, draw: Draw) -> None:
    assert shell("segment", draw(), "-p", "red thing", "-p", "blue thing, green thing") == 0
    record = read(Path("outputs/a.json"))
    assert [i["phrase"] for i in record["instances"]] == ["red thing", "blue thing"]
    assert pixels(Path("outputs/a_mask.png")).astype(bool).sum() == 200
    assert [c for c in shell.processors[0].calls if c[0] == "image"] == [("image", (60, 40))]


def test_mask_is_offset_blurred_and_inverted_and_color_background(shell: Any, draw: Draw) -> None:
    arguments = ["--offset", "2", "--invert", "--background", "color"]
    picture = draw()
    assert shell("segment", picture, "red", *arguments, "--background-color", "#00ff00") == 0
    mask = pixels(Path("outputs/a_mask.png"))
    assert (mask == 0).sum() == 14 * 14
    cutout = pixels(Path("outputs/a_cutout.png"))
    assert cutout.shape == (40, 60, 3)
    assert (cutout[mask == 0] == (0, 255, 0)).all()
    np.testing.assert_array_equal(cutout[mask == 255], pixels(picture)[mask == 255])
    assert shell("segment", picture, "red", "--blur", "2") == 0
    values = np.unique(pixels(Path("outputs/a_mask.png")))
    assert values.size > 5


def test_nothing_found_is_no_failure_and_said_with_the_best_score(shell: Any, draw: Draw) -> None:
    assert shell("segment", draw(), "red", "--confidence", "0.95") == 0
    assert read(Path("outputs/a.json"))["instances"] == []
    assert "nothing above 0.95; the best score was 0.9000 for 'red'" in shell.err
    assert not pixels(Path("outputs/a_mask.png")).any()
    assert shell("segment", draw(), "red", "--confidence", "0.95", "--invert") == 0
    assert (pixels(Path("outputs/a_mask.png")) == 255).all()


def test_boxes_and_points_reach_the_model_in_parts_of_the_picture(shell: Any, draw: Draw) -> None:
    picture = draw()
    arguments = ["--box", "10,5,20,15", "--negative-box", "40,5,50,15", "--point", "15,10"]
    assert shell("segment", picture, *arguments, "--negative-point", "45,10") == 0
    calls = [c for c in shell.processors[-1].calls if c[0] in ("box", "point")]
    assert calls == [
        ("box", ([0.25, 0.25, 0.1667, 0.25], True)),
        ("box", ([0.75, 0.25, 0.1667, 0.25], False)),
        ("point", ([0.25, 0.25], True)),
        ("point", ([0.75, 0.25], False)),
    ]
    normalized = ["--units", "normalized", "--box", "0.5,0.25,1,0.75", "--point", "0.1,0.9"]
    assert shell("segment", picture, "red", *normalized) == 0
    calls = [c for c in shell.processors[-1].calls if c[0] in ("box", "point")]
    assert calls == [("box", ([0.75, 0.5, 0.5, 0.5], True)), ("point", ([0.1, 0.9], True))]


def test_one_bad_file_is_reported_and_the_rest_is_done(shell: Any, draw: Draw) -> None:
    Path("bad.png").write_bytes(b"\x89PNG\r\n\x1a\nnot really")
    Path("text.jpg").write_text("<html>", encoding="utf-8")
    good = [draw("a.png"), draw("b.png")]
    assert shell("segment", good[0], "bad.png", "text.jpg", "missing.png", good[1], "red") == 1
    assert len(shell.out.strip().splitlines()) == 2
    for name in ("bad.png", "text.jpg", "missing.png: no such file"):
        assert name in shell.err
    assert "2 done, 0 skipped, 3 failed" in shell.err
    assert not list(Path("outputs").glob("bad*"))
    assert Path("outputs/b.json").exists()


def test_json_summary_is_one_object_on_the_standard_output(shell: Any, draw: Draw) -> None:
    assert shell("segment", draw(), "missing.png", "red", "--json") == 1
    summary = json.loads(shell.out)
    assert (summary["done"], summary["failed"], summary["skipped"]) == (1, 1, 0)
    done, failed = summary["pictures"]
    assert done["instances"] == 1
    assert all(Path(p).is_file() for p in done["files"].values())
    assert failed == {"picture": "missing.png", "status": "failed", "error": "no such file"}


def test_resume_skips_what_is_done_with_the_same_settings(shell: Any, draw: Draw) -> None:
    first, second = draw("a.png"), draw("b.png")
    assert shell("segment", first, "red") == 0
    stamp = Path("outputs/a_mask.png").stat().st_mtime_ns
    assert shell("segment", first, second, "red", "--resume") == 0
    assert "1 done, 1 skipped, 0 failed" in shell.err
    assert Path("outputs/a_mask.png").stat().st_mtime_ns == stamp
    assert len(shell.out.strip().splitlines()) == 2
    loaded = len(shell.processors)
    assert shell("segment", first, second, "red", "--resume") == 0
    assert "2 skipped" in shell.err
    assert len(shell.processors) == loaded, "the model was loaded for nothing"


@pytest.mark.parametrize("change", ["prompt", "setting", "picture", "output", "record", "weights"])
def test_resume_does_again_what_changed(shell: Any, draw: Draw, change: str) -> None:
    picture = draw()
    assert shell("segment", picture, "red") == 0
    prompt, extra = "red", []
    if change == "prompt":
        prompt = "blue"
    elif change == "setting":
        extra = ["--offset", "1"]
    elif change == "picture":
        os.utime(picture, ns=(1, 1))
    elif change == "output":
        Path("outputs/a_overlay.png").unlink()
    elif change == "record":
        record = Path("outputs/a.json")
        record.write_text(record.read_text()[:-20])
    else:
        os.utime("models/sam3/sam3.pt", ns=(1, 1))
    assert shell("segment", picture, prompt, "--resume", *extra) == 0
    assert "1 done, 0 skipped" in shell.err
    assert read(Path("outputs/a.json"))["complete"] is True


def test_a_failing_write_leaves_nothing_half_done(
    shell: Any, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sam3.cli import outputs

    picture = draw()
    assert shell("segment", picture, "red") == 0
    real = os.replace

    def full_disk(source: Any, target: Any) -> None:
        if str(target).endswith("_overlay.png"):
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr(outputs.os, "replace", full_disk)
    assert shell("segment", picture, "blue") == 1
    assert "No space left" in shell.err
    assert not Path("outputs/a.json").exists(), "the old record vouches for new images"
    assert not list(Path("outputs").glob("*.partial")) + list(Path("outputs").glob(".*"))


def test_pictures_of_one_name_never_overwrite_each_other(shell: Any, draw: Draw) -> None:
    arguments = [draw("x/a.png"), draw("y/a.png"), draw("y/a.bmp"), draw("z/A.png"), draw("b.png")]
    assert shell("segment", *arguments, "red", "--json") == 0
    files = [f for p in json.loads(shell.out)["pictures"] for f in p["files"].values()]
    assert len({f.lower() for f in files}) == 5 * 4
    assert Path("outputs/b.json").exists()


def test_an_input_picture_is_never_overwritten(shell: Any, draw: Draw) -> None:
    draw("a.png")
    inside = draw("a_mask.png")
    before = inside.read_bytes()
    assert shell("segment", "a.png", "a_mask.png", "red", "--output", ".") == 1
    assert "would overwrite an input picture" in shell.err
    assert inside.read_bytes() == before


def test_folders_globs_and_recursion(shell: Any, draw: Draw) -> None:
    for name in ("in/a.png", "in/b.jpg", "in/deep/c.png"):
        draw(name)
    Path("in/notes.txt").write_text("no picture", encoding="utf-8")
    assert shell("segment", "in", "red", "--json") == 0
    assert json.loads(shell.out)["done"] == 2
    assert shell("segment", "in", "red", "--recursive", "--json", "-o", "in/out") == 0
    assert json.loads(shell.out)["done"] == 3
    assert Path("in/out/deep/c.json").exists()
    # The second run must not take the first one's results for pictures.
    assert shell("segment", "in", "red", "--recursive", "--json", "-o", "in/out") == 0
    assert json.loads(shell.out)["done"] == 3
    assert shell("segment", "in/**/*.png", "red", "--json") == 0
    done = [Path(p["picture"]).name for p in json.loads(shell.out)["pictures"]]
    assert sorted(n for n in done if "_" not in n) == ["a.png", "c.png"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["empty", "red"], "the folder holds no picture"),
        (["no*such.png", "red"], "the pattern matches no file"),
    ],
)
def test_places_without_pictures_fail(shell: Any, arguments: list[str], message: str) -> None:
    Path("empty").mkdir()
    assert shell("segment", *arguments) == 1
    assert message in shell.err


def test_options_may_stand_between_the_pictures(shell: Any, draw: Draw) -> None:
    first, second = draw("a.png"), draw("b.png")
    assert shell("segment", first, "--confidence", "0.3", second, "-o", "res", "red") == 0
    assert Path("res/a.json").exists()
    assert Path("res/b.json").exists()


def test_quiet_says_nothing_but_errors(shell: Any, draw: Draw) -> None:
    assert shell("segment", draw(), "red", "--quiet") == 0
    assert shell.err == ""
    assert shell.out
