"""``metagnn adapt``: adapt the meta-parameters to the user's own network."""

import argparse
import sys
from collections.abc import Callable, Sequence

from metagnn.commands.options import (
    add_policy_options,
    check_levels,
    is_links_csv,
    links_scenario,
    load_parameters,
    neglected_inr,
    neglected_note,
    output_folder,
    refuse,
    require_file,
)


def main(words: Sequence[str]) -> None:
    """Run the subcommand.

    Raises:
        ValueError: If an argument breaks its rule; then nothing is written.
    """
    arguments = _parser().parse_args(words)
    if arguments.out is None:
        raise ValueError("`--out` must name a folder for power.npz and report.json, got nothing")
    from dataclasses import replace

    import torch

    from metagnn.adaptation import adapt, learned_rollout
    from metagnn.comparison_files import network_links
    from metagnn.files import write_json, write_npz, written_together
    from metagnn.graphs.checks import check_count, require
    from metagnn.graphs.rates import rate
    from metagnn.graphs.samples import load_samples
    from metagnn.refinement import refine, refined_power
    from metagnn.tasks.power_control.metrics import summarize
    from metagnn.versions import versions

    out = output_folder(arguments.out)
    parameters = load_parameters(arguments)
    steps = parameters.adaptation.num_epochs if arguments.steps is None else arguments.steps
    check_count("steps", steps, minimum=0)
    seed = 0 if arguments.seed is None else arguments.seed
    check_count("seed", seed, minimum=0)
    problem = parameters.problem
    require_file("GAIN", arguments.gain)
    require_file("--test", arguments.test)
    positions_m = None
    if is_links_csv(arguments.gain):
        scenario = links_scenario(arguments.gain, seed, arguments.num_neighbours)
        large_scale_gain, past, gain = (
            scenario.large_scale_gain,
            scenario.past_gain,
            scenario.gain,
        )
        positions_m = scenario.positions_m
        assert past is not None
    elif arguments.test is None:
        raise ValueError("`--test` must name the samples to decide on, got nothing")
    else:
        refuse(arguments, ("--seed",), "with samples, which are not drawn")
        samples = load_samples(arguments.gain, num_neighbours=arguments.num_neighbours)
        large_scale_gain, past = samples.large_scale_gain, samples.gain
    if arguments.test is not None:
        gain = load_samples(arguments.test, of=large_scale_gain).gain
    large_scale_gain, past, gain = (
        values.to(arguments.device) for values in (large_scale_gain, past, gain)
    )
    if arguments.refine:
        dense = isinstance(gain, torch.Tensor)
        require(dense, "--refine", "have gains without neighbour lists", "lists")
    for values in (large_scale_gain, past, gain):
        check_levels(values, problem.power_max_w, problem.noise_w)
    with torch.autocast(gain.device.type, torch.bfloat16, enabled=arguments.bf16):
        adapted = adapt(
            parameters.networks,
            large_scale_gain,
            past,
            problem,
            replace(parameters.adaptation, num_epochs=steps),
            _progress(steps, arguments.json),
        )
        if arguments.refine:
            assert isinstance(past, torch.Tensor)
            assert isinstance(gain, torch.Tensor)
            adapted = refine(adapted, past, problem)
            power_w = refined_power(adapted, past, gain, problem).to(gain)
        else:
            power_w = learned_rollout(adapted.learner, past, gain, problem).power_w.squeeze(1)
    power_w = power_w.clamp(0, problem.power_max_w)
    rates = rate(gain, power_w, problem.noise_w).mean(0).cpu()
    report = {
        "gain": arguments.gain,
        "test": arguments.test,
        "seed": arguments.seed,
        "steps": steps,
        "refined": arguments.refine,
        "checkpoint": arguments.checkpoint,
        "num_links": len(rates),
        "num_adaptation_samples": len(past),
        "num_test_samples": len(gain),
        "power_max_w": problem.power_max_w,
        "noise_w": problem.noise_w,
        "minimum_rate": adapted.minimum_rate,
        "rate": rates.tolist(),
        "slack": adapted.slack.tolist(),
        "multiplier": adapted.mu.tolist(),
        "lagrangian_per_link": adapted.lagrangian,
        **neglected_inr([large_scale_gain], problem.power_max_w, problem.noise_w),
        **{name: estimate.value for name, estimate in summarize([rates]).items()},
        "links": network_links(large_scale_gain, positions_m),
        "versions": versions(),
    }
    with written_together(out) as folder:
        write_json(folder / "report.json", report)
        write_npz(folder / "power.npz", power_w=power_w.cpu())
    if not (out / "comparison.json").exists():
        # Gaps that were added to an earlier adaptation are not those of this one.
        (out / "gap.json").unlink(missing_ok=True)
    if arguments.json:
        import json

        json.dump(report, sys.stdout, indent=2, allow_nan=False)
        print()
        return
    print(
        f"{len(rates)} links, {steps} steps on {len(past)} samples; on {len(gain)} test samples: "
        f"mean rate {float(rates.mean()):.3f}, minimum {float(rates.min()):.3f} bit/s/Hz"
    )
    if note := neglected_note(report):
        print(note)
    print(f"Powers [W] in {out}/power.npz, numbers in {out}/report.json")


def _progress(steps: int, quiet: bool) -> Callable[[int, object], None]:
    from tqdm import tqdm

    bar = tqdm(total=steps, unit="step", desc="adapting", disable=quiet or steps == 0, leave=False)

    def on_epoch(done: int, learner: object) -> None:
        bar.update(done - bar.n)
        if done == steps:
            bar.close()

    return on_epoch


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="metagnn adapt",
        description="Adapt the shipped (or given) meta-parameters to your own network, and decide "
        "the powers of TEST, whose samples are consecutive in time: each power depends on its own "
        "sample and the past only.",
    )
    parser.add_argument(
        "gain",
        metavar="GAIN",
        help="samples .npz with gain [S, K, K] (power gains, transmitter to receiver) and "
        "optionally large_scale_gain [K, K], neighbour lists (see docs/your_network.md), or a CSV "
        "of links",
    )
    parser.add_argument("--test", metavar="TEST", help="samples .npz to decide on")
    parser.add_argument("--seed", type=int, help="seed of a CSV's samples (0)")
    parser.add_argument(
        "--refine",
        action="store_true",
        help="improve powers and multipliers by local search (takes all gains, no neighbour lists)",
    )
    add_policy_options(parser)
    return parser
