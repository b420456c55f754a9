"""compile_wrapper and shape_logging_wrapper."""

from __future__ import annotations

import logging
import shutil
from collections import namedtuple

import pytest
import torch
from torch import Tensor

from sam3.perflib.compile import compile_wrapper, map_tensors, shape_logging_wrapper

Pair = namedtuple("Pair", "left right")


@pytest.fixture(autouse=True)
def fresh_dynamo():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def affine(x: Tensor, *, scale: Tensor, shift: float = 0.0) -> dict[str, Tensor]:
    """Multiply and add."""
    return {"out": x * scale + shift, "same": x}


@pytest.mark.parametrize("dynamic", [False, True, None])
def test_compiled_equals_eager(dynamic):
    compiled = compile_wrapper(affine, mode="default", dynamic=dynamic, backend="eager")
    for size in (3, 5):
        x, scale = torch.randn(4, size).T, torch.randn(size, 1)
        expected = affine(x, scale=scale, shift=2.0)
        actual = compiled(x, scale=scale, shift=2.0)
        assert actual.keys() == expected.keys()
        assert torch.equal(actual["out"], expected["out"])


def test_inputs_become_contiguous_and_results_are_copies():
    seen: list[bool] = []

    def probe(x: Tensor) -> list[Tensor]:
        return [x, x + 1]

    def backend(graph, example_inputs):
        seen.extend(t.is_contiguous() for t in example_inputs if isinstance(t, Tensor))
        return graph.forward

    compiled = compile_wrapper(probe, mode="default", backend=backend)
    x = torch.arange(6.0).reshape(2, 3)
    compiled(x.T)
    assert seen and all(seen)
    same, more = compiled(x)
    same.zero_()
    assert x.sum() == 15 and torch.equal(more, x + 1)


def test_graph_breaks_are_errors_with_fullgraph():
    def breaks(x: Tensor) -> Tensor:
        torch._dynamo.graph_break()
        return x + 1

    x = torch.zeros(2)
    assert compile_wrapper(breaks, mode="default", fullgraph=False, backend="eager")(x).sum() == 2
    torch._dynamo.reset()  # the code compiled above would be used again
    with pytest.raises(torch._dynamo.exc.Unsupported):
        compile_wrapper(breaks, mode="default", backend="eager")(x)


def test_keeps_name_docstring_and_shows_in_a_profile():
    compiled = compile_wrapper(affine, mode="default", name="my part", backend="eager")
    assert compiled.__name__ == "affine" and compiled.__doc__ == "Multiply and add."
    with torch.profiler.profile() as profile:
        compiled(torch.zeros(1), scale=torch.ones(1))
    assert "compiled my part" in {event.key for event in profile.key_averages()}


def test_modules_can_be_wrapped():
    layer = torch.nn.Linear(3, 2)
    compiled = compile_wrapper(layer.forward, mode="default", backend="eager")
    x = torch.randn(4, 3)
    torch.testing.assert_close(compiled(x), layer(x))
    compiled(x).sum().backward()
    assert layer.weight.grad is not None


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="inductor needs a C++ compiler")
def test_inductor_equals_eager():
    compiled = compile_wrapper(affine, mode="default")
    x, scale = torch.randn(4, 3), torch.randn(3)
    torch.testing.assert_close(compiled(x, scale=scale)["out"], affine(x, scale=scale)["out"])


def test_map_tensors_keeps_the_structure():
    value = {"a": [torch.ones(1), 2, None], "b": Pair(torch.ones(2), ("x", torch.ones(3)))}
    result = map_tensors(lambda t: t * 2, value)
    assert isinstance(result["b"], Pair) and isinstance(result["b"].right, tuple)
    assert result["a"][0].item() == 2 and result["a"][1:] == [2, None]
    assert result["b"].right[0] == "x" and result["b"].right[1].tolist() == [2, 2, 2]


def test_each_new_shape_is_logged_once(caplog):
    def add(x: Tensor, y: dict | None = None, mode: str = "a") -> Tensor:
        return x + (y["y"] if y else 0)

    wrapped = shape_logging_wrapper(add, keep_kwargs=["mode"], enable_logging=True)
    with caplog.at_level(logging.INFO):
        wrapped(torch.zeros(2))
        wrapped(torch.ones(2))
        assert len(caplog.records) == 1 and "(2,)" in caplog.text
        wrapped(torch.zeros(3))
        wrapped(torch.zeros(2), y={"y": torch.zeros(1, 2)})
        assert len(caplog.records) == 3 and "(1, 2)" in caplog.text
        wrapped(torch.zeros(2), mode="a")
        wrapped(torch.zeros(2), mode="b")
        assert len(caplog.records) == 5


def test_logging_can_be_switched(caplog):
    wrapped = shape_logging_wrapper(lambda x: x * 3)
    with caplog.at_level(logging.INFO):
        assert wrapped(torch.ones(1)).item() == 3
        assert not caplog.records
        wrapped.set_logging(True)
        wrapped(torch.ones(1))
        wrapped.set_logging(False)
        wrapped(torch.ones(4))
    assert len(caplog.records) == 1
