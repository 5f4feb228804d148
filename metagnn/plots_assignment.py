"""Figures of assignments: what subchannels are worth to users, and which they chose."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from metagnn.graphs.checks import require
from metagnn.plots_networks import colour_scale

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable


def assignment_image(
    axis: "Axes",
    value: Tensor,
    channel: Tensor,
    highest: float | None = None,
    labels: Sequence[str] | None = None,
) -> "ScalarMappable":
    """A square per user and subchannel, the brighter the more it is worth, and the users' choices.

    A disc marks a choice that nobody else made, a cross those of users who chose the same.

    Args:
        axis: Where to draw.
        value: What each subchannel is worth to each user, such as an energy efficiency, >= 0.
        channel: The users' subchannels.
        highest: Values from here on share the last colour; the largest if not given.
        labels: A word below each subchannel; their numbers if not given.

    Shapes:
        value ``[I, N]``, channel ``[I]`` of integers in [0, N - 1].

    Returns:
        What a colour bar needs.

    Raises:
        ValueError: If shapes do not fit or a subchannel is out of range.
    """
    shape, found = tuple(value.shape), tuple(channel.shape)
    require(value.dim() == 2 and value.numel() > 0, "value", "have the shape [I, N]", shape)
    num_users, num_channels = shape
    require(found == (num_users,), "channel", f"have the shape ({num_users},)", found)
    chosen: list[int] = channel.tolist()
    fits = min(chosen) >= 0 and max(chosen) < num_channels
    require(fits, "channel", f"lie in [0, {num_channels - 1}]", chosen)
    names = [str(number) for number in range(num_channels)] if labels is None else list(labels)
    require(len(names) == num_channels, "labels", f"hold {num_channels} words", names)
    scale = colour_scale(0.0, float(value.max()) if highest is None else highest)
    squares: dict[str, Any] = {"cmap": scale.cmap, "norm": scale.norm, "linewidth": 0.5}
    axis.pcolormesh(value.numpy(), edgecolors="w", **squares)
    for user, one in enumerate(chosen):
        marker, size = ("X", 9) if chosen.count(one) > 1 else ("o", 8)
        mark: dict[str, Any] = {"marker": marker, "markersize": size, "markeredgecolor": "k"}
        axis.plot(one + 0.5, user + 0.5, color="w", **mark)
    axis.invert_yaxis()
    axis.grid(visible=False)
    axis.set_xticks([number + 0.5 for number in range(num_channels)], names)
    axis.set_yticks([user + 0.5 for user in range(num_users)], [str(u) for u in range(num_users)])
    axis.tick_params(length=0, labelsize=8)
    axis.set_xlabel("subchannel")
    axis.set_ylabel("user")
    return scale
