"""Networks of a packaged configuration, read without starting the training command line."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import yaml

from metagnn.adaptation_task import Problem
from metagnn.comparison import Scenario
from metagnn.configs import config_path
from metagnn.graphs.channel import ChannelFamily
from metagnn.graphs.dataset import draw_network


def experiment_scenarios(
    name_or_path: str, num_links: Sequence[int] | None, num_networks: int, seed: int
) -> tuple[list[Scenario], Problem]:
    """Test networks of a configuration and the powers of its channel family.

    Args:
        name_or_path: Packaged name or path of a configuration.
        num_links: Numbers of links; those of the configuration's test networks if None.
        num_networks: Networks per number of links.
        seed: Seed of the test networks.

    Raises:
        ValueError: If the configuration is unknown, malformed or has unknown keys.
    """
    data = read_section(name_or_path, "data")
    family = _family(data.get("family", {}), name_or_path)
    sizes = num_links or data.get("test_num_links") or data["num_links"]
    scenarios = []
    for size in sizes:
        for index in range(num_networks):
            network = draw_network(
                family,
                size,
                seed,
                "test",
                index,
                data.get("num_adaptation_samples", 2048),
                data.get("num_test_samples", 256),
            )
            scenarios.append(
                Scenario(network.configuration.large_scale_gain, network.gain, network.test_gain)
            )
    return scenarios, Problem(family.power_max_w, family.noise_w)


def read_section(name_or_path: str, section: str) -> dict[str, Any]:
    """One section of a configuration as plain values.

    Raises:
        ValueError: If the file is no YAML or has no such section.
    """
    path = config_path(name_or_path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"`config` must be a YAML file, got {str(path)!r}: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get(section), dict):
        raise ValueError(f"`config` must have a section {section!r}, got {str(path)!r}")
    values: dict[str, Any] = content[section]
    return values


def _family(values: dict[str, Any], name: str) -> ChannelFamily:
    known = [field.name for field in fields(ChannelFamily) if field.init]
    for key in values:
        if key not in known:
            raise ValueError(f"`data.family` of {name!r} must have keys among {known}, got {key!r}")
    return ChannelFamily(**values)
