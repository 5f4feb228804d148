"""What the tables of the studies say of rows with a known answer."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import gap_sources
import offloading_figures
import offloading_table
import pytest
import spectrum_choices
import spectrum_figures
import spectrum_study
import spectrum_table
import study_runs
import torch
from offloading_table import (
    BYTES,
    TRAINED_HERE,
    against_retrained,
    at_equal_guarantee,
    collapses,
    heuristic_energy_j,
    lines_of,
    over_networks,
)

from metagnn.files import write_csv
from metagnn.meta_parameters import load_meta_parameters
from metagnn.offloading_score import OffloadingScore
from metagnn.spectrum_adaptation import Adaptation
from metagnn.spectrum_comparison import FROZEN, METRICS, SCRATCH
from metagnn.tasks.spectrum_allocation.metrics import Metrics

CURVE = [
    {"margin_db": margin, "met": met, "energy_j": energy}
    for margin, met, energy in (
        ("0", "0.90", "0.05"),
        ("6", "0.95", "0.03"),
        ("10", "0.98", "0.04"),
        ("14", "0.96", "0.08"),
    )
]


def _rows(policy: str, met: list[float], energy_j: list[float]) -> list[dict[str, str]]:
    pairs = zip(met, energy_j, strict=True)
    return [
        {"policy": policy, "seed": str(s), "met": str(m), "energy_j": str(e), "reward": str(m)}
        for s, (m, e) in enumerate(pairs)
    ]


def test_the_heuristic_with_the_least_energy_of_a_guarantee_counts() -> None:
    assert heuristic_energy_j(CURVE, 0.95) == pytest.approx(0.03)
    # Two thirds of the networks with 0.98 and 0.04 J, one with 0.95 and 0.03 J.
    assert heuristic_energy_j(CURVE, 0.97) == pytest.approx(0.03 + 0.01 * 2 / 3)
    # Who needs to meet less does not need more than for 0.95.
    assert heuristic_energy_j(CURVE, 0.925) == pytest.approx(0.03)
    assert heuristic_energy_j(CURVE, 0.5) == pytest.approx(0.03)
    assert heuristic_energy_j(CURVE, 0.981) is None


def test_differences_are_over_seeds_and_networks() -> None:
    rows = [
        {"policy": policy, "seed": seed, "met": str(met), "energy_j": str(0.01 * energy)}
        for policy, of_seeds in (
            ("maddpg", {"20": ((0.9, 3), (0.8, 5)), "21": ((0.92, 2), (0.82, 4))}),
            ("heuristic", {"": ((0.89, 6), (0.79, 8))}),
        )
        for seed, networks in of_seeds.items()
        for met, energy in networks
    ]
    (line,) = over_networks(rows, "maddpg", "heuristic")
    assert "more deadlines met: 0.0200 [0.0100, 0.0300]" in line
    assert "more energy [mJ]: -35.00 [-40.00, -30.00]" in line
    assert over_networks(rows, "maddpg", "random") == []


def test_energies_are_compared_at_equal_guarantee_and_the_rest_counted() -> None:
    rows = _rows("maddpg", [0.95, 0.98, 0.99], [0.015, 0.08, 0.02])
    ratio, beyond = at_equal_guarantee(rows, CURVE)
    (below,) = at_equal_guarantee(_rows("maddpg", [0.5], [0.06]), CURVE)
    assert "2.000" in below
    assert "1.250" in ratio  # the mean of 0.015 / 0.03 and 0.08 / 0.04
    assert beyond.endswith(": 1")


def test_policies_from_elsewhere_are_compared_with_those_trained_here() -> None:
    rows = _rows("maddpg", [0.9, 0.8], [0.02, 0.03])
    rows += _rows(f"maddpg{TRAINED_HERE}", [0.45, 0.4], [0.04, 0.06])
    met, energy = against_retrained(rows)
    assert "2.000 [" in met
    assert "0.500 [" in energy
    assert against_retrained(_rows("maddpg", [0.9], [0.02])) == []


def test_a_run_that_ends_below_its_best_validation_has_collapsed() -> None:
    curves = [
        {"run": "6x10-maddpg", "seed": seed, "logged": "validation_met", "value": value}
        for seed, values in (("2", ("0.5", "0.97", "0.96")), ("3", ("0.5", "0.97", "0.90")))
        for value in values
    ]
    text = "\n".join(collapses(curves))
    assert "Of 2 runs 1 fell" in text
    assert "| 6x10-maddpg | -0.010 | -0.070 |" in text


# Policies by seed (none for what does not learn): deadlines met, energy [J], bytes of signalling.
SCORES = {
    "maddpg": {"20": (0.985, 0.030, 4e5), "21": (0.984, 0.028, 4e5), "22": (0.986, 0.032, 4e5)},
    "federated": {"20": (0.965, 0.08, 1e5), "21": (0.964, 0.06, 1e5), "22": (0.963, 0.07, 1e5)},
    "independent": {"20": (0.96, 0.09, 0.0), "21": (0.94, 0.1, 0.0), "22": (0.95, 0.08, 0.0)},
    "coordinated": {"": (0.999, 0.016, "")},
    "heuristic": {"": (0.98, 0.04, "")},
    "full offloading": {"": (0.91, 0.15, "")},
    "local computing": {"": (0.0, 1.5, "")},
}


def _study(folder: Path, monkeypatch: pytest.MonkeyPatch, policies: list[str], suffix: str) -> None:
    """Files of a study with known scores."""
    monkeypatch.setattr(offloading_table, "RESULTS", folder)
    monkeypatch.setattr(offloading_figures, "RESULTS", folder)
    names = [field.name for field in fields(OffloadingScore)]
    rows, curves, runs = [], [], []
    for policy in policies:
        for seed, (met, energy_j, sent) in SCORES[policy].items():
            values = dict.fromkeys(names, 0.01) | {"met": met, "energy_j": energy_j, "allowed": 1.0}
            rows.append((policy, seed, *(values[name] for name in names), sent))
            if seed:
                run = f"6x10-{policy}"
                runs.append((run, seed, "120", "same"))
                curves.append((run, seed, "validation_met", "10", "0.9"))
                curves += [(run, seed, "reward", n, 0.2 * n) for n in (1, 2)]
    write_csv(folder / f"offloading{suffix}_6x10.csv", ("policy", "seed", *names, BYTES), rows)
    header = ("run", "seed", "logged", "episode", "value")
    write_csv(folder / f"offloading{suffix}_curves.csv", header, curves)
    header = ("run", "seed", "seconds", "sources")
    write_csv(folder / f"offloading{suffix}_runs.csv", header, runs)


def test_the_table_says_what_the_files_of_a_study_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offloading_table, "HEURISTIC", tmp_path / "offloading_heuristic.csv")
    _study(tmp_path, monkeypatch, list(SCORES), "")
    _study(tmp_path, monkeypatch, ["federated"], "_rare")
    with pytest.raises(ValueError, match=r"`heuristic` must be measured first"):
        lines_of("", "6x10", ())
    columns = tuple(CURVE[0])
    write_csv(tmp_path / "offloading_heuristic.csv", columns, [tuple(r.values()) for r in CURVE])
    lines = lines_of("", "6x10", ("12x10",))
    text = "\n".join(lines)
    policies = [line.split(" | ")[0] for line in lines if " | " in line]
    assert policies[1:6] == [
        "| coordinated",
        "| maddpg",
        "| heuristic",
        "| federated",
        "| federated, averaged every 40 episodes",
    ]
    assert "| maddpg | 3 | 0.9850 [0.9840, 0.9860] |" in text
    assert lines[lines.index("\n**12x10**, trained on 6x10\n") + 1] == "Not measured."
    assert "P(maddpg > independent) in deadlines met: 1.00 [1.00, 1.00]; less energy: 1.00" in text
    assert "- Energy of maddpg over that of full offloading: 0.200 [" in text
    assert (
        "- Bytes of signalling per episode and network of federated over those of maddpg: 0.25"
        in text
    )
    assert "meet more deadlines than the heuristic with any margin and preference: 3" in text
    assert "Of 9 runs 0 fell" in text
    assert "| 6x10-maddpg | 2.0 | 2.0 |" in text
    header = ("run", "seed", "seconds", "sources")
    write_csv(tmp_path / "offloading_rare_runs.csv", header, [("6x10-federated", 20, 1, "other")])
    with pytest.raises(ValueError, match=r"`runs` must be there, and of the same sources"):
        lines_of("", "6x10", ())


def test_figures_show_what_the_files_of_a_study_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _study(tmp_path, monkeypatch, list(SCORES), "")
    found = offloading_figures.figures_of()
    assert sorted(found) == [4, 6, 7]
    reward, guarantee = found[4].axes
    lines = {line.get_label(): line for line in reward.lines}
    # Rewards of sixty users.
    assert list(lines["MA-DRL"].get_ydata()) == pytest.approx([12.0, 24.0])
    assert lines["full offloading"].get_ydata()[0] == pytest.approx(0.6)
    assert [list(line.get_ydata()) for line in guarantee.lines] == [[pytest.approx(90.0)]] * 3
    (axis,) = found[6].axes
    totals = [bar.get_height() for bar in axis.patches[:6]]
    assert totals == pytest.approx([30.0, 70.0, 90.0, 40.0, 150.0, 1500.0], rel=1e-3)
    (axis,) = found[7].axes
    assert [text.get_text() for text in axis.texts] == [
        "98.5",
        "96.4",
        "95.0",
        "98.0",
        "91.0",
        "0.0",
    ]


def test_variants_of_the_gap_differ_in_what_they_name() -> None:
    shipped = load_meta_parameters("power_control")
    usual = gap_sources.setting(shipped, gap_sources.Variant())
    names = {
        "width of the hidden layers": {"hidden_channels", "config_hidden_channels"},
        "hidden layers of the power network": {"num_layers"},
        "networks": {"num_networks"},
        "heads": {"head"},
        "samples": {"num_samples"},
        "f_min threshold [bit/s/Hz]": {"minimum_rate_threshold"},
        "alpha": {"alpha"},
        "links": {"num_links"},
    }
    assert set(names) == set(gap_sources.SOURCES)
    for source, variants in gap_sources.SOURCES.items():
        found = [gap_sources.setting(shipped, one) for one in variants.values()]
        assert len(set(found)) == len(found), source
        # Each source holds the usual setting, to which the others are to be compared.
        assert usual in found, source
        for one in found:
            ours = {**asdict(one.shape), **asdict(one.problem), **asdict(one)}
            theirs = {**asdict(usual.shape), **asdict(usual.problem), **asdict(usual)}
            differ = {name for name in ours if ours[name] != theirs[name]}
            assert differ - {"shape", "problem"} <= names[source], source


def test_equal_settings_of_the_gap_are_measured_once_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = load_meta_parameters("power_control")
    usual = gap_sources.Variant()
    other = gap_sources.Variant(num_links=2)
    measured = []

    def values(one: gap_sources.Setting, *_: object) -> tuple[str, ...]:
        measured.append((one.num_links, one.num_samples))
        return ("1.0", "1.5", "2.0", "10.0") if len(measured) % 3 == 1 else ("3", "3.5", "4", "5")

    monkeypatch.setattr(gap_sources, "PATH", tmp_path / "gap.md")
    monkeypatch.setattr(gap_sources, "values", values)
    sources = {
        "heads": {"softplus": usual, "ReLU": gap_sources.Variant(shape={"head": "relu"})},
        "samples": {"2048": usual, "64": gap_sources.Variant(num_samples=64)},
        "links": {"4": usual, "2": other},
    }
    monkeypatch.setattr(gap_sources, "SOURCES", sources)
    each = [(4, 2048), (4, 64), (2, 2048)]
    gap_sources.measure(shipped, 2, "shipped")
    assert measured == 2 * each
    gap_sources.measure(shipped, 3, "shipped")
    assert measured == 3 * each
    gap_sources.measure(shipped, 1, "scratch")
    assert measured == 3 * each + [each[0], *each]
    whole = gap_sources.table(shipped)
    assert sum(line.startswith("| heads") for line in whole) == 2
    scratch, adapted = gap_sources.figure(shipped).axes
    names = ["heads: ReLU", "samples: 64"]
    assert [tick.get_text() for tick in scratch.get_yticklabels()] == names
    assert [tick.get_text() for tick in adapted.get_yticklabels()] == names[1:]
    dots, *_ = adapted.lines
    assert dots.get_xdata() == pytest.approx([10.0, 10.0, 10.0])
    lines = whole[-4:]
    assert [line.split(" | ")[:3] for line in lines] == [
        ["| samples", "2048", "3"],
        ["| samples", "64", "3"],
        ["| links", "4", "3"],
        ["| links", "2", "3"],
    ]
    # (2 - 1) / 10 and (2 - 1.5) / 10; (4 - 3) / 5 and (4 - 3.5) / 5, in percent.
    cells = [line.split(" | ") for line in lines]
    assert [row[3].split()[0] for row in cells] == ["10.00", "20.00", "10.00", "20.00"]
    assert [row[4].split()[0] for row in cells] == ["5.00", "10.00", "5.00", "10.00"]
    # (4 - 3) / 5 less (2 - 1) / 10, where networks are the same.
    assert [row[5].split()[0] for row in cells] == ["|", "10.00", "|", "|"]
    monkeypatch.setitem(gap_sources.EPOCHS, "shipped", 21)
    rule = r"gap_sources_shipped\.csv` must hold 21 epochs, got '20'"
    with pytest.raises(ValueError, match=rule):
        gap_sources.measure(shipped, 3, "shipped")


@pytest.mark.parametrize("start", ["scratch", "shipped"])
def test_a_policy_of_the_gap_is_scored_on_samples_that_it_did_not_learn_from(
    start: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = load_meta_parameters("power_control")
    monkeypatch.setitem(gap_sources.EPOCHS, start, 1)
    shape = {"hidden_channels": 4} if start == "scratch" else {}
    variant = gap_sources.Variant(shape, {}, num_links=2, num_samples=64)
    one = gap_sources.setting(shipped, variant)
    primal, best_known, dual, sum_rate = map(float, gap_sources.values(one, shipped, 0, start))
    assert primal <= best_known <= dual
    assert sum_rate > 0.0
    if start == "shipped":
        # What nobody adapted is close already; what learned a step from scratch is not.
        assert dual - primal < 0.2 * sum_rate


# Throughputs [Mbit/s] by seed; what learns has half of the violations of scratch.
THROUGHPUTS = {
    "attention": {"2": 40.0, "3": 44.0},
    "recurrent": {"2": 42.0, "3": 40.0},
    "maml": {"2": 30.0, "3": 33.0},
    "ppo": {"2": 20.0, "3": 22.0},
    SCRATCH: {"2": 10.0, "3": 11.0},
    FROZEN: {"2": 25.0, "3": 25.0},
    "exhaustive": {"": 80.0},
    "reported max weight": {"": 50.0},
}


def _spectrum_study(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of a study of spectrum, with known throughputs that episodes do not change."""
    for module in (spectrum_table, spectrum_figures):
        monkeypatch.setattr(module, "RESULTS", folder)
    after, during, runs, curves, alone = [], [], [], [], []
    for policy, of_seeds in THROUGHPUTS.items():
        for seed, value in of_seeds.items():
            values = dict.fromkeys(METRICS, 0.4 if policy == SCRATCH else 0.2)
            values |= {"throughput_mbit_s": value, "jain": 0.9}
            cells = tuple(values.values())
            after += [(policy, seed, point, *cells) for point in (0, 5)]
            alone += [(policy, seed, n, value + 10 * n) for n in range(4)]
            if seed and policy != FROZEN:
                # More failures while it learns, and many after the first five episodes.
                values |= {"sinr_violation": 0.3}
                during += [(policy, seed, n, *values.values()) for n in (1, 5)]
                during += [(policy, seed, 6, *dict.fromkeys(METRICS, 9.0).values())]
            if policy in ("attention", "maml"):
                runs.append((policy, seed, "600", "same"))
                logged = spectrum_table.VALIDATED[-1]
                curves += [(policy, seed, logged, 20, 1.0), (policy, seed, logged, 60, value)]
    header = ("policy", "seed", "episodes", *METRICS)
    write_csv(folder / "spectrum_random.csv", header, after)
    write_csv(folder / "spectrum_random_during.csv", header, during)
    columns = ("policy", "seed", "scenario", "throughput_mbit_s")
    write_csv(folder / "spectrum_random_scenarios.csv", columns, alone)
    runs.append(("random baselines", "", "", "same"))
    write_csv(folder / "spectrum_runs.csv", ("run", "seed", "seconds", "sources"), runs)
    header = ("run", "seed", "logged", "episode", "value")
    write_csv(folder / "spectrum_curves.csv", header, curves)


