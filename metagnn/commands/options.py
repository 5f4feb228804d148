"""What the subcommands share: options, reading a user's network, tables."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metagnn.comparison import Scenario
    from metagnn.graphs.channel import Configuration
    from metagnn.graphs.neighbours import Gain
    from metagnn.meta_parameters import MetaParameters
    from metagnn.tasks.power_control.metrics import Estimate

# Samples drawn for a network that is given as a CSV of links: to adapt to, and to be scored.
DENSE_NUM_SAMPLES = (2048, 256)
LISTS_NUM_SAMPLES = (256, 64)

_COLUMNS = {
    "mean_rate": "mean rate",
    "min_rate": "min rate",
    "p5_rate": "5 % rate",
    "jain": "Jain",
    "satisfied": ">= f_min - s",
}


def add_policy_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of commands that run the learned policy."""
    parser.add_argument("--steps", type=int, help="gradient steps of adaptation (20)")
    parser.add_argument("--out", metavar="DIR", help="folder for the results")
    parser.add_argument(
        "--checkpoint",
        default="power_control",
        metavar="NAME_OR_PATH",
        help="shipped meta-parameters, a .safetensors file or a training checkpoint",
    )
    parser.add_argument("--power_max_dbm", type=float, help="largest power [dBm] (10)")
    parser.add_argument("--noise_dbm", type=float, help="noise power [dBm] (-104)")
    parser.add_argument(
        "--num-neighbours",
        type=int,
        metavar="N",
        help="strongest interferers to keep at each receiver (16 above 256 links, else all)",
    )
    parser.add_argument(
        "--bf16", action="store_true", help="run the networks in bfloat16, all else in float32"
    )
    parser.add_argument(
        "--device", default="cpu", help="where to compute: cpu (the default), cuda, cuda:1, ..."
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def load_parameters(arguments: argparse.Namespace) -> "MetaParameters":
    """Meta-parameters named on the command line, for the powers and on the device given there."""
    import math

    from metagnn.graphs.checks import require
    from metagnn.graphs.units import dbm_to_w
    from metagnn.meta_parameters import load_meta_parameters

    levels = {"power_max_dbm": 10.0, "noise_dbm": -104.0}
    for name in levels:
        value = getattr(arguments, name)
        if value is not None:
            # Wider levels leave what float32 holds as a power in watts or as their ratio.
            rule = "lie in [-200, 100]"
            require(math.isfinite(value) and -200 <= value <= 100, name, rule, value)
            levels[name] = value
    check_device(arguments.device)
    parameters = load_meta_parameters(arguments.checkpoint)
    parameters.networks.to(arguments.device)
    return parameters.for_powers(dbm_to_w(levels["power_max_dbm"]), dbm_to_w(levels["noise_dbm"]))


def check_device(name: str) -> None:
    """Require a device that can compute here.

    Raises:
        ValueError: If there is none of that name.
    """
    import torch

    try:
        float(torch.zeros((), device=name))
    # CPU builds of torch fail with AssertionError, unknown names and absent cards otherwise.
    except (AssertionError, NotImplementedError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"`--device` must be one of this machine, got {name!r} ({reason})"
        ) from error


def refuse(arguments: argparse.Namespace, options: Sequence[str], because: str) -> None:
    """Refuse options that would have no effect.

    Raises:
        ValueError: If one of ``options`` was given.
    """
    for option in options:
        value = getattr(arguments, option.removeprefix("--").replace("-", "_"))
        if value is not None:
            raise ValueError(f"`{option}` must be left out {because}, got {value!r}")


def output_folder(path: str) -> Path:
    """Folder for results, checked before the work begins and made after it.

    Raises:
        ValueError: If ``path`` is no folder and none can be made there.
    """
    import os

    folder = Path(path)
    above = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    if not path or not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise ValueError(f"`--out` must be a folder that can be made and written, got {path!r}")
    return folder


def is_links_csv(path: str) -> bool:
    """Whether a path names a CSV of links rather than samples."""
    return Path(path).suffix.lower() == ".csv"


def require_file(name: str, path: str | None) -> None:
    """Require that a path given as ``name`` exists.

    Raises:
        FileNotFoundError: If it does not.
    """
    if path is not None and not Path(path).exists():
        raise FileNotFoundError(f"`{name}` must name an existing file, got {path!r}")


def check_levels(gain: "Gain", power_max_w: float, noise_w: float) -> None:
    """Require that received powers over the noise fit into float32.

    Raises:
        ValueError: If they do not.
    """
    import torch
    from torch import Tensor

    from metagnn.graphs.checks import require

    if isinstance(gain, Tensor):
        values = gain
    else:
        values = torch.cat([gain.direct, gain.crossed, gain.neglected.nan_to_num(0.0)], -1)
    largest, limit = float(values.max()), 1e38 * min(1.0, noise_w) / (power_max_w * gain.shape[-1])
    rule = f"be <= {limit:.3g} at {power_max_w:.3g} W and {noise_w:.3g} W of noise"
    require(largest <= limit, "gain", rule, largest)


def read_scenario(
    path: str, past_path: str | None, seed: int, num_neighbours: int | None
) -> "Scenario":
    """The user's network: samples, or a CSV of links whose samples are drawn with ``seed``.

    Raises:
        ValueError: If a file is malformed or the two differ in their number of links.
        FileNotFoundError: If there is no such file.
    """
    from metagnn.comparison import Scenario
    from metagnn.graphs.checks import require
    from metagnn.graphs.samples import load_samples

    require_file("GAIN", path)
    require_file("--adapt-to", past_path)
    if is_links_csv(path):
        require(past_path is None, "--adapt-to", "be left out with a CSV of links", past_path)
        return links_scenario(path, seed, num_neighbours)
    if past_path is None:
        # Lists of all scored samples would tell the first decisions what is to come.
        samples = load_samples(path, num_neighbours=num_neighbours, num_known=1)
        return Scenario(samples.large_scale_gain, None, samples.gain)
    past = load_samples(past_path, num_neighbours=num_neighbours)
    gain = load_samples(path, of=past.large_scale_gain).gain
    return Scenario(past.large_scale_gain, past.gain, gain)


def neglected_inr(
    gains: "Sequence[Gain]", power_max_w: float, noise_w: float
) -> dict[str, float | None]:
    """What neighbour lists leave out, for a report; empty where all gains are dense.

    ``neglected_inr`` is the largest bound of a receiver on the mean interference left out at full
    power, over noise [1], or None where a bound is unknown.
    """
    from metagnn.graphs.neighbours import NeighbourGain

    lists = [gain for gain in gains if isinstance(gain, NeighbourGain)]
    if not lists:
        return {}
    largest = [float(gain.neglected_share(power_max_w, noise_w).max()) for gain in lists]
    return {"neglected_inr": None if any(value != value for value in largest) else max(largest)}


def neglected_note(report: Mapping[str, Any]) -> str:
    """What `neglected_inr` found, in one line; empty where all gains are dense."""
    if "neglected_inr" not in report:
        return ""
    inr = report["neglected_inr"]
    if inr is None:
        return (
            "On neighbour lists: the interference of other links is unknown; rates do not count it."
        )
    return (
        "On neighbour lists: other links count as noise of their mean, on average at most "
        f"{inr:.3g} times the noise at any receiver at full power of all links."
    )


def links_scenario(path: str, seed: int, num_neighbours: int | None) -> "Scenario":
    """Network of a CSV of links, with samples drawn for adaptation and for scoring."""
    from metagnn.graphs.deployment import load_links

    return drawn_scenario(load_links(path, num_neighbours=num_neighbours), seed)


def drawn_scenario(configuration: "Configuration", seed: int) -> "Scenario":
    """A configuration with samples drawn for adaptation and for scoring."""
    from torch import Tensor

    from metagnn.comparison import Scenario
    from metagnn.graphs.randomness import generator

    dense = isinstance(configuration.large_scale_gain, Tensor)
    past, scored = DENSE_NUM_SAMPLES if dense else LISTS_NUM_SAMPLES
    gain = configuration.sample(past + scored, generator(seed, "links"))
    return Scenario(
        configuration.large_scale_gain, gain[:past], gain[past:], configuration.positions_m
    )


def to_json(metrics: Mapping[str, Mapping[str, "Estimate"]]) -> dict[str, Any]:
    """Metrics as plain values, each interval beside its value as ``..._ci95``."""
    return {
        policy: {
            key: value
            for name, estimate in values.items()
            for key, value in (
                (name, estimate.value),
                (f"{name}_ci95", None if estimate.low is None else [estimate.low, estimate.high]),
            )
        }
        for policy, values in metrics.items()
    }


def table(metrics: Mapping[str, Mapping[str, "Estimate"]]) -> str:
    """Metrics as a table with 95 % intervals; rates in bit/s/Hz."""
    names = list(next(iter(metrics.values())))
    header = ["policy", *(_COLUMNS[name] for name in names)]
    rows = [header]
    for policy, values in metrics.items():
        rows.append([policy, *(interval_cell(values[name]) for name in names)])
    note = "Rates in bit/s/Hz; brackets: 95 % bootstrap interval over networks."
    return f"{text_table(rows)}\n{note}"


def text_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells in columns, the first row underlined."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def interval_cell(estimate: "Estimate", digits: int = 3, scale: float = 1.0) -> str:
    """A metric times ``scale`` with its interval."""
    ends = (estimate.value, estimate.low, estimate.high)
    value, low, high = (None if v is None else f"{scale * v:.{digits}f}" for v in ends)
    return f"{value}" if low is None else f"{value} [{low}, {high}]"
