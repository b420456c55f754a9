"""Points, boxes and masks as tokens and feature maps for the mask decoder.

Segment Anything (https://arxiv.org/abs/2304.02643), section "prompt encoder": points and box
corners become a random-frequency position code (Tancik et al. 2020) plus a learned embedding of
their kind; a mask is shrunk by convolutions to the size of the image embedding.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..errors import InputError
from .common import LayerNorm2d

PADDING_LABEL = -1
NUM_POINT_KINDS = 4  # labels 0..3: negative, positive, top-left and bottom-right box corner


class PositionEmbeddingRandom(nn.Module):
    """Position code [sin z, cos z] with z = 2 pi (2 c - 1) G for a fixed random matrix G.

    ``num_pos_feats`` is half the width of the code; ``scale`` is the standard deviation of G, 1 if
    None or not positive. The code is computed in float32.
    """

    def __init__(self, num_pos_feats: int = 64, scale: float | None = None) -> None:
        super().__init__()
        std = 1.0 if scale is None or scale <= 0 else scale
        self.register_buffer(
            "positional_encoding_gaussian_matrix", std * torch.randn(2, num_pos_feats)
        )

    def _code(self, coords: Tensor) -> Tensor:
        """(x, y) in [0, 1], [..., 2] -> [..., 2 * num_pos_feats], float32."""
        matrix = self.positional_encoding_gaussian_matrix.float()
        z = 2 * math.pi * ((2 * coords.float() - 1) @ matrix)
        return torch.cat([z.sin(), z.cos()], dim=-1)

    def forward(self, size: tuple[int, int]) -> Tensor:
        """Code of the pixel centres of a grid (h, w): [2 * num_pos_feats, h, w], float32."""
        h, w = size
        device = self.positional_encoding_gaussian_matrix.device
        y = (torch.arange(h, device=device, dtype=torch.float32) + 0.5) / h
        x = (torch.arange(w, device=device, dtype=torch.float32) + 0.5) / w
        grid = torch.stack([x.expand(h, w), y[:, None].expand(h, w)], dim=-1)
        return self._code(grid).permute(2, 0, 1)

    def forward_with_coords(self, coords_input: Tensor, image_size: tuple[int, int]) -> Tensor:
        """Code of pixel coordinates (x, y), [..., 2], in a picture of ``image_size`` (h, w)."""
        h, w = image_size
        return self._code(coords_input / torch.tensor([w, h], device=coords_input.device))


class PromptEncoder(nn.Module):
    """Encoder of point, box and mask prompts.

    ``embed_dim`` C; ``image_embedding_size`` (h, w) of the image features; ``input_image_size``
    (H, W) in whose pixels coordinates are given; ``mask_in_chans`` width of the mask convolutions.
    """

    def __init__(
        self,
        embed_dim: int,
        image_embedding_size: tuple[int, int],
        input_image_size: tuple[int, int],
        mask_in_chans: int,
        activation: Callable[[], nn.Module] = nn.GELU,
    ) -> None:
        super().__init__()
        self.embed_dim = embed_dim
        self.input_image_size = input_image_size
        self.image_embedding_size = image_embedding_size
        self.mask_input_size = (4 * image_embedding_size[0], 4 * image_embedding_size[1])
        self.pe_layer = PositionEmbeddingRandom(embed_dim // 2)
        self.point_embeddings = nn.ModuleList(
            nn.Embedding(1, embed_dim) for _ in range(NUM_POINT_KINDS)
        )
        self.not_a_point_embed = nn.Embedding(1, embed_dim)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, mask_in_chans // 4, kernel_size=2, stride=2),
            LayerNorm2d(mask_in_chans // 4),
            activation(),
            nn.Conv2d(mask_in_chans // 4, mask_in_chans, kernel_size=2, stride=2),
            LayerNorm2d(mask_in_chans),
            activation(),
            nn.Conv2d(mask_in_chans, embed_dim, kernel_size=1),
        )
        self.no_mask_embed = nn.Embedding(1, embed_dim)

    def get_dense_pe(self) -> Tensor:
        """Position code of the image embedding: [1, C, h, w]."""
        return self.pe_layer(self.image_embedding_size)[None].to(self.no_mask_embed.weight.dtype)

    def forward(
        self,
        points: tuple[Tensor, Tensor] | None,
        boxes: Tensor | None,
        masks: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Encode B prompts; any of the three kinds may be None.

        points: coordinates (x, y) in pixels of ``input_image_size``, [B, P, 2], and labels [B, P]:
            1 foreground, 0 background, 2 / 3 top-left / bottom-right box corner, -1 not a point.
        boxes: [B, 4] as (x0, y0, x1, y1) in the same pixels.
        masks: logits [B, 1, 4 h, 4 w].
        Returns sparse tokens [B, n, C] (points, a padding token if there are no boxes, corners)
        and dense features [B, C, h, w]. Raises InputError for masks of another size.
        """
        given = [t for t in (*(points or ()), boxes, masks) if t is not None]
        batch = len(given[0]) if given else 1
        table = self._kind_table()
        sparse = table.new_empty(batch, 0, self.embed_dim)
        if points is not None:
            coords, labels = points[0].float() + 0.5, points[1]
            if boxes is None:
                coords = torch.cat([coords, coords.new_zeros(batch, 1, 2)], dim=1)
                labels = torch.cat([labels, labels.new_full((batch, 1), PADDING_LABEL)], dim=1)
            sparse = torch.cat([sparse, self._embed_points(coords, labels, table)], dim=1)
        if boxes is not None:
            corners = boxes.float().reshape(batch, 2, 2) + 0.5
            labels = torch.tensor([2, 3], device=boxes.device).expand(batch, 2)
            sparse = torch.cat([sparse, self._embed_points(corners, labels, table)], dim=1)
        if masks is not None:
            return sparse, self._embed_masks(masks)
        dense = self.no_mask_embed.weight.reshape(1, -1, 1, 1)
        return sparse, dense.expand(batch, -1, *self.image_embedding_size)

    def _kind_table(self) -> Tensor:
        """Embeddings by label + 1, [6, C]: padding, the four kinds, zero for any other label."""
        padding: Tensor = self.not_a_point_embed.weight
        kinds: list[Tensor] = [embedding.weight for embedding in self.point_embeddings]
        return torch.cat([padding, *kinds, torch.zeros_like(padding)])

    def _embed_points(self, coords: Tensor, labels: Tensor, table: Tensor) -> Tensor:
        """Code of coords [B, P, 2] plus the embedding of labels [B, P]: [B, P, C]."""
        code = self.pe_layer.forward_with_coords(coords, self.input_image_size).to(table.dtype)
        code = code.masked_fill((labels == PADDING_LABEL)[..., None], 0.0)
        known = (labels >= PADDING_LABEL) & (labels < NUM_POINT_KINDS)
        rows = torch.where(known, labels + 1, len(table) - 1).long()
        return code + table[rows]

    def _embed_masks(self, masks: Tensor) -> Tensor:
        if masks.ndim != 4 or tuple(masks.shape[1:]) != (1, *self.mask_input_size):
            raise InputError(
                f"a mask prompt must be [B, 1, {self.mask_input_size[0]},"
                f" {self.mask_input_size[1]}] logits, got {tuple(masks.shape)}; resize it first"
            )
        return self.mask_downscaling(masks.to(self.mask_downscaling[0].weight.dtype))