def test_the_table_of_spectrum_says_what_its_files_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _spectrum_study(tmp_path, monkeypatch)
    lines = spectrum_table.lines_of("spectrum", {"random": (0, 5)})
    cells = [line.strip("| ").split(" | ") for line in lines]

    def rows(title: str) -> dict[str, dict[str, str]]:
        """The table whose first cell is the title, by policy and column."""
        first = next(n for n, row in enumerate(cells) if row[0] == title)
        found: dict[str, dict[str, str]] = {}
        for row in cells[first + 2 :]:
            if len(row) < 2:
                break
            found[row[0]] = dict(zip(cells[first], row, strict=True))
        return found

    best = [row[0] for row in cells if len(row) == 10][1:5]
    assert best == ["exhaustive", "reported max weight", "attention", "recurrent"]
    ratios = rows("throughput [Mbit/s], ratio")
    assert list(ratios) == ["attention", "recurrent", "maml", "ppo", FROZEN, "reported max weight"]
    assert ratios["reported max weight"][f"over {SCRATCH}"].startswith("4.762 [")
    # Of two seeds the inter-quartile mean is the mean: 42, 41 and 10.5.
    assert ratios["attention"][f"over {SCRATCH}"].startswith("4.000 [")
    assert ratios["recurrent"][f"over {SCRATCH}"].startswith("3.905 [")
    assert ratios["attention"]["over exhaustive"].startswith("0.525 [")
    assert ratios["recurrent"]["over recurrent"] == ""
    assert rows("SINR violations, ratio")["maml"][f"over {SCRATCH}"].startswith("0.500 [")
    chances = rows("probability of more throughput")
    assert chances["attention"]["over maml"].startswith("1.00")
    assert chances["attention"]["over recurrent"].startswith("0.62")
    assert chances["attention"]["over reported max weight"].startswith("0.00")
    apart = rows("throughput [Mbit/s], for other seeds and scenarios")
    assert apart["attention"]["less reported max weight"] == "-8.00 [-10.00, -6.00]"
    adapting = {row[0]: row for row in cells if len(row) == 9}
    assert adapting["attention"][2].startswith("0.300")
    assert adapting[f"{FROZEN} (learns nothing)"][2].startswith("0.200")
    assert adapting["exhaustive (learns nothing)"][1].startswith("80.00")
    assert rows("agent")["attention"]["throughput [Mbit/s]"].startswith("42.00")
    assert cells[-2:] == [
        ["attention", "10.0", "10.0"],
        ["maml", "10.0", "10.0"],
    ]
    assert spectrum_table.ratio({"2": 1.0, "3": 2.0}, {"2": 0.0, "3": 1.0}) == "undefined"
    runs = tmp_path / "spectrum_runs.csv"
    runs.write_text(runs.read_text().replace("same", "other", 1))
    with pytest.raises(ValueError, match="`runs` must be of the same sources"):
        spectrum_table.lines_of("spectrum", {"random": (0, 5)})


