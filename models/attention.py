"""Self-attention of a state over those before it."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from metagnn.graphs.checks import check_count, require
from metagnn.models.encoder import linear


class HistoryAttention(nn.Module):
    r"""Multi-head attention (Vaswani et al., 2017) of each time over itself and what came before.

    .. math:: y_t = W_o \bigoplus_h \mathrm{softmax}_{t - w \le s \le t}
              \left(\frac{q_t^h \cdot k_s^h}{\sqrt{d}}\right) v_s^h

    Args:
        channels: Features of a state.
        num_heads: Heads, which share the features out among them.
        window: Times before its own that a time attends to.

    Shapes:
        Times ``[..., T, channels]``.

    Raises:
        ValueError: If the features cannot be shared out.
    """

    def __init__(self, channels: int, num_heads: int, window: int) -> None:
        super().__init__()
        check_count("num_heads", num_heads)
        check_count("window", window)
        rule = f"divide the {channels} features"
        require(channels % num_heads == 0, "num_heads", rule, num_heads)
        self.num_heads, self.window = num_heads, window
        self.query = nn.Linear(channels, channels)
        self.key_value = nn.Linear(channels, 2 * channels)
        self.out = nn.Linear(channels, channels)

    def forward(
        self, x: Tensor, history: Tensor, given: Mapping[str, Tensor], name: str
    ) -> tuple[Tensor, Tensor]:
        """What the times recall, and the history that the next one attends to.

        Args:
            x: Times ``[..., T, C]``.
            history: Keys and values of the times before ``[..., S, 2 C]``.
            given: Parameters by name; those of this layer begin with ``name``.
            name: Name of this layer.
        """
        num_new, num_old = x.shape[-2], history.shape[-2]
        history = torch.cat([history, linear(given, f"{name}.key_value", x)], dim=-2)
        key, value = history.chunk(2, dim=-1)
        query = linear(given, f"{name}.query", x)
        times = torch.arange(num_old + num_new, device=x.device)
        past = times[num_old:].unsqueeze(-1) - times
        seen = (past >= 0) & (past <= self.window)
        heads = functional.scaled_dot_product_attention(
            self._heads(query), self._heads(key), self._heads(value), attn_mask=seen
        )
        recalled = linear(given, f"{name}.out", heads.transpose(-3, -2).flatten(-2))
        return recalled, history[..., -self.window :, :]

    def _heads(self, x: Tensor) -> Tensor:
        heads: Tensor = x.unflatten(-1, (self.num_heads, -1))
        return heads.transpose(-3, -2)
