"""Names of the tracker in the Hugging Face layout, both ways."""

from __future__ import annotations

import pytest
import torch

from sam3.builders.tracker import assemble_tracker
from sam3.checkpoint.huggingface_tracker import tracker_from_huggingface, tracker_to_huggingface
from sam3.config.presets import SAM3_TRACKER
from sam3.errors import CheckpointMismatchError


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    names = {
        k: v.shape
        for k, v in assemble_tracker(SAM3_TRACKER, memory_selection=False).state_dict().items()
    }
    return {k: torch.full(shape, float(i)) for i, (k, shape) in enumerate(names.items())}


def test_names_come_back(state: dict[str, torch.Tensor]) -> None:
    theirs = tracker_to_huggingface(state)
    assert len(theirs) == len(state) - 3 + 1, "four point embeddings are one; frequencies are two"
    back = tracker_from_huggingface({f"tracker_model.{k}": v for k, v in theirs.items()})
    assert set(back) == set(state)
    for name, value in state.items():
        assert torch.equal(back[name], value), name


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("maskmem_tpos_enc", "memory_temporal_positional_encoding"),
        ("no_obj_embed_spatial", "occlusion_spatial_embedding_parameter"),
        (
            "transformer.encoder.layers.3.cross_attn_image.out_proj.bias",
            "memory_attention.layers.3.cross_attn_image.o_proj.bias",
        ),
        ("transformer.encoder.norm.weight", "memory_attention.layer_norm.weight"),
        (
            "maskmem_backbone.mask_downsampler.encoder.7.weight",
            "memory_encoder.mask_downsampler.layers.2.layer_norm.weight",
        ),
        ("maskmem_backbone.fuser.layers.1.gamma", "memory_encoder.memory_fuser.layers.1.scale"),
        ("maskmem_backbone.out_proj.weight", "memory_encoder.projection.weight"),
        (
            "sam_mask_decoder.transformer.layers.0.mlp.lin2.bias",
            "mask_decoder.transformer.layers.0.mlp.proj_out.bias",
        ),
        (
            "sam_mask_decoder.output_hypernetworks_mlps.2.layers.1.weight",
            "mask_decoder.output_hypernetworks_mlps.2.layers.0.weight",
        ),
        (
            "sam_mask_decoder.iou_prediction_head.layers.2.bias",
            "mask_decoder.iou_prediction_head.proj_out.bias",
        ),
        ("obj_ptr_proj.layers.0.weight", "object_pointer_proj.proj_in.weight"),
        ("obj_ptr_tpos_proj.bias", "temporal_positional_encoding_projection_layer.bias"),
    ],
)
def test_single_names(state: dict[str, torch.Tensor], ours: str, theirs: str) -> None:
    assert tracker_to_huggingface(state)[theirs] is state[ours]


def test_what_does_not_belong_is_named(state: dict[str, torch.Tensor]) -> None:
    extra = torch.zeros(1)
    with pytest.raises(CheckpointMismatchError, match="backbone.trunk"):
        tracker_to_huggingface({**state, "backbone.trunk": extra})
    theirs = tracker_to_huggingface(state)
    with pytest.raises(CheckpointMismatchError, match="nonsense"):
        tracker_from_huggingface({**theirs, "nonsense": extra})
    with pytest.raises(CheckpointMismatchError, match="point_embed"):
        tracker_from_huggingface({"memory_attention.layer_norm.weight": extra})
