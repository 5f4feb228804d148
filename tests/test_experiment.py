"""Configurations read without Lightning: the keys it knows, and what is refused."""

import inspect
from pathlib import Path

import pytest

from metagnn.data import ConfigurationData
from metagnn.experiment import DATA_KEYS, experiment_scenarios


def test_keys_are_those_of_the_data_module() -> None:
    assert set(inspect.signature(ConfigurationData).parameters) == DATA_KEYS


def test_numbers_written_as_lightning_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(
        "data: {num_links: [2], num_adaptation_samples: 3, family: {bandwidth_hz: 2e6}}"
    )
    scenarios, problem = experiment_scenarios(str(path), None, 1, 0)
    assert problem.noise_w == pytest.approx(2e6 * 10 ** (-20.4), rel=1e-6)
    assert scenarios[0].past_gain is not None
    assert scenarios[0].past_gain.shape == (3, 2, 2)


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        ("{}", "`data.num_links` must be a list"),
        (
            "{num_links: 3}",
            "`data.num_links` must be a list of at least one number of links, got 3",
        ),
        ("{num_links: []}", "`data.num_links` must be a list"),
        ("{num_links: [x]}", "`num_links` must be an integer >= 1, got 'x'"),
        ("{num_links: [2], unknown: 3}", "`data` must have keys among .*got 'unknown'"),
        (
            "{num_links: [2], num_test_samples: 0}",
            "`data.num_test_samples` must be an integer >= 1",
        ),
        ("{num_links: [2], family: null}", "`data.family` must be a mapping, got None"),
        ("{num_links: [2], family: {area_m: big}}", "`data.family.area_m` must be a number"),
        ("{num_links: [2], family: {area_m: .nan}}", "`area_m` must be finite and > 0, got nan"),
        ("{num_links: [2], family: {path_loss: [1]}}", "`path_loss` must be one of"),
    ],
)
def test_malformed_data_sections_are_named(data: str, rule: str, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(f"data: {data}")
    with pytest.raises(ValueError, match=rule):
        experiment_scenarios(str(path), None, 1, 0)