def test_figures_of_spectrum_have_a_line_for_all_that_learns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _spectrum_study(tmp_path, monkeypatch)
    found = spectrum_figures.figures_of("spectrum", "random")
    assert list(found) == ["spectrum_random.png", "spectrum_random_during.png"]
    baseline = "max weight from reports"
    for figure, last, has_baselines in zip(found.values(), (5, 6), (True, False), strict=True):
        for axis in figure.axes:
            labels = axis.get_legend_handles_labels()[1]
            assert {"MAML", "recurrent", "PPO from scratch"} <= set(labels)
            # What policies are scored on is another episode than those of which they learn.
            assert (baseline in labels) == has_baselines
        lines = {line.get_label(): line for line in figure.axes[0].get_lines()}
        assert max(lines["MAML"].get_xdata()) == last
        assert not has_baselines or set(lines[baseline].get_ydata()) == {50.0}


def test_rows_of_a_policy_and_seed_are_replaced_and_all_others_stay(tmp_path: Path) -> None:
    path, header = tmp_path / "rows.csv", ("policy", "seed", "value")
    study_runs.add(path, header, [("a", 1, 1), ("b", 1, 2), ("a", 2, 3), ("c", "", 4)])
    study_runs.add(path, header, [("a", 1, 5), ("a", 1, 6), ("c", "", 7)])
    found = [tuple(row.values()) for row in study_runs.read(path)]
    wanted = [("c", "", "7"), ("b", "1", "2"), ("a", "1", "5"), ("a", "1", "6"), ("a", "2", "3")]
    assert found == wanted


