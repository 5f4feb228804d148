"""Replay of transitions: a ring of bounded size, drawn from uniformly."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from metagnn.graphs.checks import check_count, check_each, require


class Replay(nn.Module):
    """The last transitions, as buffers of a module, so that checkpoints hold them.

    Args:
        capacity: Largest number of transitions C.
        shapes: Shape of each entry of a transition; all are float32.
        most_bytes: Largest size of all buffers.

    Raises:
        ValueError: If the buffers would be larger.
    """

    num_added: Tensor

    def __init__(
        self, capacity: int, shapes: Mapping[str, tuple[int, ...]], most_bytes: int = 2**30
    ) -> None:
        super().__init__()
        check_count("capacity", capacity)
        self.capacity, self.names = capacity, tuple(shapes)
        numbers = sum(torch.Size(shape).numel() for shape in shapes.values())
        size = 4 * capacity * numbers
        rule = f"need at most {most_bytes} bytes ({4 * numbers} per transition)"
        require(size <= most_bytes, "capacity", rule, size)
        for name, shape in shapes.items():
            self.register_buffer(name, torch.zeros(capacity, *shape))
        self.register_buffer("num_added", torch.zeros((), dtype=torch.int64))

    def __len__(self) -> int:
        return min(int(self.num_added), self.capacity)

    def add(self, transitions: Mapping[str, Tensor]) -> None:
        """Add transitions ``[N, ...]``, which take the places of the oldest.

        Raises:
            ValueError: If entries are missing, or hold numbers that are not finite.
        """
        given = tuple(transitions)
        require(set(given) == set(self.names), "transitions", f"have {self.names}", given)
        number = len(next(iter(transitions.values())))
        rule = f"be at most {self.capacity} transitions"
        require(number <= self.capacity, "transitions", rule, number)
        place = (int(self.num_added) + torch.arange(number)) % self.capacity
        for name, value in transitions.items():
            check_each(f"transitions[{name!r}]", value, value.isfinite(), "be finite")
        for name, value in transitions.items():
            self.get_buffer(name)[place] = value.to(torch.float32)
        self.num_added += number

    def sample(self, batch: int, generator: torch.Generator) -> dict[str, Tensor]:
        """``batch`` transitions ``[N, ...]``, drawn with replacement.

        Raises:
            ValueError: If there is none.
        """
        require(len(self) > 0, "replay", "hold a transition", 0)
        drawn = torch.randint(len(self), (batch,), generator=generator)
        return {name: self.get_buffer(name)[drawn] for name in self.names}
