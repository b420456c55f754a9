"""Connected components: goldens, brute force, empty batches, backends, kernel against its twin."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from sam3.errors import InputError
from sam3.perflib import connected_components as module
from sam3.perflib.capabilities import has_cuda, has_package
from sam3.perflib.connected_components import connected_components, connected_components_cpu

ROOT = Path(__file__).parents[3]
GOLDEN = np.load(ROOT / "tests" / "golden" / "tracker" / "logic.npz")


def picture(*rows: str) -> torch.Tensor:
    """Rows of ``#`` (foreground) and ``.`` -> bool [1, H, W]."""
    return torch.tensor([[[c == "#" for c in row] for row in rows]])


def first_pixel_labels(mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Brute force by flood fill: label = smallest pixel index of the component + 1, and areas."""
    labels = torch.zeros(mask.shape, dtype=torch.int32)
    counts = torch.zeros(mask.shape, dtype=torch.int32)
    height, width = mask.shape[-2:]
    for image, out, areas in zip(mask, labels, counts, strict=True):
        for start in image.flatten().nonzero().flatten().tolist():
            if out.view(-1)[start]:
                continue
            found, queue = {start}, [start]
            while queue:
                y, x = divmod(queue.pop(), width)
                for ny in range(max(0, y - 1), min(height, y + 2)):
                    for nx in range(max(0, x - 1), min(width, x + 2)):
                        if image[ny, nx] and ny * width + nx not in found:
                            found.add(ny * width + nx)
                            queue.append(ny * width + nx)
            members = torch.tensor(sorted(found))
            out.view(-1)[members] = start + 1
            areas.view(-1)[members] = len(found)
    return labels, counts


def renumber(labels: torch.Tensor) -> torch.Tensor:
    """Any labels -> smallest pixel index of each component + 1."""
    out = torch.zeros_like(labels)
    for image, target in zip(labels, out, strict=True):
        for label in image.unique().tolist():
            if label:
                where = image == label
                target[where] = int(where.flatten().nonzero()[0]) + 1
    return out


def edge_cases() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    cases = [
        torch.rand(shape, generator=generator) < share
        for shape in ((1, 1, 1), (2, 1, 9), (1, 7, 1), (3, 12, 17), (1, 40, 33))
        for share in (0.2, 0.45, 0.7)
    ]
    spiral = picture("#######", "......#", "#####.#", "#...#.#", "#.###.#", "#.....#", "#######")
    snake = picture("#.#.#.#", "#.#.#.#", "###.###")
    return [*cases, torch.zeros(2, 5, 6).bool(), torch.ones(2, 5, 6).bool(), spiral, snake]


def test_golden():
    mask = torch.from_numpy(GOLDEN["cc.in"] > 0)[:, :, :30]
    labels, counts = connected_components(mask)
    np.testing.assert_array_equal(counts.numpy(), GOLDEN["cc.counts"])
    assert [len(image.unique()) - 1 for image in labels] == GOLDEN["cc.n"].tolist()


@pytest.mark.parametrize("mask", edge_cases(), ids=lambda mask: "x".join(map(str, mask.shape)))
def test_equals_flood_fill(mask):
    labels, counts = connected_components(mask)
    expected, areas = first_pixel_labels(mask)
    assert labels.dtype == counts.dtype == torch.int32
    assert torch.equal(renumber(labels), expected) and torch.equal(counts, areas)


def test_diagonal_neighbours_belong_together():
    labels, counts = connected_components(picture("#..#", ".#..", "..#."))
    assert labels.max() == 2 and sorted(counts.unique().tolist()) == [0, 1, 3]


def test_labels_count_from_one_in_each_image():
    mask = torch.cat((picture("#.#.#"), picture("..#.."), picture(".....")))
    assert [int(image.max()) for image in connected_components(mask)[0]] == [3, 1, 0]


def test_any_value_but_zero_is_foreground():
    mask = torch.tensor([[[[0, 1, 2, 255, 0]]]], dtype=torch.uint8)
    labels, counts = connected_components(mask)
    assert labels.shape == mask.shape and counts.tolist() == [[[[0, 3, 3, 3, 0]]]]


@pytest.mark.parametrize("shape", [(0, 5, 6), (0, 1, 5, 6), (2, 0, 4), (2, 1, 4, 0)])
def test_nothing_to_label(shape):
    labels, counts = connected_components(torch.zeros(shape, dtype=torch.uint8))
    assert labels.shape == counts.shape == shape
    assert labels.dtype == counts.dtype == torch.int32


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.zeros(1, 4, 4), "bool or uint8"),
        (torch.zeros(4, 4).bool(), r"mask\[None\]"),
        (torch.zeros(1, 2, 4, 4).bool(), r"\[B, 1, H, W\]"),
    ],
)
def test_bad_input(mask, message):
    with pytest.raises(InputError, match=message):
        connected_components(mask)


class OnCuda(torch.Tensor):
    """A CPU tensor that calls itself a CUDA one, to reach the choice of backends."""

    is_cuda = True


def fake_cc_torch(mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Stands in for the extension: [B, 1, even H, even W] uint8 only."""
    assert mask.dtype == torch.uint8 and mask.ndim == 4 and mask.is_contiguous()
    assert mask.shape[2] % 2 == mask.shape[3] % 2 == 0
    labels, counts = connected_components_cpu(mask[:, 0])
    return labels[:, None] * 7, counts[:, None]


def install(monkeypatch, function):
    extension = types.ModuleType("cc_torch")
    extension.get_connected_components = function
    monkeypatch.setitem(sys.modules, "cc_torch", extension)
    monkeypatch.setattr(module, "has_cc_torch", lambda: True)
    monkeypatch.setattr(module, "has_triton", lambda: False)
    monkeypatch.setattr(module, "_broken_backends", set())


@pytest.mark.parametrize("mask", edge_cases(), ids=lambda mask: "x".join(map(str, mask.shape)))
def test_the_extension_gets_even_sizes(monkeypatch, mask):
    install(monkeypatch, fake_cc_torch)
    labels, counts = connected_components(mask.as_subclass(OnCuda))
    expected, areas = first_pixel_labels(mask)
    assert (labels % 7 == 0).all() and torch.equal(counts, areas)
    assert torch.equal(renumber(labels.as_subclass(torch.Tensor)), expected)


def test_a_failing_backend_is_reported_once_and_left_alone(monkeypatch, caplog):
    calls = []

    def failing(mask):
        calls.append(1)
        raise RuntimeError("no compiler")

    install(monkeypatch, failing)
    mask = picture("##.#").as_subclass(OnCuda)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert connected_components(mask)[1].tolist() == [[[2, 2, 0, 1]]]
    assert len(calls) == 1 and len(caplog.records) == 1 and "no compiler" in caplog.text


# The interpreter must be chosen before Triton is imported, hence a process of its own.
_INTERPRETED = """
import json, sys
import torch
from sam3.perflib.triton import connected_components as module
results = []
for mask, block, pixels in torch.load(sys.argv[1], weights_only=True):
    module._BLOCK, module._MAX_PIXELS = block, pixels
    results.append([t.tolist() for t in module.connected_components_triton(mask)])
print(json.dumps(results))
"""


@pytest.mark.skipif(not has_package("triton"), reason="Triton is not installed")
def test_interpreted_triton_kernel_equals_its_cpu_twin(tmp_path):
    """Cases: (mask, pixels per program, pixels per launch); the interpreter is slow."""
    generator = torch.Generator().manual_seed(1)
    noise = torch.rand(2, 9, 13, generator=generator) < 0.45
    cases = [(mask, 256, 1 << 30) for mask in edge_cases() if mask[0].numel() <= 49]
    # Several programs work on one component; one image per launch.
    cases += [(noise, 64, 1 << 30), (torch.ones(1, 9, 13).bool(), 64, 1 << 30), (noise, 128, 1)]
    cases.append((torch.zeros(0, 4, 4).bool(), 64, 1))
    torch.save(cases, tmp_path / "cases.pt")
    run = subprocess.run(
        [sys.executable, "-c", _INTERPRETED, str(tmp_path / "cases.pt")],
        env={**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert run.returncode == 0, run.stderr
    results = json.loads(run.stdout.splitlines()[-1])
    assert len(results) == len(cases)
    for (mask, _, _), (labels, counts) in zip(cases, results, strict=True):
        twin_labels, twin_counts = connected_components_cpu(mask)
        assert labels == renumber(twin_labels).tolist()
        assert counts == twin_counts.tolist()


@pytest.mark.gpu
@pytest.mark.skipif(not has_cuda() or not has_package("triton"), reason="needs CUDA and Triton")
def test_triton_kernel_on_the_gpu_equals_its_cpu_twin():
    from sam3.perflib.triton.connected_components import connected_components_triton

    noise = torch.rand(4, 288, 288, generator=torch.Generator().manual_seed(0)) < 0.5
    for mask in (*edge_cases(), noise):
        labels, counts = connected_components_triton(mask.cuda())
        twin_labels, twin_counts = connected_components_cpu(mask)
        assert torch.equal(labels.cpu(), renumber(twin_labels))
        assert torch.equal(counts.cpu(), twin_counts)
