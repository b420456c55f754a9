"""The independent implementation that results and times are compared with: transformers' Sam3Model.

It is run as a black box: a configuration of the same sizes, the same weights through the key table
of ``sam3.checkpoint``, the same inputs. Three differences are known and allowed for here and in
the test: its ViT LayerNorm epsilon (set to ours), its clamp of presence logits to +-10, and its
prompt without boxes, which lacks the CLS token (so only prompts with boxes give equal outputs).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sam3.config import Sam3ImageConfig

VIT_EPS = 1e-5
PRESENCE_CLAMP = 10.0


def missing_peer() -> str | None:
    """Why the peer cannot be used here, or None when it can."""
    try:
        import transformers
    except ImportError as error:
        return f"transformers is not installed ({error}); pip install transformers"
    if not hasattr(transformers, "Sam3Model"):
        return f"transformers {transformers.__version__} has no Sam3Model; update it"
    return None


def vision_words(config: Sam3ImageConfig) -> dict[str, Any]:
    """The peer's ``vision_config`` of the same sizes.

    Raises ValueError for sizes it has no word for.
    """
    v, d = config.vision, config.d_model
    if config.neck.scalp != 1:
        raise ValueError(f"the peer always drops one pyramid level, not {config.neck.scalp}")
    return {
        "backbone_config": {
            "model_type": "sam3_vit_model",
            "hidden_size": v.embed_dim,
            "intermediate_size": int(v.embed_dim * v.mlp_ratio),
            "num_hidden_layers": v.depth,
            "num_attention_heads": v.num_heads,
            "image_size": v.img_size,
            "patch_size": v.patch_size,
            "window_size": v.window_size,
            "global_attn_indexes": list(v.global_blocks),
            "pretrain_image_size": v.pretrain_img_size,
            "layer_norm_eps": VIT_EPS,
        },
        "fpn_hidden_size": d,
        "backbone_feature_sizes": [[int(v.grid * s)] * 2 for s in (4, 2, 1)],
        "scale_factors": list(config.neck.scale_factors),
    }


def peer_config(config: Sam3ImageConfig) -> Any:
    """``transformers.Sam3Config`` of the same sizes.

    Raises ValueError for sizes it has no word for.
    """
    import transformers

    t, d = config.text, config.d_model
    shared = {
        "hidden_size": d,
        "num_attention_heads": config.num_heads,
        "intermediate_size": config.dim_feedforward,
    }
    text = {
        "model_type": "clip_text_model",
        "vocab_size": t.vocab_size,
        "hidden_act": "gelu",
        "projection_dim": 512,
        "hidden_size": t.width,
        "intermediate_size": 4 * t.width,
        "num_hidden_layers": t.layers,
        "num_attention_heads": t.heads,
        "max_position_embeddings": t.context_length,
        "bos_token_id": t.vocab_size - 2,
        "eos_token_id": t.vocab_size - 1,
    }
    return transformers.Sam3Config(
        vision_config=vision_words(config),
        text_config=text,
        geometry_encoder_config={
            **shared,
            "num_layers": config.geometry.layers,
            "roi_size": config.geometry.roi_size,
        },
        detr_encoder_config={**shared, "num_layers": config.encoder_layers},
        detr_decoder_config={
            **shared,
            "num_layers": config.decoder.layers,
            "num_queries": config.decoder.num_queries,
        },
        mask_decoder_config={
            "hidden_size": d,
            "num_upsampling_stages": config.segmentation.upsampling_stages,
            "num_attention_heads": config.num_heads,
        },
    )


def save_peer_folder(config: Sam3ImageConfig, state: dict[str, Tensor], folder: Path) -> Path:
    """Write ``config.json`` and ``model.safetensors`` that ``Sam3Model.from_pretrained`` loads.

    state: tensors under the peer's names (``to_huggingface(..., keep_extras=False)``).
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    peer_config(config).save_pretrained(folder)
    # separate storage: q, k, v are views of one tensor in our layout
    contiguous = {name: tensor.clone().contiguous() for name, tensor in state.items()}
    save_file(contiguous, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def load_peer(folder: Path, device: torch.device, dtype: torch.dtype) -> Any:
    """The peer model from a folder of :func:`save_peer_folder`, in evaluation mode."""
    import transformers

    model = transformers.Sam3Model.from_pretrained(folder, dtype=dtype, local_files_only=True)
    return model.to(device).eval()


def fill_randomly(state: dict[str, Tensor], seed: int = 0) -> None:
    """Fill the floating-point tensors of ``state`` in place so that every one of them matters.

    Matrices get gain-one normal values, biases and tables small ones, norms values around one. A
    fresh model would hide mistakes behind its zeros.
    """
    generator = torch.Generator().manual_seed(seed)
    for name in sorted(state):
        tensor = state[name]
        if not tensor.is_floating_point():
            continue
        noise = torch.randn(tensor.shape, generator=generator)
        if tensor.ndim >= 2 and not name.endswith(("embed", "embedding.weight", "embeddings")):
            noise /= tensor[0].numel() ** 0.5
        elif tensor.ndim == 1 and name.endswith("weight"):
            noise = 1 + 0.1 * noise
        else:
            noise *= 0.1
        tensor.copy_(noise)
