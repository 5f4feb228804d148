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
# # Spectrum for access and backhaul
#
# The networks of *Meta-Reinforcement Learning for Fast and Data-Efficient Spectrum Allocation in
# Dynamic Wireless Networks*: one node, the donor, has fibre. The others get by radio what they send
# on to their users, in the same five bands, and no node can receive on a band on which it sends. In
# every slot each node chooses for each band: off, or one of four powers for its users or for the
# nodes that it feeds. What cannot be sent waits.

# %%
import io
import tempfile
from contextlib import redirect_stderr
from pathlib import Path

import torch
from IPython.display import Image
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from study_runs import read

from metagnn.cli import main
from metagnn.commands.compare_spectrum import COLUMNS
from metagnn.commands.options import interval_cell, text_table
from metagnn.graphs.iab import IabNetworks
from metagnn.graphs.randomness import generator
from metagnn.plots import figure_of, png_of
from metagnn.plots_networks import link_map
from metagnn.spectrum_adaptation import Finetuning
from metagnn.spectrum_comparison import compare_spectrum, find_spectrum, spectrum_metrics
from metagnn.spectrum_place import SpectrumPlace
from metagnn.tasks.spectrum_allocation.baselines import BASELINES
from metagnn.tasks.spectrum_allocation.scenario import ScenarioFamily

# %% [markdown]
# ## Two trees
#
# Left: a network drawn at random, with the positions of the systems that send most of the time on
# some bands (crosses); nobody knows of them but those whom they disturb. Right: a tree of links of
# New York's community network, with users drawn around its roofs.


# %%
def draw_nodes(axis: Axes, networks: IabNetworks) -> None:
    """The donor (square), the other nodes (triangles) and users (dots)."""
    node_m, user_m = networks.node_m[0], networks.user_m[0]
    axis.scatter(*node_m[1:].T, 70, c="#0072B2", marker="^", zorder=3, label="node")
    axis.scatter(*node_m[:1].T, 80, c="k", marker="s", zorder=3, label="donor")
    axis.scatter(*user_m.T, 22, c="#E69F00", edgecolors="0.2", linewidths=0.5, zorder=3)
    axis.set_aspect("equal")
    axis.set_xlabel("east [m]")


def draw_tree(axis: Axes, networks: IabNetworks) -> None:
    """Nodes and users, on strings to who serves them: backhaul (thick) and access."""
    node_m, user_m = networks.node_m[0], networks.user_m[0]
    for node, parent in enumerate(networks.parent[0].tolist()):
        if parent >= 0:
            axis.plot(*node_m[[node, parent]].T, color="#0072B2", linewidth=2.5, zorder=1)
    for user, server in enumerate(networks.server[0].tolist()):
        ends = torch.stack([user_m[user], node_m[server]])
        axis.plot(*ends.T, color="0.7", linewidth=0.8, zorder=1)
    draw_nodes(axis, networks)


place = SpectrumPlace(ScenarioFamily(terrains=("urban_micro",), load_mbit_s=(6.0, 6.0)))
environment = place.environment()
environment.reset(1, generator(3, "a network"))
drawn = environment.scenarios
real = SpectrumPlace(ScenarioFamily(num_nodes=6, num_users=20, network="nycmesh")).environment()
real.reset(1, generator(0, "new york"))

figure, axes = figure_of(10.0, 4.4, 2)
draw_tree(axes[0], drawn.networks)
disturbing = drawn.incumbent_m[0][drawn.incumbent_duty[0] > 0]
axes[0].scatter(*disturbing.T, 60, c="#D55E00", marker="x", label="another system")
draw_tree(axes[1], real.scenarios.networks)
axes[0].set_ylabel("north [m]")
axes[0].set_title("random, urban micro", fontsize=10)
axes[1].set_title("New York", fontsize=10)
axes[0].legend(fontsize=8, frameon=False)
Image(png_of(figure))

# %% [markdown]
# ## One slot
#
# What three ways to decide make of the same slot, after twenty slots of their own: the power of
# each node on each band, to its users or to its child nodes, and crosses where the SINR at the
# receiver was below the floor of 5 dB. *Full reuse* sends everywhere, and loses what collides;
# *orthogonal* lets one node at a time use a band; *max weight* knows all gains, and weighs what
# waits.

