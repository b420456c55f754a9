"""The precision policy: choices, float32 islands, results in half precision."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sam3.config import presets
from sam3.errors import DeviceError, InputError
from sam3.model.sam3_image_processor import Sam3Processor
from sam3.model_builder import build_sam3_image_model
from sam3.precision import FP32_ISLANDS, PrecisionPolicy, resolve_precision


def test_choices():
    assert resolve_precision("bf16").dtype == torch.bfloat16
    policy = PrecisionPolicy("mine", torch.float16)
    assert resolve_precision(policy) is policy
    with pytest.raises(InputError, match="fp8.*auto, fp32"):
        resolve_precision("fp8")
    with pytest.raises(DeviceError, match="CPU"):
        resolve_precision("fp16", "cpu")


@pytest.mark.parametrize(
    ("capability", "expected"), [((7, 5), "fp16"), ((8, 0), "bf16"), ((9, 0), "bf16")]
)
def test_auto_on_cuda(capability, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)
    assert resolve_precision("auto", "cuda").name == expected


@pytest.mark.parametrize(("supported", "expected"), [(True, "bf16"), (False, "fp32")])
def test_auto_on_cpu(supported, expected, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: supported, raising=False)
    assert resolve_precision("auto", "cpu").name == expected
    assert resolve_precision("auto", "mps").name == "fp32"


def _build(precision: str):
    torch.manual_seed(0)
    return build_sam3_image_model(
        config=presets.SAM3_TINY, load_from_HF=False, device="cpu", precision=precision
    )


def test_islands_stay_float32():
    model = _build("bf16")
    dtypes = {n: p.dtype for n, p in model.named_parameters()}
    for name, dtype in dtypes.items():
        wanted = torch.float32 if name.startswith(FP32_ISLANDS) else torch.bfloat16
        assert dtype == wanted, name
    assert {d for n, d in dtypes.items() if n.startswith(FP32_ISLANDS)}
    assert model.backbone.vision_backbone.trunk.blocks[0].attn.freqs_cis.dtype == torch.complex64


def test_half_precision_agrees_with_float32():
    picture = np.random.default_rng(0).integers(0, 256, (80, 60, 3), dtype=np.uint8)
    outputs = {}
    for precision in ("fp32", "bf16"):
        processor = Sam3Processor(_build(precision), confidence_threshold=0.0)
        state = processor.set_image(picture)
        processor.add_geometric_prompt([0.5, 0.5, 0.3, 0.3], True, state, run=False)
        outputs[precision] = processor.set_text_prompt("red circle", state)
    a, b = outputs["fp32"], outputs["bf16"]
    for key, cosine in (("scores", 0.999), ("boxes", 0.999), ("masks_logits", 0.99)):
        assert b[key].dtype == torch.float32
        x, y = a[key].flatten().double(), b[key].flatten().double()
        assert torch.cosine_similarity(x, y, dim=0) >= cosine, key


def test_casting_the_module_keeps_the_rotary_tables():
    model = _build("fp32")
    attention = model.backbone.vision_backbone.trunk.blocks[0].attn
    before = attention.freqs_cis.clone()
    model.half()
    assert attention.freqs_cis.dtype == torch.complex64
    assert torch.equal(attention.freqs_cis, before)
    assert attention.qkv.weight.dtype == torch.float16
