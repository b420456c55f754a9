"""What is particular to SAM 3.1 files: how to tell them, and their names in the image model.

A 3.1 detector has a neck of three levels (no ``convs.3``) and two sibling necks,
``interactive_convs`` and ``propagation_convs``, instead of ``sam2_convs``. Its text projection,
never used, may be missing. The tracker differs in shape from 3.0, but its interactive heads fit
the 3.0 instance predictor under other names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .tensor_info import TensorInfo

NECK = "backbone.vision_backbone."
TEXT_PROJECTION = "backbone.language_backbone.encoder.text_projection"
PROPAGATION_MARKER = "vision_backbone.propagation_convs.0.conv_1x1.weight"
MULTIPLEX_MASK_ROWS = 48  # mask tokens of the 3.1 mask decoder: 3 masks x 16 objects

_INTERACTIVE_PARTS = {
    "interactive_sam_prompt_encoder.": "sam_prompt_encoder.",
    "interactive_sam_mask_decoder.": "sam_mask_decoder.",
    "interactive_mask_downsample.": "mask_downsample.",
    "interactive_obj_ptr_proj.": "obj_ptr_proj.",
}
_NO_MEM = ("interactivity_no_mem_embed", "no_mem_embed")


def file_version(infos: Mapping[str, TensorInfo]) -> str | None:
    """``"3.1"``, ``"3.0"`` or None, from names and shapes (any prefix, Meta's names).

    None means an image-only file with three neck levels and no sibling neck: it may come from
    either version and loads the same.
    """
    if any(name.endswith(PROPAGATION_MARKER) for name in infos):
        return "3.1"
    for name, info in infos.items():
        if name.startswith(("tracker.model.", "sam2_predictor.model.")):
            return "3.1"
        if name.endswith("sam_mask_decoder.mask_tokens.weight") and info.shape[:1] == (
            MULTIPLEX_MASK_ROWS,
        ):
            return "3.1"
    for name, info in infos.items():
        if "vision_backbone.sam2_convs." in name or "vision_backbone.convs.3." in name:
            return "3.0"
        if name.endswith("maskmem_tpos_enc") and info.shape[-1:] == (64,):
            return "3.0"
    return None


def is_sibling_neck(name: str) -> bool:
    """Whether an image-model name belongs to a neck the text-prompted model does not use."""
    return name.startswith(
        (NECK + "sam2_convs.", NECK + "interactive_convs.", NECK + "propagation_convs.")
    )


def interactive_name(name: str) -> str | None:
    """Our instance-predictor name of a 3.1 tracker name (without ``tracker.``); None if unused.

    The neck ``interactive_convs`` becomes ``sam2_convs`` (give the detector name as it is).
    """
    if name.startswith(NECK + "interactive_convs."):
        return name.replace("interactive_convs.", "sam2_convs.", 1)
    name = name.removeprefix("model.")
    if name == _NO_MEM[0]:
        return _NO_MEM[1]
    for theirs, ours in _INTERACTIVE_PARTS.items():
        if name.startswith(theirs):
            return ours + name[len(theirs) :]
    return None


def may_be_absent(names: Iterable[str]) -> set[str]:
    """Of the names missing from a 3.1 file, those a loader may fill with zeros (unused)."""
    return {name for name in names if name == TEXT_PROJECTION}
