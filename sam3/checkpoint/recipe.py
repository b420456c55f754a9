"""How one model tensor is made from stored tensors: copied, joined, transposed or padded.

A recipe predicts shape and dtype without reading data, so that a whole load can be checked
before the first byte is touched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch

from .tensor_info import TensorInfo

Operation = Literal["copy", "concat", "concat_rows", "transpose", "zero_row_first"]


@dataclass(frozen=True)
class Recipe:
    """A model tensor in terms of stored tensors.

    Attributes:
        sources: names in the file, in order.
        operation: ``copy`` (one source as it is), ``concat`` (joined along dimension 0),
            ``concat_rows`` ([1, n, c] tensors joined along dimension 1), ``transpose`` (2-D,
            swapped), ``zero_row_first`` ([1, n, c] -> [1, n + 1, c] with a row of zeros in
            front, for a position table stored without its unused first row).
    """

    sources: tuple[str, ...]
    operation: Operation = "copy"

    def info(self, infos: Mapping[str, TensorInfo]) -> TensorInfo:
        """Shape and dtype of the result, from those of the sources.

        Raises:
            ValueError: the sources do not fit together.
        """
        parts = [infos[name] for name in self.sources]
        shape = parts[0].shape
        if self.operation == "concat":
            _check_parts(self.sources, parts, slice(1, None))
            shape = (sum(part.shape[0] for part in parts), *shape[1:])
        elif self.operation == "concat_rows":
            _check_parts(self.sources, parts, slice(2, None))
            shape = (shape[0], sum(part.shape[1] for part in parts), *shape[2:])
        elif self.operation == "transpose":
            shape = shape[::-1]
        elif self.operation == "zero_row_first":
            if len(shape) != 3:
                raise ValueError(f"{self.sources[0]}: shape {list(shape)}, expected 3 dimensions")
            shape = (shape[0], shape[1] + 1, shape[2])
        return TensorInfo(shape, parts[0].dtype)

    def build(self, read: Callable[[str], torch.Tensor]) -> torch.Tensor:
        """The tensor itself; ``read`` returns stored tensors. ``copy`` may return a view."""
        parts = [read(name) for name in self.sources]
        if self.operation == "concat":
            return torch.cat(parts)
        if self.operation == "concat_rows":
            return torch.cat(parts, dim=1)
        if self.operation == "transpose":
            return parts[0].t().contiguous()
        if self.operation == "zero_row_first":
            rows = parts[0]
            return torch.cat([rows.new_zeros(rows.shape[0], 1, rows.shape[2]), rows], dim=1)
        return parts[0]


def _check_parts(names: tuple[str, ...], parts: list[TensorInfo], equal: slice) -> None:
    first = parts[0]
    for part in parts:
        same = part.shape[equal] == first.shape[equal] and part.dtype == first.dtype
        if not same or len(part.shape) != len(first.shape) or len(part.shape) < equal.start:
            raise ValueError(f"{list(names)} differ in shape or dtype")