def _choice(
    path: Path, key: tuple[str, str, str, int], after: float, sources: str, gain: float = 1.0
) -> None:
    """What `spectrum_choices` adds for one way to adapt, in two scenarios."""
    metrics = ["2", "3", "4", "5", "6", "7", "8"]
    rows = [(*key, n, *(after - g, *metrics), sources) for n, g in ((0, gain), (5, 0.0))]
    study_runs.add(path, spectrum_choices.HEADER, rows)
    each = [(*key, i, after - gain, after + i, sources) for i in (0, 1)]
    scenarios = path.with_name("scenarios.csv")
    study_runs.add(scenarios, spectrum_choices.SCENARIO_HEADER, each)


def test_tries_are_paired_with_ppo_and_sources_are_not_mixed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "choices.csv"
    monkeypatch.setattr(spectrum_choices, "PATH", path)
    monkeypatch.setattr(spectrum_choices, "BY_SCENARIO", tmp_path / "scenarios.csv")
    _choice(path, ("edges: topology", "maml", "steps, rate 0.01", 0), 9.5, "a", 1.5)
    _choice(path, ("as configured", "ppo", "nothing", 0), 7.0, "a", 0.0)
    _choice(path, ("as configured", "ppo", "nothing", 1), 99.0, "a", 0.0)
    _choice(path, ("as configured", "max weight", "", 0), 8.0, "a", 0.0)
    heuristic, ppo, _, maml = spectrum_choices.table()[-4:]
    assert heuristic.startswith("|  | max weight |  | 0 | 8.00 / 8.00 |")
    assert ppo.startswith("| as configured | ppo | nothing | 0 | 7.00 / 7.00 |")
    # Gains of 1.5 and 2.5; 9.5 and 10.5 over the 7 and 8 of PPO.
    assert maml.startswith("| edges: topology | maml | steps, rate 0.01 | 0 | 8.00 / 9.50 |")
    assert maml.endswith("| 2.00 [1.50, 2.50] | 2.50 [2.50, 2.50] |")
    _choice(path, ("as configured", "recurrent", "memory", 0), 7.0, "b")
    with pytest.raises(ValueError, match=r"be scored by the same sources, got \['a', 'b'\]"):
        spectrum_choices.table()