# %%
shown = ("full reuse", "orthogonal", "max weight")
radio, family = environment.radio, place.family
rows = [(node, role) for node in range(family.num_nodes) for role in (0, 1)]
rows = [row for row in rows if environment.agent_mask[0, row[0], row[1]]]
labels = [f"node {node}, {('users', 'nodes')[role]}" for node, role in rows]
slots = {}
figure, axes = figure_of(12.0, 2.8, len(shown))
for axis, name in zip(axes, shown, strict=True):
    environment.reset_episode(generator(4, "an episode"))
    for _ in range(20):
        state = environment.state
        action = BASELINES[name](state, radio, generator(5, "levels", name))
        environment.step(action)
    level = torch.stack([action.level[0, node, role] for node, role in rows])
    image = axis.imshow(level, cmap="Blues", vmin=0, vmax=radio.num_levels, aspect="auto")
    slots[name] = environment.state
    failed = environment.state.sent & ~environment.state.served
    for link, band in failed[0].nonzero().tolist():
        agent = int(environment.link_agent[0, link])
        axis.plot(band, rows.index(divmod(agent, 2)), "x", color="#D55E00", markersize=9)
    axis.set_title(name, fontsize=10)
    axis.set_xticks(range(radio.num_bands))
    axis.set_xlabel("band")
    axis.set_yticks(range(len(rows)), labels if axis is axes[0] else [""] * len(rows))
    axis.grid(visible=False)
bar = figure.colorbar(image, ax=list(axes), label="power [dBm]", ticks=range(radio.num_levels + 1))
bar.set_ticklabels(["off", *(f"{power_dbm:.3g}" for power_dbm in radio.power_levels_dbm)])
Image(png_of(figure))

# %% [markdown]
# The same on the map: links that were sent on are as wide as their power on all bands together, and
# the darker, the less they carried; the others are dotted.

# %%
networks, agent = drawn.networks, environment.link_agent[0]
sender_m = networks.node_m[0, networks.transmitter[0]]
receiver_m = torch.cat([networks.node_m[0, 1:], networks.user_m[0]])
highest = max(float(state.moved_bit.max()) for state in slots.values()) / radio.slot_s / 1e6
figure, axes = figure_of(12.0, 3.9, len(shown))
for axis, (name, state) in zip(axes, slots.items(), strict=True):
    power_w = radio.power_w(state.level[0].flatten(0, 1)[agent]) * state.sent[0]
    share = power_w.sum(-1) / (radio.num_bands * radio.power_max_w)
    rate = (state.moved_bit[0] / radio.slot_s / 1e6).float()
    on = state.sent[0].any(-1)
    strings = list(torch.stack([sender_m, receiver_m], dim=1)[~on].numpy())
    axis.add_collection(LineCollection(strings, colors="0.5", linestyles=":", linewidths=1))
    draw_nodes(axis, networks)
    image = link_map(axis, sender_m[on], receiver_m[on], share[on], rate[on], highest)
    axis.set_title(name, fontsize=10)
    axis.set_ylabel("north [m]" if axis is axes[0] else "")
figure.colorbar(image, ax=list(axes), label="carried [Mbit/s]")
lines, labels = axes[0].get_legend_handles_labels()
figure.legend(
    lines[-3:], labels[-3:], fontsize=8, frameon=False, loc="outside lower center", ncols=3
)
Image(png_of(figure))

# %% [markdown]
# ## One episode
#
# What waits somewhere in the tree, and how old the oldest bit is. Whoever cannot carry the load
# falls behind for good, and a user's bits are late (dotted: the limit of 50 slots).

# %%
figure, axes = figure_of(10.5, 3.6, 2)
looks = {
    "full reuse": {"color": "#D55E00", "linestyle": "--"},
    "orthogonal": {"color": "#E69F00", "linestyle": "-."},
    "max weight": {"color": "#0072B2", "linestyle": "-"},
}
for name, look in looks.items():
    environment.reset_episode(generator(4, "an episode"))
    waiting, oldest = [], []
    draws = generator(5, "levels", name)
    for _ in range(place.num_steps):
        step = environment.step(BASELINES[name](environment.state, radio, draws))
        waiting.append(float(environment.state.queue_bit.sum()) / 1e6)
        oldest.append(int(step.info.age.max()))
    axes[0].plot(waiting, label=name, **look)
    axes[1].plot(oldest, label=name, **look)
axes[1].axhline(radio.latency_limit, color="0.4", linestyle=":", linewidth=1, label="limit")
axes[0].set_ylabel("waiting in the tree [Mbit]")
axes[1].set_ylabel("age of the oldest bit [slots]")
for axis in axes:
    axis.set_xlabel("slot of 10 ms")
    axis.legend(fontsize=8, frameon=False)
