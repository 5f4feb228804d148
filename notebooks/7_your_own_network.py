# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Your own network
#
# Two ways in: a CSV of links with coordinates, from which gains are computed, or an `.npz` of gains
# that you measured or simulated. Then adapt, compare, and take the powers and the graph home. The
# example is real: 59 sub-links of community networks in New York at 5 GHz (OpenMesh, CC BY 4.0).

# %%
import os
import tempfile
from importlib.resources import files
from pathlib import Path

import networkx
import numpy as np
import torch
from IPython.display import Image

from metagnn.adaptation import adapt, learned_rollout
from metagnn.commands.options import table
from metagnn.comparison import Scenario, compare
from metagnn.files import write_json, write_npz
from metagnn.graphs.convert import from_networkx, to_networkx
from metagnn.graphs.deployment import LinkBudget, load_links
from metagnn.graphs.randomness import generator
from metagnn.graphs.samples import load_samples
from metagnn.meta_parameters import load_meta_parameters
from metagnn.plots import figure_of, png_of, rates_per_link, trade_off
from metagnn.plots_networks import network_maps
from metagnn.tasks.power_control.metrics import summarize

# A folder of our own, which goes when the notebook ends.
folder = tempfile.TemporaryDirectory()
os.chdir(folder.name)
packaged = files("metagnn.graphs") / "data" / "openmesh_nyc" / "links_5ghz.csv"
Path("links.csv").write_bytes(packaged.read_bytes())
print("\n".join(Path("links.csv").read_text().splitlines()[:4]))

# %% [markdown]
# ## From coordinates to gains
#
# Five columns are needed: both ends' latitude and longitude, and the frequency in MHz. Each row is
# a directed link from site 0 to site 1. What the file does not say is assumed, and each assumption
# is an argument of `LinkBudget`: antennas, beam widths, isolation on one roof, who shares a
# channel.

# %%
place = load_links("links.csv", LinkBudget(antenna_gain_dbi=25.0, beam_width_deg=9.0))
samples = place.sample(256 + 128, generator(0, "your own network"))
past, later = samples[:256], samples[256:]
print(
    f"{len(place.large_scale_gain)} links, {len(past)} samples to adapt to, {len(later)} to score"
)

# %% [markdown]
# ## Adapt and compare
#
# The shipped meta-parameters have seen at most 20 links in squares of up to 500 m, never real ones.
# Twenty epochs take about ten seconds here.

# %%
meta = load_meta_parameters("power_control")
power_max_w, noise_w = meta.problem.power_max_w, meta.problem.noise_w
adapted = adapt(meta.networks, place.large_scale_gain, past, meta.problem, meta.adaptation)
run = learned_rollout(adapted.learner, past, later, meta.problem)
power_w = run.power_w.squeeze(1).clamp(0.0, power_max_w)

scenario = Scenario(place.large_scale_gain, past, later)
baselines = compare([scenario], ("metagnn_unadapted", "itlinq", "wmmse", "full_power"), meta, 0)
rates = {"metagnn": [run.rate.mean((0, 1))], **baselines.rates}
metrics = {name: summarize(values, None) for name, values in rates.items()}
print(table(metrics))

# %%
figure, axes = figure_of(10.0, 3.8, 2)
trade_off(axes[0], metrics)
rates_per_link(axes[1], rates)
Image(png_of(figure))

# %% [markdown]
# On the map: dark links are slow.

# %%
of_links = {name: rates[name][0] for name in ("metagnn", "itlinq", "wmmse")}
Image(png_of(network_maps(place.transmitter_m, place.receiver_m, of_links)))

# %% [markdown]
# ## What to take home
#
# The powers as an array, and the network as a networkx graph: nodes carry SNR, edges the
# interference over noise. `from_networkx` reads it back, also one that you made yourself.

# %%
write_npz("power.npz", power_w=power_w.numpy())
graph = to_networkx(
    place.large_scale_gain, power_max_w, noise_w, place.transmitter_m, place.receiver_m
)
write_json("graph.json", networkx.node_link_data(graph, edges="edges"))

with np.load("power.npz", allow_pickle=False) as file:
    print("power.npz: power_w", file["power_w"].shape, "W")
strongest = max(graph.edges(data=True), key=lambda edge: edge[2]["inr_db"])
print(
    f"graph.json: {graph.number_of_nodes()} nodes, {graph.number_of_edges()} edges; "
    f"strongest interference from link {strongest[0]} to link {strongest[1]}, "
    f"{strongest[2]['inr_db']:.0f} dB over the noise"
)
assert torch.equal(from_networkx(graph), place.large_scale_gain)

# %% [markdown]
# ## Gains of your own
#
# `gain[s, i, k]` is the linear power gain from transmitter i to receiver k in sample s. The mean
# over samples stands in where `large_scale_gain` is not given. Here the first ten links play your
# measurements.

# %%
write_npz("gain.npz", gain=past[:, :10, :10].numpy())
own = load_samples("gain.npz")
decided = learned_rollout(meta.networks, None, own.gain, meta.problem)
print(
    f"{own.num_links} links, {own.num_samples} samples, "
    f"powers {tuple(decided.power_w.squeeze(1).shape)}"
)

# %% [markdown]
# The same in a shell, where also the figures and reports are written:
#
# ```sh
# metagnn compare links.csv --steps 20 --out comparison
# metagnn adapt gain.npz --test later.npz --steps 20 --out adapted    # power.npz, report.json
# ```

# %% [markdown]
# ## When something is wrong with a file
#
# Nothing is repaired silently. The message names the argument or the place, the rule and the value;
# on the command line it comes with exit code 2.

# %%
text = Path("links.csv").read_text()
Path("swapped.csv").write_text(text.replace("40.685983,-73.917588", "-73.917588,140.685983"))
Path("lacking.csv").write_text(text.replace("frequency", "freq_ghz"))
gain = past[:, :10, :10].numpy()
write_npz("decibels.npz", gain=10 * np.log10(np.maximum(gain, 1e-20)))
write_npz("one_receiver.npz", gain=gain[:, :, :1])
write_npz("other_name.npz", power=gain)
for load, name in (
    (load_links, "swapped.csv"),
    (load_links, "lacking.csv"),
    (load_samples, "decibels.npz"),
    (load_samples, "one_receiver.npz"),
    (load_samples, "other_name.npz"),
    (load_samples, "not_there.npz"),
):
    try:
        load(name)
    except (ValueError, FileNotFoundError) as error:
        print(f"{error}\n")
