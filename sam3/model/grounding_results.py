"""From raw detector outputs to boxes, scores and full-size masks of one picture.

Full-size masks are computed in chunks; when all of them together would be large they are left
lazy: :class:`Sam3State` makes ``masks`` and ``masks_logits`` when they are read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .box_ops import box_cxcywh_to_xyxy

LAZY_KEYS = ("masks_logits", "masks")
LOW_RES = "low_res_logits"
MASK_THRESHOLD = 0.5
CHUNK_BYTES = 64 * 2**20
EAGER_BYTES = 256 * 2**20


class Sam3State(dict):
    """The processor's state: a dict in which ``masks`` and ``masks_logits`` may be made on reading.

    They count as present (``in``, ``get``, iteration); a large pair is computed anew at each
    reading instead of being kept. :func:`iter_masks` reads masks one chunk at a time.
    """

    def _lazy(self) -> list[str]:
        if not dict.__contains__(self, LOW_RES):
            return []
        return [k for k in LAZY_KEYS if not dict.__contains__(self, k)]

    def __missing__(self, key: str) -> Tensor:
        if key not in self._lazy():
            raise KeyError(key)
        return full_size_masks(
            self[LOW_RES], (self["original_height"], self["original_width"]), as_bool=key == "masks"
        )

    def __contains__(self, key: object) -> bool:
        return dict.__contains__(self, key) or key in self._lazy()

    def __iter__(self) -> Iterator[Any]:
        yield from dict.__iter__(self)
        yield from self._lazy()

    def __len__(self) -> int:
        return dict.__len__(self) + len(self._lazy())

    def get(self, key: str, default: Any = None) -> Any:
        return self[key] if key in self else default

    def keys(self):  # type: ignore[no-untyped-def]
        return list(self)

    def values(self):  # type: ignore[no-untyped-def]
        return [self[k] for k in self]

    def items(self):  # type: ignore[no-untyped-def]
        return [(k, self[k]) for k in self]


def joint_scores(pred_logits: Tensor, presence_logit: Tensor) -> Tensor:
    """sigmoid(class) x sigmoid(presence): [B, Q, 1] and [B, 1] -> [B, Q] float32."""
    return pred_logits.float().sigmoid().squeeze(-1) * presence_logit.float().sigmoid()


def select(
    outputs: dict[str, Any], index: int, size: tuple[int, int], threshold: float
) -> dict[str, Any]:
    """What prompt ``index`` found above ``threshold``, in query order.

    size: (H, W) of the picture. Returns ``scores`` [n], ``boxes`` [n, 4] xyxy pixels (not clipped),
    ``low_res_logits`` [n, 1, h, w] or None without a mask head, ``best_score``: the highest score
    of all queries, kept or not.
    """
    scores = joint_scores(
        outputs["pred_logits"][index : index + 1], outputs["presence_logit_dec"][index : index + 1]
    )[0]
    keep = scores > threshold
    height, width = size
    scale = torch.tensor([width, height, width, height], device=scores.device)
    masks = outputs.get("pred_masks")
    return {
        "scores": scores[keep],
        "boxes": box_cxcywh_to_xyxy(outputs["pred_boxes"][index].float()[keep]) * scale,
        LOW_RES: None if masks is None else masks[index][keep][:, None],
        "best_score": float(scores.max()),
    }


def store(state: dict[str, Any], found: dict[str, Any]) -> None:
    """Write what :func:`select` found into ``state``, masks eagerly where they are small."""
    for key in (*LAZY_KEYS, LOW_RES):
        dict.pop(state, key, None)
    logits = found[LOW_RES]
    state.update({k: v for k, v in found.items() if k != LOW_RES})
    if logits is None:
        return
    state[LOW_RES] = logits
    size = (state["original_height"], state["original_width"])
    nbytes = logits.shape[0] * size[0] * size[1] * 5
    if nbytes <= EAGER_BYTES or not isinstance(state, Sam3State):
        state["masks_logits"] = full_size_masks(logits, size)
        state["masks"] = state["masks_logits"] > MASK_THRESHOLD


def full_size_masks(logits: Tensor, size: tuple[int, int], *, as_bool: bool = False) -> Tensor:
    """Logits [n, 1, h, w] -> probabilities float32 (``as_bool``: > 0.5) [n, 1, H, W], in chunks."""
    dtype = torch.bool if as_bool else torch.float32
    out = torch.empty((logits.shape[0], 1, *size), dtype=dtype, device=logits.device)
    for start, probabilities in _chunks(logits, size):
        part = probabilities > MASK_THRESHOLD if as_bool else probabilities
        out[start : start + len(probabilities)] = part
    return out


def iter_masks(state: dict[str, Any]) -> Iterator[Tensor]:
    """The bool masks [H, W] of ``state`` one after the other, never all at full size."""
    size = (state["original_height"], state["original_width"])
    for _, probabilities in _chunks(state[LOW_RES], size):
        yield from (probabilities > MASK_THRESHOLD)[:, 0]


def union_mask(state: dict[str, Any]) -> Tensor:
    """Union of the masks of ``state``: bool [H, W], all False when there are none."""
    size = (state["original_height"], state["original_width"])
    union = torch.zeros(size, dtype=torch.bool, device=state[LOW_RES].device)
    for _, probabilities in _chunks(state[LOW_RES], size):
        union |= (probabilities > MASK_THRESHOLD).any(dim=0)[0]
    return union


def _chunks(logits: Tensor, size: tuple[int, int]) -> Iterator[tuple[int, Tensor]]:
    """(first index, probabilities [k, 1, H, W]) with at most CHUNK_BYTES of floats at a time."""
    step = max(1, CHUNK_BYTES // max(1, 4 * size[0] * size[1]))
    for start in range(0, logits.shape[0], step):
        part = logits[start : start + step].float()
        yield start, F.interpolate(part, size=size, mode="bilinear", align_corners=False).sigmoid_()
