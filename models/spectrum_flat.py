"""Paper C's flat networks: all links and bands of one network of fixed size in one vector."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from metagnn.graphs.checks import require
from metagnn.models.action_heads import Choice
from metagnn.models.attention import HistoryAttention
from metagnn.models.encoder import linear
from metagnn.models.spectrum import NUM_FEEDBACK, Memory, PolicyOverTime, PolicyShape, Seen, choices

# Layers of the LSTM in the paper's code.
NUM_LAYERS = 2


class FlatPolicy(PolicyOverTime):
    """A perceptron over all that is seen, then an LSTM and attention where memory is wanted.

    Has the methods of `GraphPolicy`, and no edges. Parameters may carry a leading axis, of
    networks that come first, where there is no memory.

    Args:
        shape: What it looks like.
        in_channels: Node features F.
        num_powers: Powers P.
        sizes: Links L, bands N and agents A of the network.

    Raises:
        ValueError: If a network has other sizes.
    """

    def __init__(
        self, shape: PolicyShape, in_channels: int, num_powers: int, sizes: tuple[int, int, int]
    ) -> None:
        super().__init__()
        self.shape, self.sizes = shape, sizes
        links, bands, agents = sizes
        inputs = links * (bands * in_channels + agents)
        inputs += 0 if shape.memory == "none" else NUM_FEEDBACK
        widths = [inputs, *shape.hidden_channels]
        self.layers = nn.ModuleList(map(nn.Linear, widths[:-1], widths[1:]))
        width = widths[-1]
        with_state = shape.memory != "none"
        self.lstm = nn.LSTM(width, width, NUM_LAYERS) if with_state else None
        with_history = shape.memory == "attention"
        self.attention = (
            HistoryAttention(width, shape.num_heads, shape.window) if with_history else None
        )
        self.powers = nn.Linear(width, agents * bands * num_powers)
        self.off = nn.Linear(width, agents // 2 * bands)
        self.value = nn.Linear(width, agents // 2 * bands)
        for head in (self.powers, self.off):
            nn.init.normal_(head.weight, 0.0, 0.01)
            nn.init.zeros_(head.bias)

    def start(self, seen: Seen) -> Memory:
        """Memory of networks ``[B]`` that have seen nothing yet."""
        batch, width = seen.graph.node.shape[0], self.shape.hidden_channels[-1]
        rows = 0 if self.lstm is None else 2 * NUM_LAYERS
        columns = 0 if self.attention is None else 2 * width
        new = seen.graph.node.new_zeros
        return Memory(new(batch, rows, width), new(batch, 0, columns))

    def _features(self, seen: Seen, given: Mapping[str, Tensor]) -> Tensor:
        node = seen.graph.node
        found = (*node.shape[-3:-1], seen.offer.shape[-2])
        require(found == self.sizes, "network", f"have the sizes {self.sizes}", found)
        # The tree is seen too: which agent serves which link.
        tree = functional.one_hot(seen.sender, self.sizes[-1]).to(node)
        x = torch.cat([node.flatten(-3), tree.flatten(-2)], dim=-1)
        if self.lstm is not None:
            x = torch.cat([x, seen.feedback], dim=-1)
        x = x.unsqueeze(-2)
        for number in range(len(self.layers)):
            x = torch.tanh(linear(given, f"layers.{number}", x))
        return x

    def _remember(
        self, x: Tensor, memory: Memory, given: Mapping[str, Tensor]
    ) -> tuple[Tensor, Memory]:
        if self.lstm is None:
            return x, memory
        hidden, cell = (part.contiguous() for part in memory.state.transpose(0, 1).chunk(2))
        times, (hidden, cell) = self.lstm(x.squeeze(-2), (hidden, cell))
        history = memory.history
        if self.attention is not None:
            recalled, history = self.attention(times.transpose(0, 1), history, given, "attention")
            times = times + recalled.transpose(0, 1)
        return times.unsqueeze(-2), Memory(torch.cat([hidden, cell]).transpose(0, 1), history)

    def decide(
        self,
        x: Tensor,
        seen: Seen,
        bands: slice = slice(None),
        parameters: Mapping[str, Tensor] | None = None,
    ) -> tuple[Choice, Tensor]:
        """See `GraphPolicy`; what earlier bands leave is not seen."""
        given = dict(self.named_parameters()) if parameters is None else parameters
        _, num_bands, agents = self.sizes
        powers = linear(given, "powers", x).squeeze(-2).unflatten(-1, (agents, num_bands, -1))
        off, value = (
            linear(given, name, x).squeeze(-2).unflatten(-1, (agents // 2, num_bands))[..., bands]
            for name in ("off", "value")
        )
        offer = seen.offer[..., bands]
        return choices(off.unsqueeze(-1), powers[..., bands, :], offer), value
