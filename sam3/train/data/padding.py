"""Packed rows (those of all queries in a row) to padded ones (a table per query)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ...errors import InputError


def packed_to_padded_naive(
    packed: Tensor, num: Sequence[int] | Tensor, fill_value: float = 0
) -> Tensor:
    """Spread packed rows over a table with one row of entries per query.

    Args:
        packed: [N, ...].
        num: [B], entries of each query; they add up to N.
        fill_value: of the entries behind a query's own.

    Returns:
        [B, max(num), ...] in the dtype of ``packed``.

    Raises:
        InputError: counts that do not add up to N.
    """
    counts = [int(n) for n in num]
    if sum(counts) != len(packed):
        raise InputError(f"the counts {counts} must add up to the {len(packed)} packed rows")
    shape = (len(counts), max(counts, default=0), *packed.shape[1:])
    padded = packed.new_full(shape, fill_value)
    for row, values in zip(padded, packed.split(counts), strict=True):
        row[: len(values)] = values
    return padded
