"""Mask decoder: image features and prompt tokens in; mask logits, IoU and presence scores out.

Segment Anything (https://arxiv.org/abs/2304.02643), section "mask decoder", with the
high-resolution features, presence score and object pointer of SAM 2
(https://arxiv.org/abs/2408.00714).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ..layers.mlp import MLP
from .common import LayerNorm2d

ALWAYS_PRESENT = 10.0  # presence logit of a decoder without a presence head

MaskDecoderOutput = tuple[Tensor, Tensor, Tensor, Tensor]


class MaskDecoder(nn.Module):
    """Predicts one mask for clear prompts or ``num_multimask_outputs`` for ambiguous ones.

    ``transformer``: a two-way transformer of width ``transformer_dim``. The remaining keywords
    switch on features of the released tracker: high-resolution features, a sigmoid on the IoU
    head, choice of the single mask by stability, presence score, pointer tokens of all masks.
    """

    def __init__(
        self,
        *,
        transformer_dim: int,
        transformer: nn.Module,
        num_multimask_outputs: int = 3,
        activation: Callable[[], nn.Module] = nn.GELU,
        iou_head_depth: int = 3,
        iou_head_hidden_dim: int = 256,
        use_high_res_features: bool = False,
        iou_prediction_use_sigmoid: bool = False,
        dynamic_multimask_via_stability: bool = False,
        dynamic_multimask_stability_delta: float = 0.05,
        dynamic_multimask_stability_thresh: float = 0.98,
        pred_obj_scores: bool = False,
        pred_obj_scores_mlp: bool = False,
        use_multimask_token_for_obj_ptr: bool = False,
    ) -> None:
        super().__init__()
        dim = transformer_dim
        self.transformer_dim = dim
        self.transformer = transformer
        self.num_multimask_outputs = num_multimask_outputs
        self.num_mask_tokens = num_multimask_outputs + 1
        self.use_high_res_features = use_high_res_features
        self.iou_prediction_use_sigmoid = iou_prediction_use_sigmoid
        self.dynamic_multimask_via_stability = dynamic_multimask_via_stability
        self.dynamic_multimask_stability_delta = dynamic_multimask_stability_delta
        self.dynamic_multimask_stability_thresh = dynamic_multimask_stability_thresh
        self.pred_obj_scores = pred_obj_scores
        self.use_multimask_token_for_obj_ptr = use_multimask_token_for_obj_ptr

        self.iou_token = nn.Embedding(1, dim)
        self.mask_tokens = nn.Embedding(self.num_mask_tokens, dim)
        if pred_obj_scores:
            self.obj_score_token = nn.Embedding(1, dim)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(dim, dim // 4, kernel_size=2, stride=2),
            LayerNorm2d(dim // 4),
            activation(),
            nn.ConvTranspose2d(dim // 4, dim // 8, kernel_size=2, stride=2),
            activation(),
        )
        if use_high_res_features:
            self.conv_s0 = nn.Conv2d(dim, dim // 8, kernel_size=1)
            self.conv_s1 = nn.Conv2d(dim, dim // 4, kernel_size=1)
        self.output_hypernetworks_mlps = nn.ModuleList(
            MLP(dim, dim, dim // 8, 3) for _ in range(self.num_mask_tokens)
        )
        self.iou_prediction_head = MLP(
            dim, iou_head_hidden_dim, self.num_mask_tokens, iou_head_depth
        )
        if pred_obj_scores:
            self.pred_obj_score_head = (
                MLP(dim, dim, 1, 3) if pred_obj_scores_mlp else nn.Linear(dim, 1)
            )

    def forward(
        self,
        image_embeddings: Tensor,
        image_pe: Tensor,
        sparse_prompt_embeddings: Tensor,
        dense_prompt_embeddings: Tensor,
        multimask_output: bool,
        repeat_image: bool,
        high_res_features: Sequence[Tensor] | None = None,
    ) -> MaskDecoderOutput:
        """Masks for B prompts.

        image_embeddings: [B, C, h, w], or [1, C, h, w] with ``repeat_image``.
        image_pe: [1, C, h, w]. sparse_prompt_embeddings: [B, n, C].
        dense_prompt_embeddings: [B, C, h, w].
        high_res_features: [., C / 8, 4 h, 4 w] and [., C / 4, 2 h, 2 w], already through
            ``conv_s0`` / ``conv_s1``; batch B or 1.
        Returns mask logits [B, M, 4 h, 4 w], predicted IoU [B, M], mask tokens [B, M, C] for
        object pointers, presence logits [B, 1]; M is ``num_multimask_outputs`` or 1.
        """
        masks, ious, tokens, presence = self.predict_masks(
            image_embeddings,
            image_pe,
            sparse_prompt_embeddings,
            dense_prompt_embeddings,
            repeat_image,
            high_res_features,
        )
        all_pointers = multimask_output and self.use_multimask_token_for_obj_ptr
        pointers = tokens[:, 1:] if all_pointers else tokens[:, :1]
        if multimask_output:
            return masks[:, 1:], ious[:, 1:], pointers, presence
        if self.dynamic_multimask_via_stability and not self.training:
            masks, ious = self._dynamic_multimask_via_stability(masks, ious)
        return masks[:, :1], ious[:, :1], pointers, presence

    def predict_masks(
        self,
        image_embeddings: Tensor,
        image_pe: Tensor,
        sparse_prompt_embeddings: Tensor,
        dense_prompt_embeddings: Tensor,
        repeat_image: bool,
        high_res_features: Sequence[Tensor] | None = None,
    ) -> MaskDecoderOutput:
        """As :meth:`forward`, with all ``num_multimask_outputs + 1`` masks, IoUs and tokens."""
        batch = sparse_prompt_embeddings.shape[0]
        own = [self.iou_token.weight, self.mask_tokens.weight]
        if self.pred_obj_scores:
            own.insert(0, self.obj_score_token.weight)
        own_tokens = torch.cat(own).expand(batch, -1, -1)
        tokens = torch.cat([own_tokens, sparse_prompt_embeddings], dim=1)
        if not repeat_image and image_embeddings.shape[0] != batch:
            raise ValueError(
                f"{image_embeddings.shape[0]} image embeddings for {batch} prompts:"
                " pass repeat_image=True for prompts on one image"
            )
        src = image_embeddings + dense_prompt_embeddings
        height, width = src.shape[-2:]
        hidden, src = self.transformer(src, image_pe, tokens)
        src = src.transpose(1, 2).unflatten(-1, (height, width))

        first = int(self.pred_obj_scores)  # position of the IoU token
        mask_tokens = hidden[:, first + 1 : first + 1 + self.num_mask_tokens]
        masks = self._masks(mask_tokens, self._upscale(src, high_res_features))
        ious = self.iou_prediction_head(hidden[:, first])
        if self.iou_prediction_use_sigmoid:
            ious = ious.sigmoid()
        if self.pred_obj_scores:
            presence = self.pred_obj_score_head(hidden[:, 0])
        else:
            presence = ious.new_full((batch, 1), ALWAYS_PRESENT)
        return masks, ious, mask_tokens, presence

    def _upscale(self, src: Tensor, high_res_features: Sequence[Tensor] | None) -> Tensor:
        """[B, C, h, w] -> [B, C / 8, 4 h, 4 w], adding finer features on the way."""
        if not self.use_high_res_features:
            return self.output_upscaling(src)
        if high_res_features is None:
            raise ValueError("this mask decoder needs high_res_features: two finer feature levels")
        fine, middle = high_res_features
        up1, norm, act1, up2, act2 = self.output_upscaling
        return act2(up2(act1(norm(up1(src) + middle))) + fine)

    def _masks(self, tokens: Tensor, features: Tensor) -> Tensor:
        """Tokens [B, M, C] as filters over features [B, C / 8, H, W]: logits [B, M, H, W]."""
        filters = [mlp(tokens[:, i]) for i, mlp in enumerate(self.output_hypernetworks_mlps)]
        masks = torch.stack(filters, dim=1) @ features.flatten(2)
        return masks.unflatten(-1, features.shape[-2:])

    def _get_stability_scores(self, mask_logits: Tensor) -> Tensor:
        """Mask logits [..., H, W] -> [...]: how little the mask depends on the threshold.

        IoU of the masks at +delta and at -delta; 1 for a mask that is empty at both.
        """
        flat = mask_logits.flatten(-2)
        delta = self.dynamic_multimask_stability_delta
        inner = (flat > delta).sum(-1).float()
        outer = (flat > -delta).sum(-1).float()
        return torch.where(outer > 0, inner / outer.clamp(min=1), 1.0)

    def _dynamic_multimask_via_stability(
        self, all_mask_logits: Tensor, all_iou_scores: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Mask 0 where it is stable, otherwise the one of the others with the best IoU score.

        [B, M + 1, H, W] and [B, M + 1] -> [B, 1, H, W] and [B, 1].
        """
        best = all_iou_scores[:, 1:].argmax(dim=-1) + 1
        stability = self._get_stability_scores(all_mask_logits[:, 0])
        stable = stability >= self.dynamic_multimask_stability_thresh
        rows = torch.arange(len(best), device=best.device)
        chosen = torch.where(stable, 0, best)
        return all_mask_logits[rows, chosen][:, None], all_iou_scores[rows, chosen][:, None]
