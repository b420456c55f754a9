"""``Prompt``: boxes, points and masks of a batch of prompts, right-padded per entry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def concat_padded_sequences(
    seq1: Tensor, mask1: Tensor, seq2: Tensor, mask2: Tensor, return_index: bool = False
) -> tuple[Tensor, ...]:
    """Concatenate right-padded sequences so that the result is right-padded again.

    seq1 [N1, B, C], mask1 [B, N1] bool (True = padding), likewise seq2, mask2. Returns
    (sequence [N1 + N2, B, C] in seq2's dtype, mask [B, N1 + N2]) and, with ``return_index``, the
    positions [N2, B] that seq2's entries took. Content of padded places is unspecified.
    """
    n1, batch, channels = seq1.shape
    n2 = seq2.shape[0]
    if mask1.shape != (batch, n1) or mask2.shape != (batch, n2) or seq2.shape[1:] != seq1.shape[1:]:
        raise ValueError(
            f"sequences {tuple(seq1.shape)}, {tuple(seq2.shape)} and masks {tuple(mask1.shape)},"
            f" {tuple(mask2.shape)} do not fit together; expected [N, B, C] and [B, N]"
        )
    len1 = (~mask1).sum(dim=1)
    len2 = (~mask2).sum(dim=1)
    index = torch.arange(n2, device=seq2.device)[:, None] + len1[None]
    merged = torch.cat([seq1.to(seq2.dtype), seq2.new_zeros(n2, batch, channels)])
    merged = merged.scatter(0, index[:, :, None].expand(-1, -1, channels), seq2)
    positions = torch.arange(n1 + n2, device=seq2.device)
    mask = positions[None] >= (len1 + len2)[:, None]
    return (merged, mask, index) if return_index else (merged, mask)


class Prompt:
    """Geometric prompts of B entries.

    box_embeddings [Nb, B, 4] normalised cxcywh; point_embeddings [Np, B, 2] normalised xy;
    mask_embeddings [Nm, B, 1, H, W]; ``*_mask`` [B, N] bool padding (True = ignore);
    ``*_labels`` [N, B], 1 positive, 0 negative. With nothing given every attribute is None;
    otherwise missing boxes and points become empty.
    """

    def __init__(
        self,
        box_embeddings: Tensor | None = None,
        box_mask: Tensor | None = None,
        box_labels: Tensor | None = None,
        point_embeddings: Tensor | None = None,
        point_mask: Tensor | None = None,
        point_labels: Tensor | None = None,
        mask_embeddings: Tensor | None = None,
        mask_mask: Tensor | None = None,
        mask_labels: Tensor | None = None,
    ) -> None:
        given = [t for t in (box_embeddings, point_embeddings, mask_embeddings) if t is not None]
        self.box_embeddings, self.box_mask, self.box_labels = box_embeddings, box_mask, box_labels
        self.point_embeddings, self.point_mask = point_embeddings, point_mask
        self.point_labels = point_labels
        self.mask_embeddings, self.mask_mask, self.mask_labels = (
            mask_embeddings,
            mask_mask,
            mask_labels,
        )
        if not given:
            return
        batch, device = given[0].shape[1], given[0].device
        self._fill("box", batch, device, 4)
        self._fill("point", batch, device, 2)
        if mask_embeddings is not None:
            self._fill("mask", batch, device, 0)

    def _fill(self, kind: str, batch: int, device: torch.device, width: int) -> None:
        """Complete one kind of prompt (empty embeddings, positive labels, no padding); check it."""
        values = getattr(self, f"{kind}_embeddings")
        if values is None:
            values = torch.zeros(0, batch, width, device=device)
        n = values.shape[0]
        labels, mask = getattr(self, f"{kind}_labels"), getattr(self, f"{kind}_mask")
        if labels is None:
            labels = torch.ones(n, batch, dtype=torch.long, device=device)
        if mask is None:
            mask = torch.zeros(batch, n, dtype=torch.bool, device=device)
        ok = (
            values.shape[1] == batch
            and labels.shape == (n, batch)
            and mask.shape == (batch, n)
            and values.device == labels.device == mask.device == device
            and (width == 0 or values.shape[-1] == width)
        )
        if not ok:
            raise ValueError(
                f"{kind} prompts do not fit together: embeddings {tuple(values.shape)} on"
                f" {values.device}, labels {tuple(labels.shape)}, mask {tuple(mask.shape)};"
                f" expected [N, {batch}, ...], [N, {batch}], [{batch}, N] on {device}"
            )
        setattr(self, f"{kind}_embeddings", values)
        setattr(self, f"{kind}_labels", labels)
        setattr(self, f"{kind}_mask", mask)

    def append_boxes(self, boxes: Tensor, labels: Tensor, mask: Tensor | None = None) -> None:
        """Add boxes [N, B, 4] with labels [N, B] and padding mask [B, N] (None: all valid)."""
        self._append("box", boxes, labels, mask)

    def append_points(self, points: Tensor, labels: Tensor, mask: Tensor | None = None) -> None:
        """Add points [N, B, 2] with labels [N, B] and padding mask [B, N] (None: all valid)."""
        self._append("point", points, labels, mask)

    def append_masks(self, masks: Tensor, labels: Tensor, mask: Tensor | None = None) -> None:
        """Set masks [N, B, 1, H, W]; only once (NotImplementedError for a second call)."""
        if self.mask_embeddings is not None:
            raise NotImplementedError("only one set of mask prompts is supported")
        self.mask_embeddings, self.mask_labels, self.mask_mask = masks, labels, mask
        self._fill("mask", masks.shape[1], masks.device, 0)

    def _append(self, kind: str, values: Tensor, labels: Tensor, mask: Tensor | None) -> None:
        old = getattr(self, f"{kind}_embeddings")
        if old is None:
            setattr(self, f"{kind}_embeddings", values)
            setattr(self, f"{kind}_labels", labels)
            setattr(self, f"{kind}_mask", mask)
            return
        old_mask = _valid_if_none(getattr(self, f"{kind}_mask"), old)
        mask = _valid_if_none(mask, values)
        old_labels = getattr(self, f"{kind}_labels")
        merged, merged_mask = concat_padded_sequences(old, old_mask, values, mask)
        merged_labels, _ = concat_padded_sequences(
            old_labels[..., None], old_mask, labels[..., None].to(old_labels.dtype), mask
        )
        setattr(self, f"{kind}_embeddings", merged)
        setattr(self, f"{kind}_labels", merged_labels.squeeze(-1))
        setattr(self, f"{kind}_mask", merged_mask)

    def clone(self) -> Prompt:
        """A copy with its own tensors, mask prompts included."""
        return self._map(lambda tensor, _: tensor.clone())

    def repeat(self, n: int) -> Prompt:
        """The same prompts for n times as many entries: B -> n * B."""
        return self._map(lambda tensor, dim: torch.cat([tensor] * n, dim=dim))

    def _map(self, fn: Callable[[Tensor, int], Tensor]) -> Prompt:
        """Apply ``fn(tensor, batch dimension)`` to every part that is there."""
        parts: dict[str, Any] = {}
        for kind in ("box", "point", "mask"):
            for part, dim in (("embeddings", 1), ("mask", 0), ("labels", 1)):
                value = getattr(self, f"{kind}_{part}")
                parts[f"{kind}_{part}"] = None if value is None else fn(value, dim)
        return Prompt(**parts)


def _valid_if_none(mask: Tensor | None, values: Tensor) -> Tensor:
    if mask is not None:
        return mask
    return torch.zeros(values.shape[1], values.shape[0], dtype=torch.bool, device=values.device)