def test_tries_differ_in_what_they_say_and_ways_to_adapt_fit_the_agents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked: dict[Path, tuple[str, ...]] = {}

    def fit(folder: Path, config: str, *words: str) -> float:
        asked[folder] = words
        return 1.0

    monkeypatch.setattr(spectrum_choices, "fit", fit)
    spectrum_choices.train([1], 1)
    assert len(set(asked.values())) == len(asked) == len(list(spectrum_choices.runs_of([1])))
    for name, agent, seed in spectrum_choices.runs_of([1]):
        words = asked[spectrum_choices.folder_of(name, agent, seed)]
        assert words[:2] == (f"--model.init_args.agent={agent}", "--model.init_args.seed=1")
        place = spectrum_choices.TRIES[name].place
        said = {word.removeprefix("--model.init_args.place.") for word in words}
        for field, usual in (("edges", "interference"), ("failure_weight", 0.12)):
            value = getattr(place, field)
            assert (f"{field}={value}" in said) == (value != usual)
        remembers = agent in ("recurrent", "attention")
        ways = spectrum_choices.ways(name, agent)
        assert next(iter(ways)) == ("memory" if remembers else "nothing")
        assert (len(ways) == 1) == remembers
    with pytest.raises(ValueError, match=r"`seeds` must be of no seed of the study, got 2"):
        spectrum_choices.train([2], 1)


