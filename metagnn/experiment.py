"""Networks of a packaged configuration, read without starting the training command line."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import yaml

from metagnn.adaptation_task import Problem
from metagnn.comparison import Scenario
from metagnn.configs import config_path
from metagnn.graphs.channel import ChannelFamily
from metagnn.graphs.checks import check_count, require
from metagnn.graphs.dataset import draw_network

# Arguments of `ConfigurationData`, which takes Lightning to import.
DATA_KEYS = {
    "areas_m",
    "family",
    "num_adaptation_samples",
    "num_configurations",
    "num_links",
    "num_samples",
    "num_sizes",
    "num_test_networks",
    "num_test_samples",
    "num_validation_networks",
    "seed",
    "tasks_per_batch",
    "test_num_links",
}

COUNTS = {key for key in DATA_KEYS if key.startswith("num_")} - {"num_links"}
# What LightningCLI takes and saves, and what `metagnn compare` scores.
SECTIONS = {
    "checkpoint",
    "ckpt_path",
    "compare",
    "data",
    "model",
    "return_predictions",
    "seed_everything",
    "trainer",
    "verbose",
    "weights_only",
}


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
    for key in data:
        require(key in DATA_KEYS, "data", f"have keys among {sorted(DATA_KEYS)}", key)
        if key in COUNTS | {"tasks_per_batch"} and data[key] is not None:
            check_count(f"data.{key}", data[key], minimum=int("networks" not in key))
    family = _family(data.get("family", {}))
    sizes = num_links or data.get("test_num_links") or data.get("num_links")
    named = isinstance(sizes, Sequence) and not isinstance(sizes, str) and len(sizes) > 0
    require(named, "data.num_links", "be a list of at least one number of links", sizes)
    assert sizes is not None
    num_test_samples = data.get("num_test_samples", 256)
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
                num_test_samples,
            )
            configuration = network.configuration
            scenarios.append(
                Scenario(
                    configuration.large_scale_gain,
                    network.gain,
                    network.test_gain,
                    configuration.positions_m,
                )
            )
    return scenarios, Problem(family.power_max_w, family.noise_w)


def read_section(name_or_path: str, section: str) -> dict[str, Any]:
    """One section of a configuration as plain values.

    Raises:
        ValueError: If the file is no YAML or has no such section.
    """
    content = _content(name_or_path)
    if not isinstance(content.get(section), dict):
        path = str(config_path(name_or_path))
        raise ValueError(f"`config` must have a section {section!r}, got {path!r}")
    values: dict[str, Any] = content[section]
    return values


def has_section(name_or_path: str, section: str) -> bool:
    """Whether a configuration has a section.

    Raises:
        ValueError: If the file is no YAML.
    """
    return section in _content(name_or_path)


def _content(name_or_path: str) -> dict[str, Any]:
    path = config_path(name_or_path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"`config` must be a YAML file, got {str(path)!r}: {error}") from error
    for key in content if isinstance(content, dict) else ():
        require(key in SECTIONS, "config", f"have sections among {sorted(SECTIONS)}", key)
    return content if isinstance(content, dict) else {}


def _family(values: object) -> ChannelFamily:
    known = {field.name: field.type for field in fields(ChannelFamily) if field.init}
    if not isinstance(values, dict):
        raise ValueError(f"`data.family` must be a mapping, got {values!r}")
    settings: dict[str, Any] = {}
    for key, value in values.items():
        require(key in known, "data.family", f"have keys among {list(known)}", key)
        settings[key] = str(value) if known[key] is str else _number(f"data.family.{key}", value)
    return ChannelFamily(**settings)


def _number(name: str, value: object) -> float:
    # YAML takes 10e6 for a string, LightningCLI for a number.
    try:
        if isinstance(value, (int, float, str)) and not isinstance(value, bool):
            return float(value)
    except ValueError:
        pass
    raise ValueError(f"`{name}` must be a number, got {value!r}")
