"""Our interactive predictor against transformers' ``Sam3TrackerModel`` with the same weights.

The peer is run as a black box. Features come from its own image encoder; coordinates are those of
the model's square, so that both see the same numbers.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks import peer
from sam3.builders.interactive import assemble_interactive_heads
from sam3.checkpoint.huggingface_tracker import tracker_from_huggingface, tracker_to_huggingface
from sam3.config import MaskDecoderConfig, MemoryConfig, Sam3TrackerConfig
from sam3.model.sam1_task_predictor import EncodedImages, SAM3InteractiveImagePredictor

SMALL = Sam3TrackerConfig(
    name="peer",
    image_size=112,
    patch_size=14,
    d_model=32,
    memory=MemoryConfig(dim=16),
    decoder=MaskDecoderConfig(num_heads=4, mlp_dim=64, iou_head_hidden_dim=32),
)
SIDE, LOW = SMALL.image_size, SMALL.low_res_mask_size
SAME_TABLE = (
    "prompt_encoder.shared_embedding.positional_embedding",
    "shared_image_embedding.positional_embedding",
)
MASK = 4 * torch.randn(1, 1, LOW, LOW, generator=torch.Generator().manual_seed(3))
PROMPTS = {
    "points": {"points": [[[30, 40], [80, 20]]], "labels": [[1, 0]]},
    "two objects": {"points": [[[30, 40]], [[80, 20]]], "labels": [[1], [1]]},
    "box": {"boxes": [[10, 20, 60, 90]]},
    "two boxes": {"boxes": [[10, 20, 60, 90], [1, 2, 100, 110]]},
    "box and point": {"points": [[[30, 40]]], "labels": [[0]], "boxes": [[10, 20, 60, 90]]},
    "point and mask": {"points": [[[30, 40]]], "labels": [[1]], "masks": MASK},
}


@pytest.fixture(scope="module", autouse=True)
def _needs_the_peer():
    # asked when a test runs: importing transformers takes seconds
    reason = peer.missing_peer()
    if reason is not None:
        pytest.skip(reason)


def build_peer():
    import transformers

    grid, d = SMALL.grid, SMALL.decoder
    backbone = {
        "model_type": "sam3_vit_model",
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": SIDE,
        "patch_size": SMALL.patch_size,
        "window_size": 4,
        "global_attn_indexes": [1],
        "pretrain_image_size": 56,
    }
    config = transformers.Sam3TrackerConfig(
        vision_config={
            "backbone_config": backbone,
            "fpn_hidden_size": SMALL.d_model,
            "backbone_feature_sizes": [[grid * scale] * 2 for scale in (4, 2, 1)],
            "scale_factors": [4.0, 2.0, 1.0, 0.5],
        },
        prompt_encoder_config={
            "hidden_size": SMALL.d_model,
            "image_size": SIDE,
            "patch_size": SMALL.patch_size,
            "mask_input_channels": d.mask_in_chans,
        },
        mask_decoder_config={
            "hidden_size": SMALL.d_model,
            "mlp_dim": d.mlp_dim,
            "num_attention_heads": d.num_heads,
            "num_hidden_layers": d.depth,
            "iou_head_depth": d.iou_head_depth,
            "iou_head_hidden_dim": d.iou_head_hidden_dim,
            "num_multimask_outputs": d.num_multimask_outputs,
        },
    )
    return transformers.Sam3TrackerModel(config).eval()


def build_ours():
    heads = assemble_interactive_heads(SMALL).eval()
    return SAM3InteractiveImagePredictor(heads, max_hole_area=0)


@pytest.fixture(scope="module")
def peer_weights():
    """The peer with random weights, ours with the same ones."""
    theirs, ours = build_peer(), build_ours()
    state = theirs.state_dict()
    peer.fill_randomly(state, seed=1)
    state[SAME_TABLE[0]].copy_(state[SAME_TABLE[1]])
    found = ours.model.load_state_dict(tracker_from_huggingface(state), strict=False)
    # the peer for pictures has no use for what tracking alone needs
    assert {name.split(".")[0] for name in found.missing_keys} == {
        "mask_downsample",
        "obj_ptr_proj",
    }
    assert not found.unexpected_keys
    return theirs, ours


@pytest.fixture(scope="module")
def our_weights():
    """Ours with random weights, the peer with the same ones."""
    theirs, ours = build_peer(), build_ours()
    peer.fill_randomly(theirs.state_dict(), seed=2)
    peer.fill_randomly(ours.model.state_dict(), seed=3)
    found = theirs.load_state_dict(tracker_to_huggingface(ours.model.state_dict()), strict=False)
    assert all(name.startswith("vision_encoder.") for name in found.missing_keys)
    assert {name.split(".")[0] for name in found.unexpected_keys} == {
        "mask_downsample",
        "object_pointer_proj",
    }
    return theirs, ours


def run_both(models, prompt, multimask):
    """(low-resolution logits, IoU) of the peer and of ours, each with a leading object axis."""
    theirs, ours = models
    pixels = torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(7))
    *fine, coarse = theirs.get_image_embeddings(pixels)
    words = {"points": "input_points", "labels": "input_labels", "boxes": "input_boxes"}
    asked = {words[k]: torch.as_tensor(v)[None] for k, v in prompt.items() if k in words}
    asked |= {k: v.float() for k, v in asked.items() if k != "input_labels"}
    out = theirs(
        image_embeddings=[*fine, coarse],
        input_masks=prompt.get("masks"),
        multimask_output=multimask,
        **asked,
    )
    images = EncodedImages(coarse, tuple(fine), ((SIDE, SIDE),))
    order = ("points", "labels", "boxes", "masks")
    _, ious, low = ours.predict_on(
        images, *(prompt.get(k) for k in order), multimask_output=multimask
    )
    expected = out.pred_masks[0].clamp(-32, 32).numpy(), out.iou_scores[0].numpy()
    return expected, (low.reshape(expected[0].shape), ious.reshape(expected[1].shape))


@torch.inference_mode()
@pytest.mark.parametrize("multimask", [True, False])
@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("whose", ["peer_weights", "our_weights"])
def test_same_masks_and_scores(whose, prompt, multimask, request):
    models = request.getfixturevalue(whose)
    expected, found = run_both(models, PROMPTS[prompt], multimask)
    for theirs, ours in zip(expected, found, strict=True):
        assert theirs.std() > 1e-3 or theirs.size < 4, "constant: it could not show a difference"
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())


@torch.inference_mode()
@pytest.mark.parametrize("name", ["norm2", "norm3"])
def test_a_swapped_name_would_show(name, peer_weights):
    """The comparison notices one wrong entry of the key table: two norms exchanged."""
    theirs, ours = peer_weights
    layer = ours.model.sam_mask_decoder.transformer.layers[0]
    own, other = getattr(layer, name).weight, layer.norm1.weight
    own.data, other.data = other.data, own.data
    try:
        expected, found = run_both((theirs, ours), PROMPTS["points"], True)
    finally:
        own.data, other.data = other.data, own.data
    assert np.abs(found[0] - expected[0]).max() > 1e-3 * np.abs(expected[0]).max()
