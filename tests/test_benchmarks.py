import json
import time

import numpy as np
import pytest
import torch

from metagnn.benchmarks import (
    FAMILY,
    against,
    large_network,
    peak_flops,
)
from metagnn.cli import main
from metagnn.graphs.randomness import generator
from metagnn.numpy_baselines import numpy_itlinq, numpy_wmmse
from metagnn.tasks.power_control.itlinq import itlinq
from metagnn.tasks.power_control.wmmse import wmmse


@pytest.mark.parametrize("num_links", [3, 8])
def test_the_ordinary_way_computes_the_same(num_links: int) -> None:
    gain = FAMILY.configuration(num_links, 0, "train", 1).sample(10, generator(0)).double()
    constants = (FAMILY.power_max_w, FAMILY.noise_w)
    for batched, single in ((wmmse, numpy_wmmse), (itlinq, numpy_itlinq)):
        found = batched(gain, *constants)
        wanted = np.stack([single(sample.numpy(), *constants) for sample in gain])
        torch.testing.assert_close(found, torch.from_numpy(wanted), rtol=1e-6, atol=1e-9)


def test_ratios_are_ordinary_time_over_ours() -> None:
    def work(seconds: float) -> None:
        end = time.process_time() + seconds
        while time.process_time() < end:
            pass

    found = against("spin", lambda: work(0.01), lambda: work(0.03), repeats=3)
    assert found.ratio == pytest.approx(3.0, rel=0.3)
    assert found.ratio_low is not None
    assert found.ratio_high is not None
    assert found.ratio_low <= found.ratio <= found.ratio_high
    assert against("spin", lambda: work(0.01), None, repeats=1).ratio is None


def test_peak_is_that_of_a_machine() -> None:
    assert 1e8 < peak_flops(repeats=1, size=64) < 1e13


def test_large_networks_are_functions_of_their_size() -> None:
    first, again = large_network(300, 8), large_network(300, 8)
    assert torch.equal(first.crossed, again.crossed)
    assert first.neighbours.num_pairs == 2400
    assert (first.neglected > 0).all()


def test_bench_prints_ratios(capsys: pytest.CaptureFixture[str]) -> None:
    main(
        [
            "bench",
            "--short",
            "--parts",
            "leconv,step,baselines,decisions,large,environments",
            "--json",
        ]
    )
    rows = json.loads(capsys.readouterr().out)
    assert all(row["seconds"] > 0 for row in rows)
    named = [row["name"] for row in rows if row["ratio"] is not None]
    for word in (
        "LEConv forward + backward",
        "WMMSE",
        "ITLinQ",
        "meta-training",
        "policy of width",
        "shipped sum_rate policy",
        "200 links",
    ):
        assert any(word in name for name in named)
    main(["bench", "--short", "--parts", "decisions,table_i"])
    printed = capsys.readouterr().out
    assert "x [" in printed
    assert "400 are" in printed


def test_unknown_parts_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["bench", "--parts", "everything"])
    assert stop.value.code == 2
    assert "`parts` must be among" in capsys.readouterr().err
