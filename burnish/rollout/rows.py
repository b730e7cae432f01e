"""What a layer does to each row of numbers between its matrix products: residual sums, norms, rotation, gates.

`CompiledRows` (rollout/compiled/steps.py) does the same in one loop each.

Shapes: N rows, D width, H query heads, K key heads, E head width, F width of the feed-forward block.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


class TorchRows:
    """With torch's operations: any type, any device."""

    def __init__(self, heads: int, compute: torch.dtype, eps: float, gate: str = "silu") -> None:
        """heads: H. compute: the type of matrix products. gate: "silu" or "gelu_pytorch_tanh"."""
        self._heads, self._compute, self._eps = heads, compute, eps
        self._gelu = gate == "gelu_pytorch_tanh"

    def normed(self, x_ND: Tensor, weight_D: Tensor | None) -> Tensor:
        """[N, D] root-mean-square norm in the compute type; without a weight x itself."""
        if weight_D is None:
            return x_ND.to(self._compute)
        return functional.rms_norm(x_ND.to(weight_D.dtype), weight_D.shape, weight_D, self._eps).to(self._compute)

    def added(self, x_ND: Tensor, y_ND: Tensor, weight_D: Tensor | None) -> Tensor:
        """The norm of x + y, which x becomes."""
        return self.normed(x_ND.add_(y_ND), weight_D)

    def rotated(
        self, fused_NX: Tensor, places_N: Tensor, angles: tuple[Tensor, Tensor], norms: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Turned queries [N, H, E] and keys [N, K, E], and values [N, K, E], from fused projections [N, (H+2K)*E].

        angles: cos and signed sin [positions, 1, E]. norms: weights of queries and keys, [E] where each head is normed, [heads, E]
        where all heads of a token are normed together.
        """
        cos_N1E, sin_N1E = angles[0][places_N], angles[1][places_N]
        width = cos_N1E.shape[-1]
        heads = fused_NX.view(len(fused_NX), -1, width)
        turning = (heads.shape[1] + self._heads) // 2
        turned, v = heads[:, :turning], heads[:, turning:]
        turned = turned.to(cos_N1E.dtype)
        if norms is not None:
            parts = ((turned[:, : self._heads], norms[0]), (turned[:, self._heads :], norms[1]))
            turned = torch.cat([functional.rms_norm(p, w.shape, w, self._eps) for p, w in parts], 1)
        # sin carries the sign of "rotate half", so that a roll replaces the negate-and-join.
        turned = torch.addcmul(turned * cos_N1E, turned.roll(width // 2, -1), sin_N1E).to(self._compute)
        return turned[:, : self._heads], turned[:, self._heads :], v

    def gated(self, both_NX: Tensor) -> Tensor:
        """[N, F] f(gate) * up from both side by side."""
        gate, up = both_NX.chunk(2, -1)
        return (functional.gelu(gate, approximate="tanh") if self._gelu else functional.silu(gate)) * up