Image(png_of(figure))

# %% [markdown]
# ## Learning, live
#
# A graph network over the links learns by PPO: in each epoch one episode in eight scenarios of
# their own, of which terrain, tree, loads and incumbents differ. It hears over the edges, whose
# weights are those of interference without fading, and is told of incumbents only what receivers
# report. What its choices would be worth by that it can reckon, as *reported max weight* does, and
# it learns how far to trust that. In training a simulator tells it what each choice of a node would
# have been worth on its band; afterwards it is on its own. The reward is the share of the load that
# is delivered, less what violations cost.

# %%
folder = tempfile.TemporaryDirectory()
words = ["fit", "--config", "spectrum_allocation", "--trainer.max_epochs=12"]
words += [f"--trainer.logger.init_args.save_dir={folder.name}", "--trainer.limit_val_batches=0"]
words += ["--model.init_args.agent=ppo", "--model.init_args.schedule=constant"]
words += ["--model.init_args.num_networks=8", "--model.init_args.num_episodes=1"]
words += ["--model.init_args.ppo.num_batches=2"]
with redirect_stderr(io.StringIO()):  # the progress bar
    main(words)
(log,) = Path(folder.name).rglob("metrics.csv")
logged = [row for row in read(log) if row["reward_0"]]
figure, axes = figure_of(10.5, 3.4, 2)
episodes = range(1, len(logged) + 1)
axes[0].plot(episodes, [float(row["reward_0"]) for row in logged], color="#0072B2")
axes[0].set_ylabel("mean reward of a slot [1]")
for name, colour, dashes, label in (
    ("sinr_violation", "#D55E00", "--", "SINR, of links"),
    ("latency_violation", "#0072B2", "-", "latency, of users"),
):
    rows = [float(row[name]) for row in logged]
    axes[1].plot(episodes, rows, color=colour, linestyle=dashes, label=label)
axes[1].set_ylabel("share in violation [1]")
axes[1].legend(fontsize=8, frameon=False)
for axis in axes:
    axis.set_xlabel("epoch")
Image(png_of(figure))

# %% [markdown]
# ## Unseen scenarios
#
# Eight scenarios that it never saw, and what it does there before any episode, and after one of
# which it learned by PPO. Beside it PPO that begins there, and baselines. Brackets are 95 %
# bootstrap intervals over scenarios: one training says nothing of other seeds.

# %%
everywhere = SpectrumPlace()
trained = find_spectrum(Path(folder.name), everywhere)
names = ["max weight", "reported max weight", "orthogonal", "full reuse", "random"]
steps = (Finetuning(), Finetuning(rate=1e-2))
scores = compare_spectrum(trained, everywhere, 8, (0, 1), 1, *steps, names)
columns = ("throughput_mbit_s", "sinr_violation", "latency_violation", "jain")
for point in (0, 1):
    found = spectrum_metrics(scores, point)
    order = sorted(found, key=lambda name: -found[name]["throughput_mbit_s"].value)
    table = [["policy", *(COLUMNS[column][0] for column in columns)]]
    for name in order:
        cells = [interval_cell(found[name][c], COLUMNS[c][1]) for c in columns]
        table.append([name, *cells])
    print(f"after {point} episodes\n{text_table(table)}\n")

# %% [markdown]
# ## Ten seeds
#
# What `spectrum_study.py` measured: all agents, trained for 5 to 9 minutes each from ten seeds, in
# 40 scenarios that they never saw. Lines are inter-quartile means over seeds. Policies that learned
# over many scenarios start where PPO from scratch does not come in five episodes; that they adapt
# adds no throughput to what the edges tell them of a scenario, and by gradients adds failures.

# %%
Image(filename="results/spectrum_random.png")

# %% [markdown]
# ## Further
#
# ```sh
# metagnn fit --config spectrum_allocation --model.init_args.agent=ppo  # maml, recurrent, attention
# metagnn compare --config spectrum_allocation --runs runs/spectrum_allocation
# metagnn compare --config spectrum_allocation --runs runs/spectrum_allocation --network nycmesh
# ```
#
# What the agents are, what they are told and what departs from the paper stands in
# `docs/spectrum_allocation.md`. The study of ten seeds is `spectrum_study.py` (`train`, `score`,
# `table`), its figures `spectrum_figures.py`.
