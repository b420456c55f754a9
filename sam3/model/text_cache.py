"""Features of phrases seen before, kept per model and dropped when its weights change."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class TextFeatureCache:
    """Least-recently-used table from token ids to features [L, C]; safe to share between threads.

    A copy of a model (``deepcopy``) starts with an empty cache.
    """

    def __init__(self, capacity: int = 512) -> None:
        self.capacity = capacity
        self._lock = threading.Lock()
        self._entries: OrderedDict[tuple[int, ...], Tensor] = OrderedDict()
        self._weights: tuple[Any, ...] = ()

    def __deepcopy__(self, memo: dict[int, Any]) -> TextFeatureCache:
        return TextFeatureCache(self.capacity)

    def __reduce__(self) -> tuple[Any, ...]:
        return (TextFeatureCache, (self.capacity,))

    def lookup(
        self, tokens: Tensor, encode: Callable[[Tensor], Tensor], weights: Iterable[Tensor]
    ) -> Tensor:
        """Features [n, L, C] of token ids [n, L]; ``encode`` runs once, on the unknown rows only.

        ``weights`` identify the state of the encoder: another storage or version empties the table.
        """
        keys = [tuple(row) for row in tokens.tolist()]
        state = _fingerprint(weights)
        with self._lock:
            if state != self._weights:
                self._entries.clear()
                self._weights = state
            known = {k: self._entries[k] for k in keys if k in self._entries}
        missing = [k for k in dict.fromkeys(keys) if k not in known]
        if missing:
            rows = torch.tensor(missing, dtype=tokens.dtype, device=tokens.device)
            known.update(zip(missing, encode(rows).unbind(0), strict=True))
        with self._lock:
            if state == self._weights:
                self._remember(keys, known)
        return torch.stack([known[k] for k in keys])

    def _remember(self, keys: list[tuple[int, ...]], known: dict[tuple[int, ...], Tensor]) -> None:
        for key in keys:
            # a row of a batch would keep the whole batch alive
            self._entries.setdefault(key, known[key].clone())
            self._entries.move_to_end(key)
        while len(self._entries) > self.capacity:
            self._entries.popitem(last=False)


def _fingerprint(weights: Iterable[Tensor]) -> tuple[Any, ...]:
    """Identity, place and version of every weight (inference tensors have no version)."""
    return tuple(
        (w.data_ptr(), w.device, w.dtype, 0 if w.is_inference() else w._version) for w in weights
    )
