"""Networks of offloading: an actor that scores users' channels, and a critic of all users."""

from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from metagnn.graphs.checks import check_count, require
from metagnn.graphs.sparse_interference import Graph
from metagnn.models.encoder import Encoder, linear

# Shares below this are as good as none: their logarithm is bounded for the critic.
LEAST_SHARE = 1e-6
# Backwards, who changes less than this in what somebody hears has no effect there [decades].
INAUDIBLE = 0.01
# Range of the logarithms of what a critic says.
LOG_RANGE = (-14.0, 3.0)


@dataclass(frozen=True)
class Wishes:
    """What an actor says of its users, before it is made a decision; all numbers are unbounded.

    Attributes:
        ratio: Offloading ratios ``[B, I]``.
        score: Scores of the channels ``[B, I, K]``.
        level: Levels of the powers on the channels ``[B, I, K]``.
        need: Logarithms of needs of the server ``[B, I]``.
    """

    ratio: Tensor
    score: Tensor
    level: Tensor
    need: Tensor

    def disturbed(self, scale: float, generator: torch.Generator) -> "Wishes":
        """The same with Gaussian noise of the given scale, with which the users are explored."""

        def noise(value: Tensor) -> Tensor:
            drawn = torch.randn(value.shape, generator=generator, device=generator.device)
            return value + scale * drawn

        return Wishes(*(noise(getattr(self, field.name)) for field in fields(self)))


@dataclass(frozen=True)
class JointAction:
    """What a critic sees of a decision.

    Attributes:
        place: Who is on which channel ``[B, I, K]``, 0 or 1.
        ratio: Offloading ratios ``[B, I]`` in [0, 1].
        level: Levels of the powers on the channels ``[B, I, K]``, 0 the smallest, 1 the largest in
            dB; what counts is the one on the user's channel.
        share: Shares of the server ``[B, I]``.
    """

    place: Tensor
    ratio: Tensor
    level: Tensor
    share: Tensor


