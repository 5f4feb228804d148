"""Lightning data module of configurations with disjoint train, validation and test draws."""

import lightning.pytorch as pl
from torch.utils.data import DataLoader, Dataset

from metagnn.graphs.channel import ChannelFamily
from metagnn.graphs.checks import check_count, check_positive, require
from metagnn.graphs.dataset import NetworkSamples, TrainingSet, draw_network

Batch = list[NetworkSamples]


class _OuterLoops(Dataset[Batch]):
    """One item per Lightning epoch: the tasks of the outer loop with that number."""

    def __init__(self, module: "ConfigurationData") -> None:
        self.module = module

    def __len__(self) -> int:
        return 1

    def __getitem__(self, position: int) -> Batch:
        module = self.module
        epoch = module.trainer.current_epoch if module.trainer is not None else 0
        return module.training_set.batch(epoch, module.tasks_per_batch)


class _Networks(Dataset[NetworkSamples]):
    """Networks of a split, each number of links in turn."""

    def __init__(self, module: "ConfigurationData", split: str, count: int) -> None:
        self.module, self.split = module, split
        self.keys = [(k, i) for k in module.test_num_links for i in range(count)]

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, position: int) -> NetworkSamples:
        m, (num_links, index) = self.module, self.keys[position]
        return draw_network(
            m.family,
            num_links,
            m.seed,
            self.split,
            index,
            m.num_adaptation_samples,
            m.num_test_samples,
        )


class ConfigurationData(pl.LightningDataModule):
    """Tasks for meta-training, one outer loop per epoch, and networks to adapt to.

    Args:
        family: Law of the configurations.
        num_links: Numbers of links K in training.
        test_num_links: Numbers of links in validation and test; those of training if not given.
        seed: Seed of all draws; the splits never share one.
        tasks_per_batch: Tasks per outer loop, N_b.
        num_configurations: Training configurations per number of links, N_T.
        num_samples: Samples per training configuration.
        num_adaptation_samples: Samples for adaptation per validation or test network.
        num_test_samples: Samples for scoring per configuration.
        areas_m: Sides of the square [m] to choose from in training; the family's own if empty.
        num_sizes: Numbers of links in one outer loop, shared by its tasks in turn: with few, many
            tasks advance side by side; each task draws its own if None.
        num_validation_networks: Validation networks per number of links.
        num_test_networks: Test networks per number of links.

    Raises:
        ValueError: If a number is out of range.
    """

    def __init__(
        self,
        family: ChannelFamily = ChannelFamily(),  # noqa: B008 - frozen
        num_links: tuple[int, ...] = (4, 8, 12, 16, 20),
        test_num_links: tuple[int, ...] | None = None,
        seed: int = 0,
        tasks_per_batch: int = 32,
        num_configurations: int = 10_000,
        num_samples: int = 2048,
        num_adaptation_samples: int = 2048,
        num_test_samples: int = 256,
        areas_m: tuple[float, ...] = (),
        num_sizes: int | None = None,
        num_validation_networks: int = 6,
        num_test_networks: int = 50,
    ) -> None:
        super().__init__()
        require(len(num_links) > 0, "num_links", "hold at least one number", num_links)
        for count in (*num_links, *(test_num_links or ())):
            check_count("num_links", count)
        check_count("seed", seed, minimum=0)
        check_count("tasks_per_batch", tasks_per_batch)
        check_count("num_configurations", num_configurations)
        check_count("num_samples", num_samples)
        check_count("num_adaptation_samples", num_adaptation_samples)
        check_count("num_test_samples", num_test_samples)
        for area in areas_m:
            check_positive("areas_m", area)
        check_count("num_validation_networks", num_validation_networks, minimum=0)
        check_count("num_test_networks", num_test_networks)
        self.family = family
        self.test_num_links = tuple(test_num_links or num_links)
        self.seed = seed
        self.tasks_per_batch = tasks_per_batch
        self.num_adaptation_samples = num_adaptation_samples
        self.num_test_samples = num_test_samples
        self.num_validation_networks = num_validation_networks
        self.num_test_networks = num_test_networks
        self.training_set = TrainingSet(
            family,
            tuple(num_links),
            seed,
            num_configurations,
            num_samples,
            tuple(areas_m),
            num_sizes,
        )

    def train_dataloader(self) -> DataLoader[Batch]:
        """One batch, the tasks of the current outer loop."""
        return DataLoader(_OuterLoops(self), batch_size=None)

    def val_dataloader(self) -> DataLoader[NetworkSamples]:
        """Validation networks, one per step, shared out among processes."""
        return self._shared_out(_Networks(self, "validation", self.num_validation_networks))

    def test_dataloader(self) -> DataLoader[NetworkSamples]:
        """Test networks, one per step, shared out among processes."""
        return self._shared_out(_Networks(self, "test", self.num_test_networks))

    def _shared_out(self, networks: _Networks) -> DataLoader[NetworkSamples]:
        rank, processes = (
            (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)
        )
        rule = f"be at most the {len(networks)} networks to score"
        require(processes == 1 or processes <= len(networks), "devices", rule, processes)
        sampler = range(rank, len(networks), processes)
        return DataLoader(networks, batch_size=None, sampler=sampler)

    def predict_dataloader(self) -> DataLoader[NetworkSamples]:
        """Test networks, one per step."""
        return self.test_dataloader()