def test_tries_are_scored_once_for_the_same_sources_and_only_when_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(spectrum_choices, "PATH", tmp_path / "choices.csv")
    monkeypatch.setattr(spectrum_choices, "BY_SCENARIO", tmp_path / "scenarios.csv")
    monkeypatch.setattr(
        spectrum_choices, "ProcessPoolExecutor", lambda jobs, *_: ThreadPoolExecutor(jobs)
    )
    asked: list[tuple[str, str, str, int]] = []

    def scored(*task: Any) -> tuple[Metrics, Metrics]:
        asked.append(task)
        before, after = (
            Metrics(**{field.name: torch.arange(2.0) + more for field in fields(Metrics)})
            for more in (0.0, 0.5)
        )
        return before, after

    monkeypatch.setattr(spectrum_choices, "scored", scored)
    spectrum_choices.score([0], 1)
    assert {task[1] for task in asked} == {"reported max weight", "max weight"}
    done = spectrum_choices.folder_of("edges: topology", "maml", 0) / "done"
    done.parent.mkdir(parents=True)
    done.write_text("1.0\nothers\n\n")
    with pytest.raises(ValueError, match="have learned with the sources that score them"):
        spectrum_choices.score([0], 1)
    done.write_text(f"1.0\n{study_runs.digest_of_sources()}\n\n")
    asked.clear()
    spectrum_choices.score([0], 1)
    ways = ("nothing", "steps, rate 0.01")
    assert asked == [("edges: topology", "maml", way, 0) for way in ways]
    last = study_runs.read(spectrum_choices.PATH)[-1]
    assert (last["way"], last["episodes"], last["throughput_mbit_s"]) == (ways[1], "5", "1")
    each = study_runs.read(spectrum_choices.BY_SCENARIO)[-2:]
    assert [(row["scenario"], row["before"], row["after"]) for row in each] == [
        ("0", "0", "0.5"),
        ("1", "1", "1.5"),
    ]
    monkeypatch.setattr(spectrum_choices, "_digest", lambda: "other")
    done.write_text("1.0\nother\n\n")
    asked.clear()
    spectrum_choices.score([0], 1)
    assert len(asked) == 4


