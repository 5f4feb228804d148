"""A gated recurrent unit that any number of rows share, with parameters given by name."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from metagnn.models.encoder import linear


class Recurrent(nn.Module):
    r"""Gated recurrent unit (Cho et al., 2014), in the form and with the weights of `nn.GRUCell`.

    .. math:: r, z = \sigma(W_{r,z} x + U_{r,z} h), \quad n = \tanh(W_n x + r \odot U_n h), \quad
              h' = (1 - z) \odot n + z \odot h

    Args:
        in_channels: Features of the input.
        channels: Features of the state.

    Shapes:
        x ``[..., in_channels]`` and h ``[..., channels]``; returns ``[..., channels]``.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.of_input = nn.Linear(in_channels, 3 * channels)
        self.of_state = nn.Linear(channels, 3 * channels)

    def gates(self, x: Tensor, given: Mapping[str, Tensor], name: str) -> Tensor:
        """What the input says ``[..., 3 H]``, of all times at once."""
        return linear(given, f"{name}.of_input", x)

    def forward(self, gates: Tensor, h: Tensor, given: Mapping[str, Tensor], name: str) -> Tensor:
        """The next state.

        Args:
            gates: What the input says, see `gates`.
            h: The state.
            given: Parameters by name; those of this unit begin with ``name``.
            name: Name of this unit.
        """
        reset, update, new = gates.chunk(3, dim=-1)
        old_reset, old_update, old_new = linear(given, f"{name}.of_state", h).chunk(3, dim=-1)
        update = torch.sigmoid(update + old_update)
        new = torch.tanh(new + torch.sigmoid(reset + old_reset) * old_new)
        return torch.lerp(new, h, update)