class OffloadingActor(Encoder):
    """Actor of all sites: an encoder over the users' channels, and a head per wish.

    Users hear over the graph's edges, which run within cells. One network serves any number of
    users, channels and cells.

    Args:
        in_channels: Node features F.
        hidden_channels: Widths of the encoder's layers.
        bidirectional: Also convolve over the reversed edges.
        num_claims: Features of a layer that are shares over the channels (see `Encoder`).

    Shapes:
        graph with node ``[B, I, K, F]`` and edge_weight ``[B, I, I]``; returns `Wishes`.

    Raises:
        ValueError: If a width is not positive, or claims fill a layer.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: tuple[int, ...] = (24, 24, 24),
        bidirectional: bool = True,
        num_claims: int = 8,
    ) -> None:
        check_count("in_channels", in_channels)
        require(len(hidden_channels) > 0, "hidden_channels", "hold a layer", ())
        for width in hidden_channels:
            check_count("hidden_channels", width)
        check_count("num_claims", num_claims, minimum=0)
        rule = "be less than each width, so that each layer has other features"
        require(num_claims < min(hidden_channels), "num_claims", rule, num_claims)
        super().__init__(in_channels, hidden_channels, True, bidirectional, num_claims)
        width = hidden_channels[-1]
        self.per_channel = nn.Linear(width, 2)
        self.per_user = nn.Linear(width, 2)
        # The first wishes are nearly alike for all observations.
        for head in (self.per_channel, self.per_user):
            nn.init.normal_(head.weight, 0.0, 0.01)
            nn.init.zeros_(head.bias)

    def forward(self, graph: Graph) -> Wishes:
        """Wishes of the users."""
        given = dict(self.named_parameters())
        x = self.encode(graph, given)
        score, level = linear(given, "per_channel", x).movedim(0, -3).unbind(-1)
        of_users = linear(given, "per_user", x.mean(-2, keepdim=True))
        ratio, need = of_users.squeeze(-2).movedim(0, -2).unbind(-1)
        return Wishes(ratio, score, level, need)


class OffloadingCritic(nn.Module):
    r"""Value of a joint action, user by user, by one sum over the interference graph.

    User i hears on channel k, in decades over the noise,

    .. math:: H_{ik} = \log_{10}\left(1 + \sum_j w_{ji} b_{jk} 10^{-D (1 - \ell_j) / 10}\right)

    where the weight w of an edge is the mean gain times the largest power over the noise, and the
    level l a power within D dB. What a user would get on a channel follows by a perceptron from
    its observation, its own action and what it hears there: a probability, and positive numbers of
    any order of magnitude. Its value is that of the channel it is on, or of none. So a value is
    linear in the user's own choice of a channel. Without edges the critic is a local one.

    Backwards a choice counts at others by what they have with it less what they have without it,
    where they would hear the difference (`INAUDIBLE`).
    By slopes an interferer would be free where a value is flat up to a cliff; a first one would
    seem thousands of times as loud as it is going to be, and an old one silent.

    Args:
        in_channels: Node features F of the observation.
        first: Logarithms of the positive parts at first; with the probability, which comes first,
            these are the parts P.
        hidden_channels: Widths of the perceptron.
        span_db: Range D of the powers [dB].

    Raises:
        ValueError: If a width is not positive.
    """

    def __init__(
        self,
        in_channels: int,
        first: tuple[float, ...],
        hidden_channels: tuple[int, ...] = (64, 64),
        span_db: float = 53.0,
    ) -> None:
        super().__init__()
        check_count("in_channels", in_channels)
        require(len(hidden_channels) > 0, "hidden_channels", "hold a layer", ())
        for width in hidden_channels:
            check_count("hidden_channels", width)
        self.first, self.span_db = first, span_db
        widths = [in_channels + 4, *hidden_channels]
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(widths))
        self.value = nn.Linear(widths[-1], 1 + len(first))

    def forward(self, graph: Graph, action: JointAction) -> Tensor:
        """Parts of the values ``[B, I, P]``.

        Args:
            graph: Node ``[B, I, K, F]``, and the weights w of edges between cells ``[B, I, I]``.
            action: What all users do.
        """
        weight: Any = graph.edge_weight
        strength = 10.0 ** (-self.span_db / 10.0 * (1.0 - action.level))
        hard = action.place.detach()
        heard = torch.log10(1.0 + weight.mT @ (hard * strength))
        share = 0.5 * action.share.clamp(min=LEAST_SHARE).log()
        own = torch.stack([action.ratio, share], dim=-1).unsqueeze(-2)
        of_user = own.expand(*action.level.shape, 2)
        per_channel = torch.stack([action.level, heard], dim=-1)
        on_channels = torch.cat([graph.node, of_user, per_channel], dim=-1)
        # Without a channel all is computed locally.
        nothing = functional.pad(graph.node.mean(-2, keepdim=True), (0, 4))
        rows = torch.cat([on_channels, nothing], dim=-2)
        place = torch.cat([action.place, 1.0 - action.place.sum(-1, keepdim=True)], dim=-1)
        if not place.requires_grad:
            # Only what the users do counts.
            index = place.argmax(-1, keepdim=True)
            rows = rows.gather(-2, index.unsqueeze(-1).expand(*index.shape, rows.shape[-1]))
            place = torch.ones_like(place[..., :1])
        found: Tensor = (place.unsqueeze(-1) * self._parts(rows)).sum(-2)
        if action.place.requires_grad:
            found = found + self._of_others(on_channels, weight, action.place, strength.detach())
        return found

    def _of_others(
        self, on_channels: Tensor, weight: Tensor, place: Tensor, strength: Tensor
    ) -> Tensor:
        """Zeros ``[B, I, P]``, of which slopes are what the choices of others add to the parts.

        The slope by ``place[i, k]`` of the parts of a user on channel k are its parts with user i
        there minus those without, while all others do as they do; 0 where what is heard would
        differ by no more than `INAUDIBLE`.

        Args:
            on_channels: What the perceptron sees ``[B, I, K, F + 4]``, last what is heard.
            weight: Weights of edges between cells ``[B, I, I]``.
            place: Who is on which channel ``[B, I, K]``.
            strength: Shares of the largest power on the channels ``[B, I, K]``.
        """
        hard = place.detach()
        there = hard @ hard.mT
        # Axes [B, i, j]: what j hears of i on the channel of j, and what it would hear without i or
        # with it too; in double precision, as little may be left without a strong one.
        of_one = weight.double() * (strength @ hard.mT)
        total = (there * of_one).sum(-2, keepdim=True)
        changed = torch.log10(1.0 + (total + (1.0 - 2.0 * there) * of_one).clamp(min=0.0))
        audible = (changed - torch.log10(1.0 + total)).abs() > INAUDIBLE
        copy, sender, listener = audible.nonzero().T
        seen = (hard.unsqueeze(-1) * on_channels.detach()).sum(-2)
        otherwise = changed[copy, sender, listener, None].to(seen)
        with torch.no_grad():
            otherwise = self._parts(torch.cat([seen[copy, listener, :-1], otherwise], dim=-1))
            added = otherwise - self._parts(seen)[copy, listener]
        added = (1.0 - 2.0 * there[copy, sender, listener, None]) * added
        soft = (place - hard)[copy, sender, hard.argmax(-1)[copy, listener], None]
        zeros = on_channels.new_zeros(*seen.shape[:-1], added.shape[-1])
        return zeros.index_put((copy, listener), soft * added, accumulate=True)

    def _parts(self, rows: Tensor) -> Tensor:
        """Parts for what the perceptron sees ``[..., F + 4]``."""
        x = rows
        for layer in self.layers:
            x = functional.leaky_relu(layer(x))
        met, others = self.value(x).tensor_split([1], dim=-1)
        positive = (others + others.new_tensor(self.first)).clamp(*LOG_RANGE).exp()
        return torch.cat([met.sigmoid(), positive], dim=-1)