def test_runs_are_scored_when_finished_by_the_sources_they_learned_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"`runs` must be finished, got '.*2/ppo'"):
        spectrum_study.score([2], ["random"], 1, "")
    for agent in ("ppo", "maml", "recurrent", "attention"):
        done = spectrum_study.folder_of("", 2) / agent / "done"
        done.parent.mkdir(parents=True)
        sources = "others" if agent == "attention" else study_runs.digest_of_sources()
        done.write_text(f"1.0\n{sources}\n\n")
    rule = "have learned with the sources that score them, got '.*2/attention'"
    with pytest.raises(ValueError, match=rule):
        spectrum_study.score([2], ["random"], 1, "")
    with pytest.raises(ValueError, match=r"hold a last\.ckpt of a run"):
        spectrum_study.scores_of("random", "ppo", 2, "")


def test_all_policies_are_scored_and_baselines_once_for_the_same_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(spectrum_study, "RESULTS", tmp_path)
    monkeypatch.setattr(
        spectrum_study, "ProcessPoolExecutor", lambda jobs, *_: ThreadPoolExecutor(jobs)
    )
    agents = ("ppo", "maml", "recurrent", "attention")
    for seed in (2, 3):
        for agent in agents:
            done = spectrum_study.folder_of("", seed) / agent / "done"
            done.parent.mkdir(parents=True)
            done.write_text(f"1.0\n{study_runs.digest_of_sources()}\n\n")
    asked: list[tuple[object, ...]] = []

    def scores_of(*task: object) -> dict[str, object]:
        asked.append(task)
        if task[1] == "maml" and len(asked) > 20:
            raise RuntimeError("broken")
        return {}

    monkeypatch.setattr(spectrum_study, "scores_of", scores_of)
    spectrum_study.score([2, 3], ["random"], 1, "")
    policies = (*agents, spectrum_table.FLAT_SCRATCH)
    wanted = [("random", policy, seed, "") for seed in (2, 3) for policy in policies]
    assert sorted(asked) == sorted([*wanted, ("random", "baselines", 2, "")])
    asked.clear()
    spectrum_study.score([2], ["random", "nycmesh"], 1, "")
    assert [task for task in asked if task[1] == "baselines"] == [("nycmesh", "baselines", 2, "")]
    # Baselines of other sources count as unknown, and what breaks is not passed over.
    monkeypatch.setattr(spectrum_study, "digest_of_sources", lambda: "other")
    for done in tmp_path.rglob("done"):
        done.write_text("1.0\nother\n\n")
    with pytest.raises(RuntimeError, match="broken"):
        spectrum_study.score([2, 3], ["random", "nycmesh"], 1, "")


