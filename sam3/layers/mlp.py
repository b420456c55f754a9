"""A plain multi-layer perceptron with optional residual and output norm."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class MLP(nn.Module):
    """Linear layers with ReLU between them: names ``layers.{i}`` and ``out_norm``.

    input_dim -> hidden_dim x (num_layers - 1) -> output_dim. With ``residual`` the input is added
    (needs input_dim == output_dim); then ``out_norm`` is applied if given. [..., input_dim] ->
    [..., output_dim].
    """

    def __init__(
        self,
        input_dim: int,
        hidden_dim: int,
        output_dim: int,
        num_layers: int,
        dropout: float = 0.0,
        residual: bool = False,
        out_norm: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if residual and input_dim != output_dim:
            raise ValueError(
                f"a residual MLP needs equal input and output widths, got {input_dim}, {output_dim}"
            )
        widths = [input_dim, *[hidden_dim] * (num_layers - 1), output_dim]
        self.layers = nn.ModuleList(
            nn.Linear(a, b) for a, b in zip(widths[:-1], widths[1:], strict=True)
        )
        self.drop = nn.Dropout(dropout)
        self.residual = residual
        self.out_norm = out_norm if out_norm is not None else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = x
        for layer in self.layers[:-1]:
            h = self.drop(F.relu(layer(h)))
        h = self.layers[-1](h)
        return self.out_norm(x + h if self.residual else h)
