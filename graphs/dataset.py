"""Data sets of configurations and their samples, as functions of seed, split and number."""

from dataclasses import dataclass, replace

import torch

from metagnn.graphs.channel import ChannelFamily, Configuration
from metagnn.graphs.checks import check_count, require
from metagnn.graphs.neighbours import Gain
from metagnn.graphs.randomness import generator

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class NetworkSamples:
    """One configuration with samples to adapt on and later samples to be scored on.

    Attributes:
        configuration: The network drop.
        gain: Samples for adaptation ``[S, K, K]`` [1], or on neighbour lists.
        test_gain: Samples for scoring ``[S_test, K, K]`` [1], or on neighbour lists.
    """

    configuration: Configuration
    gain: Gain
    test_gain: Gain

    def to(self, device: torch.device | str) -> "NetworkSamples":
        """The same network with its tensors on ``device``."""
        c = self.configuration
        moved = replace(
            c,
            large_scale_gain=c.large_scale_gain.to(device),
            transmitter_m=c.transmitter_m.to(device),
            receiver_m=c.receiver_m.to(device),
        )
        return NetworkSamples(moved, self.gain.to(device), self.test_gain.to(device))


def draw_network(
    family: ChannelFamily,
    num_links: int,
    seed: int,
    split: str,
    index: int,
    num_samples: int = 2048,
    num_test_samples: int = 256,
) -> NetworkSamples:
    """Network number ``index`` of a split with its samples: a function of its arguments alone.

    Args:
        family: Law of the configurations.
        num_links: Number of links K.
        seed: Seed of the experiment.
        split: ``train``, ``validation`` or ``test``; different splits never share a draw.
        index: Number within the split.
        num_samples: Samples for adaptation S.
        num_test_samples: Samples for scoring, drawn after those for adaptation; may be 0.

    Raises:
        ValueError: If ``split`` is unknown or a number is out of range.
    """
    require(split in SPLITS, "split", f"be one of {list(SPLITS)}", split)
    check_count("num_samples", num_samples)
    check_count("num_test_samples", num_test_samples, minimum=0)
    configuration = family.configuration(num_links, seed, split, index)
    source = generator(seed, "samples", split, num_links, index)
    gain = configuration.sample(num_samples + num_test_samples, source)
    return NetworkSamples(configuration, gain[:num_samples], gain[num_samples:])


@dataclass(frozen=True)
class TrainingSet:
    """The pre-generated meta-training set of paper A's Algorithm 1, drawn when asked for.

    Attributes:
        family: Law of the configurations.
        num_links: Numbers of links to choose from.
        seed: Seed of the experiment.
        num_configurations: Configurations per number of links, N_T.
        num_samples: Samples per configuration.
        areas_m: Sides of the square to choose from [m], so that few links can also be met as
            densely as many; the family's own if empty.
        num_sizes: Numbers of links in one batch, shared by its tasks in turn, so that tasks can
            advance side by side; each task its own if None.
    """

    family: ChannelFamily
    num_links: tuple[int, ...]
    seed: int
    num_configurations: int = 10_000
    num_samples: int = 2048
    areas_m: tuple[float, ...] = ()
    num_sizes: int | None = None

    def __post_init__(self) -> None:
        if self.num_sizes is not None:
            check_count("num_sizes", self.num_sizes)

    def batch(self, epoch: int, num_tasks: int) -> list[NetworkSamples]:
        """Tasks of one outer loop: a function of the seed and ``epoch`` (Algorithm 1, line 3)."""
        source = generator(self.seed, "batch", epoch)

        def choose(count: int) -> list[int]:
            return torch.randint(count, (num_tasks,), generator=source).tolist()

        families = [replace(self.family, area_m=area) for area in self.areas_m] or [self.family]
        sizes, numbers = choose(len(self.num_links)), choose(self.num_configurations)
        if self.num_sizes is not None:
            sizes = [sizes[task % self.num_sizes] for task in range(num_tasks)]
        return [
            draw_network(
                families[area],
                self.num_links[size],
                self.seed,
                "train",
                number,
                self.num_samples,
                0,
            )
            for size, number, area in zip(sizes, numbers, choose(len(families)), strict=True)
        ]
