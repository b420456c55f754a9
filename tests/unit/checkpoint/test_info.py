"""``describe`` says what a file is without reading its weights."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from sam3.checkpoint import describe, save_checkpoint, to_huggingface
from sam3.errors import CheckpointFormatError


def numbers(entries):
    return sum(
        torch.Size(shape).numel() for name, shape, _ in entries if not name.endswith("freqs_cis")
    )


def test_published_file(tmp_path, small, random_state):
    path = tmp_path / "sam3.pt"
    torch.save({"model": random_state(small["sam3"])}, path)
    info = describe(path)
    assert (info.format, info.layout, info.version) == ("torch-zip", "sam3", "3.0")
    assert info.model == "SAM 3, detector and tracker"
    assert info.tensors == 1465 and info.parameters == numbers(small["sam3"])
    assert info.dtypes == {"float32": 1433, "complex64": 32}
    assert info.parts == ("detector", "tracker") and info.neck_levels == 4
    assert info.image_model and info.config is None and info.problems == ()
    assert info.file_bytes == path.stat().st_size


def test_sam31_half(tmp_path, small, random_state):
    state = random_state(small["sam31"], torch.float16)
    path = tmp_path / "x.safetensors"
    save_file({n: t for n, t in state.items() if not t.is_complex()}, path)
    info = describe(path)
    assert (info.format, info.layout, info.version) == ("safetensors", "sam3", "3.1")
    assert info.model == "SAM 3.1, detector and tracker"
    assert info.dtypes == {"float16": 1591} and info.neck_levels == 3 and info.image_model


def test_own_file_with_config(tmp_path, small, random_state):
    config = {"name": "tiny", "vision": {"img_size": 224}}
    state = random_state(small["image"])
    options = {"config": config, "tracker_config": {"name": "tiny"}, "metadata": {"a": "b"}}
    info = describe(save_checkpoint(state, tmp_path / "t.safetensors", **options))
    assert info.config == config and info.tracker_config == {"name": "tiny"}
    assert "(tiny)" in info.model and info.parts == ("detector",)
    assert info.metadata == {"format": "pt", "a": "b"} and info.problems == ()


def test_huggingface_file(tmp_path, small, random_state):
    state = to_huggingface(random_state(small["image"]), keep_extras=False)
    path = tmp_path / "model.safetensors"
    save_file({n: t.contiguous() for n, t in state.items()}, path)
    info = describe(path)
    assert info.layout == "huggingface" and info.image_model and info.tensors == 1468
    assert info.problems == ("no weights for point prompts (this layout has none)",)


@pytest.mark.parametrize(
    ("spoil", "problem", "loadable"),
    [
        (lambda s: s.update({"x.y": torch.zeros(1)}), "1 unexpected names, first: x.y", True),
        (
            lambda s: s.update({"dot_prod_scoring.hs_proj.bias": torch.zeros(4, dtype=torch.int8)}),
            "1 tensors are no fp32, fp16 or bf16",
            True,
        ),
        (
            lambda s: s.pop("transformer.decoder.query_embed.weight"),
            "incomplete image model: no decoder",
            False,
        ),
    ],
)
def test_problems(spoil, problem, loadable, tmp_path, small, random_state):
    state = random_state(small["image"])
    spoil(state)
    torch.save(state, tmp_path / "a.pt")
    info = describe(tmp_path / "a.pt")
    assert len(info.problems) == 1 and info.problems[0].startswith(problem)
    assert info.image_model is loadable


def test_foreign_model_and_no_checkpoint(tmp_path):
    save_file({"conv.weight": torch.zeros(1)}, tmp_path / "a.safetensors")
    info = describe(tmp_path / "a.safetensors")
    assert info.model == "not a SAM 3 checkpoint" and not info.image_model
    assert "conv.weight" in info.problems[0]
    (tmp_path / "b.pt").write_text("<html>")
    with pytest.raises(CheckpointFormatError, match="web page"):
        describe(tmp_path / "b.pt")
