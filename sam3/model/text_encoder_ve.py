"""The phrase encoder: a causal CLIP-style text transformer and its projection to the model width.

Entry points :class:`VETextEncoder` (strings in, sequence-first features out) and
:class:`TextTransformer` (token ids in). In evaluation without gradients, features of a phrase seen
before come from a cache that notices changed weights.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..layers.attention import MultiheadAttention
from ..layers.basic import check_fixed
from .act_ckpt_utils import activation_ckpt_wrapper
from .text_cache import TextFeatureCache

TextTriple = tuple[Tensor, Tensor, Tensor]


class ResidualAttentionBlock(nn.Module):
    """Pre-norm block: causal self-attention, then a GELU MLP of 4x width, on [B, L, width]."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn = MultiheadAttention(width, heads, batch_first=True)
        self.ln_1 = nn.LayerNorm(width)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            OrderedDict(
                c_fc=nn.Linear(width, 4 * width),
                gelu=nn.GELU(),
                c_proj=nn.Linear(4 * width, width),
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        h = self.ln_1(x)
        x = x + self.attn(h, h, h, is_causal=True)[0]
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    """A stack of ``resblocks``."""

    def __init__(self, width: int, heads: int, layers: int, use_act_checkpoint: bool) -> None:
        super().__init__()
        self.use_act_checkpoint = use_act_checkpoint
        self.resblocks = nn.ModuleList(ResidualAttentionBlock(width, heads) for _ in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        for block in self.resblocks:
            x = activation_ckpt_wrapper(block)(
                x, act_ckpt_enable=self.use_act_checkpoint and self.training
            )
        return x


class TextTransformer(nn.Module):
    """Token ids [B, L] -> features [B, L, width] after the final norm (Radford et al. 2021, CLIP).

    ``text_projection`` belongs to the published checkpoint; SAM 3 does not use its product.
    """

    def __init__(
        self,
        context_length: int = 32,
        vocab_size: int = 49408,
        width: int = 1024,
        heads: int = 16,
        layers: int = 24,
        output_dim: int = 512,
        use_act_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        self.context_length = context_length
        self.token_embedding = nn.Embedding(vocab_size, width)
        self.positional_embedding = nn.Parameter(torch.empty(context_length, width))
        self.transformer = Transformer(width, heads, layers, use_act_checkpoint)
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.empty(width, output_dim))
        for table in (self.token_embedding.weight, self.positional_embedding, self.text_projection):
            nn.init.normal_(table, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.token_embedding(tokens) + self.positional_embedding[: tokens.shape[1]]
        return self.ln_final(self.transformer(x))


class VETextEncoder(nn.Module):
    """Phrases to features of the model width, with tokenizer, transformer and ``resizer``."""

    def __init__(
        self,
        d_model: int,
        tokenizer: Callable[..., Tensor],
        width: int = 1024,
        heads: int = 16,
        layers: int = 24,
        context_length: int = 32,
        vocab_size: int = 49408,
        use_act_checkpoint: bool = False,
        **fixed: Any,
    ) -> None:
        super().__init__()
        check_fixed("VETextEncoder", fixed, {"use_ln_post": True, "compile_mode": None})
        self.context_length = context_length
        self.tokenizer = tokenizer
        self.encoder = TextTransformer(
            context_length,
            vocab_size,
            width,
            heads,
            layers,
            use_act_checkpoint=use_act_checkpoint,
        )
        self.resizer = nn.Linear(width, d_model)
        self._cache = TextFeatureCache()

    def forward(
        self,
        text: Sequence[str] | tuple[Tensor, Tensor, dict[str, Tensor]],
        input_boxes: Tensor | None = None,
        device: torch.device | str | None = None,
    ) -> TextTriple:
        """Encode n phrases.

        Returns (padding mask [n, L] bool, True where the token id is 0; features [L, n, d_model];
        raw token embeddings [L, n, width]). A triple (features, mask, {"inputs_embeds": …}) is
        passed through. While training, L is the length of the longest phrase. ``input_boxes`` must
        be None: the released encoder has no box tokens.
        """
        if input_boxes is not None:
            raise ValueError("the text encoder takes no input_boxes; pass them as a Prompt")
        if not isinstance(text[0], str):
            features, mask, extra = text  # already encoded
            return mask, features, extra["inputs_embeds"]
        tokens = self.tokenizer(list(text), context_length=self.context_length)
        if self.training:
            # right padding cannot influence earlier tokens and is masked everywhere
            tokens = tokens[:, : int(tokens.ne(0).any(dim=0).nonzero().max()) + 1]
        tokens = tokens.to(self.resizer.weight.device)
        features = self._features(tokens)
        embeds = self.encoder.token_embedding(tokens)
        target = device if device is not None else tokens.device
        return (
            tokens.eq(0).to(target),
            features.transpose(0, 1).to(target),
            embeds.transpose(0, 1).to(target),
        )

    def _encode(self, tokens: Tensor) -> Tensor:
        return self.resizer(self.encoder(tokens))

    def _features(self, tokens: Tensor) -> Tensor:
        """[n, L] ids -> [n, L, d_model]; cached per phrase while evaluating without gradients."""
        if self.training or torch.is_grad_enabled():
            return self._encode(tokens)
        return self._cache.lookup(tokens, self._encode, self.parameters())