def test_scores_of_spectrum_are_added_policy_by_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spectrum_study, "RESULTS", tmp_path)

    def scores(first: float) -> Adaptation:
        both = [Metrics(*(torch.tensor([v, v + 1]) for _ in METRICS)) for v in (first, first + 1)]
        return Adaptation({0: both[0], 5: both[1]}, [both[0]])

    for seed, value in ((2, 9.0), (3, 4.0), (2, 1.0)):
        spectrum_study.add_scores({"ppo": {seed: scores(value)}}, "random", "")
    spectrum_study.add_scores({"exhaustive": {None: scores(7.0)}}, "random", "")
    found = {
        name: [
            (row["policy"], row["seed"], *list(row.values())[2:4])
            for row in study_runs.read(tmp_path / f"spectrum_random{name}.csv")
        ]
        for name in ("", "_during", "_scenarios")
    }
    # Means over scenarios by number of episodes; those of the first run of seed 2 are replaced.
    assert found[""] == [
        *(("exhaustive", "", "0", "7.5"), ("exhaustive", "", "5", "8.5")),
        *(("ppo", "2", "0", "1.5"), ("ppo", "2", "5", "2.5")),
        *(("ppo", "3", "0", "4.5"), ("ppo", "3", "5", "5.5")),
    ]
    assert found["_during"][1] == ("ppo", "2", "1", "1.5")
    assert found["_scenarios"][2:4] == [("ppo", "2", "0", "2"), ("ppo", "2", "1", "3")]
