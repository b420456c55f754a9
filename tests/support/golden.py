"""Reading golden arrays and comparing with them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

FOLDER = Path(__file__).parents[1] / "golden"


class Arrays(dict[str, np.ndarray]):
    """Arrays by name that knows which of them were read."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.read: set[str] = set()

    def __getitem__(self, key: str) -> np.ndarray:
        self.read.add(key)
        return super().__getitem__(key)

    def assert_all_read(self, prefix: str = "") -> None:
        """Every array whose name begins so was compared with something."""
        left = sorted(key for key in self if key.startswith(prefix) and key not in self.read)
        assert not left, f"nothing was compared with {left}"


def load(name: str) -> Arrays:
    """All arrays of ``tests/golden/<name>``."""
    with np.load(FOLDER / name) as archive:
        return Arrays({k: archive[k] for k in archive.files})


def to_numpy(value: Any) -> np.ndarray:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        return (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    return np.asarray(value)


def assert_matches(golden: dict[str, np.ndarray], key: str, actual: Any, tolerance: float) -> None:
    """``actual`` equals ``golden[key]`` within ``tolerance`` x the largest golden value.

    A key with ``.steps`` holds a strided subset, and ``.stats`` [mean, std, L2, min, max] of the
    whole tensor, which is compared too.
    """
    actual, expected = to_numpy(actual), golden[key]
    if f"{key}.shape" in golden:
        assert tuple(actual.shape) == tuple(golden[f"{key}.shape"]), key
        whole = actual.astype(np.float64)
        std, norm = whole.std(), np.sqrt((whole**2).sum())
        stats = golden[f"{key}.stats"]
        slack = max(tolerance, 1e-6)  # the sums themselves are rounded
        peak = max(abs(stats[3]), abs(stats[4]))
        np.testing.assert_allclose(std, stats[1], rtol=0, atol=slack * peak, err_msg=key)
        np.testing.assert_allclose(norm, stats[2], rtol=slack, err_msg=key)
        steps = golden[f"{key}.steps"]
        actual = actual[tuple(slice(None, None, int(s)) for s in steps)]
    assert actual.shape == expected.shape, f"{key}: {actual.shape} != {expected.shape}"
    if expected.dtype.kind in "bi":
        np.testing.assert_array_equal(actual, expected, err_msg=key)
        return
    peak = np.abs(expected).max() if expected.size else 0.0
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * peak, err_msg=key)


@contextlib.contextmanager
def record(model: torch.nn.Module, names: list[str]) -> Iterator[dict[str, Any]]:
    """Last output of the sub-modules called ``names`` while the block runs."""
    seen: dict[str, Any] = {}
    modules = dict(model.named_modules())
    handles = [
        modules[name].register_forward_hook(
            lambda _m, _i, out, name=name: seen.__setitem__(name, out)
        )
        for name in names
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
