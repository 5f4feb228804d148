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
# # Offloading in small cells
#
# The networks of *Multi-Agent Deep Reinforcement Learning for Computation Offloading and
# Interference Coordination in Small Cell Networks* (Huang et al.). In every slot each user has a
# task and a deadline, 0.9 of the time that it would need to compute the task itself. So something
# must be offloaded, over one of 16 channels that all cells reuse, and each base station decides for
# its users: which share, which channel, which power, how much of its server.

# %%
import io
import tempfile
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import torch
from IPython.display import Image, Markdown
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from offloading_figures import STYLES, figures_of
from offloading_table import RESULTS, TRAINED_HERE, column
from study_runs import read
from study_tables import middle
from torch import Tensor

from metagnn.cli import main
from metagnn.commands.compare_offloading import metrics_table
from metagnn.graphs.randomness import generator
from metagnn.graphs.small_cells import SmallCells, melbourne_cells
from metagnn.offloading_comparison import compare_offloading, find_sites, offloading_metrics
from metagnn.offloading_place import Place
from metagnn.offloading_score import score_offloading
from metagnn.plots import figure_of, png_of
from metagnn.tasks.offloading.baselines import BASELINES
from metagnn.tasks.offloading.cost import uplink_rate
from metagnn.tasks.offloading.scenario import Computing

# %% [markdown]
# ## Two networks
#
# Left: six cells of ten users, drawn as in the paper. Right: 125 registered sites in Melbourne's
# centre, and 816 users drawn by the data's authors, each served by the site of its strongest gain.


# %%
def draw_cells(
    axis: Axes, cells: SmallCells, power_dbm: Tensor | None = None, crossed: Tensor | None = None
) -> ScalarMappable:
    """Users on a string to their site, coloured by power [dBm]; crosses where something failed."""
    site_m, user_m = cells.site_m.view(-1, 2), cells.user_m.view(-1, 2)
    strings = torch.stack([user_m, site_m[cells.cell]], dim=1).numpy()
    axis.add_collection(LineCollection(list(strings), colors="0.75", linewidths=0.7))
    size = 30.0 if len(user_m) < 100 else 4.0
    marks: dict[str, Any] = {"zorder": 3, "edgecolors": "0.2", "linewidths": 0.5 * (size > 10.0)}
    shades: dict[str, Any] = {"c": "0.35"}
    if power_dbm is not None:
        shades = {"c": power_dbm, "cmap": "viridis", "vmin": -30.0, "vmax": 23.0}
    drawn = axis.scatter(*user_m.T, size, **shades, **marks)
    if crossed is not None:
        axis.scatter(*user_m[crossed].T, 90, c="#D55E00", marker="x", linewidths=1.6, zorder=4)
    axis.scatter(*site_m.T, 2.0 * size, c="k", marker="^", zorder=3)
    axis.set_aspect("equal")
    axis.set_xlabel("east [m]")
    return drawn


place = Place(network="fixed", network_seed=7)
cells = place.cells()
figure, axes = figure_of(11.0, 4.2, 2)
draw_cells(axes[0], cells)
draw_cells(axes[1], melbourne_cells())
axes[0].set_ylabel("north [m]")
axes[0].set_title("6 cells of 10 users", fontsize=10)
axes[1].set_title("Melbourne", fontsize=10)
Image(png_of(figure))

# %% [markdown]
# ## One user
#
# What it costs a user in the middle of its cell to send its whole task, against the interference
# that its base station receives on its channel; it has a tenth of the server. Alone, the least
# power is the best. Under interference it must transmit louder, or misses its deadline (dotted):
# **what makes offloading hard is the others**, who want the same channels. Computing everything
# itself would take a hundred times the energy of offloading it on a clear channel.

# %%
environment = place.environment(20)
environment.reset(1, generator(1, "offloading"))
slot, radio = environment.slot, environment.radio
gains = slot.own_gain[0].mean(-1)
user = int(gains.argsort()[len(gains) // 2])
tasks, devices = slot.tasks, slot.devices
excess_db = torch.linspace(-20.0, 40.0, 400)
interference_w = radio.noise_w * 10 ** (excess_db / 10)
edge_s = tasks.cycles[0, user] / (0.1 * slot.server_hz[0, user])
edge_j = tasks.cycles[0, user] * slot.server_j_per_cycle[0, user]
local_j = tasks.cycles[0, user] * devices.user_j_per_cycle[0, user]

figure, (axis,) = figure_of(5.5, 3.6, 1)
for power_dbm, colour, marker in ((3, "#D55E00", "s"), (13, "#E69F00", "v"), (23, "#0072B2", "o")):
    power_w = 10 ** (power_dbm / 10 - 3)
    rate = uplink_rate(power_w, gains[user], interference_w, radio.bandwidth_hz, radio.noise_w)
    transmission_s = tasks.size_bit[0, user] / rate
    energy_mj = 1e3 * (power_w * transmission_s + edge_j)
    met = transmission_s + edge_s <= tasks.deadline_s[0, user]
    axis.plot(excess_db, energy_mj, ":", color=colour, linewidth=1)
    in_time = energy_mj.where(met, torch.nan)
    look: dict[str, Any] = {
        "color": colour,
        "marker": marker,
        "markevery": (power_dbm, 40),
        "markersize": 5,
    }
    axis.plot(excess_db, in_time, linewidth=2.4, label=f"{power_dbm} dBm", **look)
axis.axhline(1e3 * float(local_j), color="0.4", linestyle="--", linewidth=1, label="local")
axis.set_yscale("log")
axis.set_ylim(5.0, 5e3)
axis.set_xlabel("interference over noise [dB]")
axis.set_ylabel("energy of the task [mJ]")
axis.legend(fontsize=8, frameon=False)
Image(png_of(figure))

# %% [markdown]
# ## All users, one slot
#
# Three ways to decide for the same sixty tasks, with the powers of the transmissions, and crosses
# where a deadline is missed. *Full offloading* sends everything at full power on random channels;
# *heuristic* picks channels by the interference that its base station measured in the slot before,
# keeps them unless others are much better, and takes the least power that should do; *coordinated*
# knows all gains of all cells.


# %%
def slots(policies):
    """Maps of what policies decide in the same slot."""
    figure, axes = figure_of(13.0, 4.2, len(policies))
    for axis, (name, policy) in zip(axes, policies.items(), strict=True):
        environment.reset(1, generator(1, "offloading"))
        # The first slot, before which nobody measured anything, does not count.
        for _ in range(2):
            decision = policy(environment.slot, radio, generator(2, "actions", name))
            outcome = environment.step(decision).info.cost
        met = outcome.met[0]
        power_dbm = 10 * decision.power_w[0].clamp(min=1e-12).log10() + 30
        drawn = draw_cells(axis, cells, power_dbm, ~met)
        energy_mj = 1e3 * float(outcome.energy_j.mean())
        text = f"{name}\n{int(met.sum())} of {len(met)} in time, {energy_mj:.0f} mJ per task"
        axis.set_title(text, fontsize=10)
    axes[0].set_ylabel("north [m]")
    figure.colorbar(drawn, ax=list(axes), label="transmit power [dBm]", shrink=0.6)
    return figure


shown = ("full offloading", "heuristic", "coordinated")
Image(png_of(slots({name: BASELINES[name] for name in shown})))

# %% [markdown]
# ## Learning, live
#
# MA-DRL learns from scratch: 25 episodes, each of ten slots in eight networks of its own, some
# twenty seconds of one core (the study has 200, over which rates and exploration fall). In training
# a critic knows what all base stations do, and what each user's channel and power mean to the
# others; afterwards every base station decides alone, by one small graph network that is the
# same for all.

# %%
folder = tempfile.TemporaryDirectory()
words = ["fit", "--config", "offloading", "--trainer.max_epochs=25"]
words += [f"--trainer.logger.init_args.save_dir={folder.name}", "--trainer.limit_val_batches=0"]
words += [f"--model.init_args.maddpg.{x}" for x in ("schedule=constant", "noise=[0.25,0.25]")]
with redirect_stderr(io.StringIO()):  # the progress bar
    main(words)
(log,) = Path(folder.name).rglob("metrics.csv")
logged = [row for row in read(log) if row["reward"]]
figure, axes = figure_of(10.5, 3.4, 2)
episodes = range(1, len(logged) + 1)
axes[0].plot(episodes, [100 * float(row["met"]) for row in logged], color="#0072B2")
axes[0].set_ylabel("deadlines met [%]")
axes[1].plot(episodes, [float(row["energy_mj"]) for row in logged], color="#0072B2")
axes[1].set_ylabel("energy per task [mJ]")
axes[1].set_yscale("log")
for axis in axes:
    axis.set_xlabel("episode, with exploration")
Image(png_of(figure))

# %% [markdown]
# Without exploration, on twenty networks that it never saw, five slots each, with 95 % bootstrap
# intervals over networks (one training: they say nothing of other seeds). No policy that meets all
# deadlines needs less than the *bound*, which has no interference, and a whole server for
# everybody.

# %%
trained = find_sites(Path(folder.name))
scores = compare_offloading(trained, Place(), num_networks=20, num_steps=5, seed=1)
print(metrics_table(offloading_metrics(scores)))

# %% [markdown]
# As long as transmissions fail, computing at home is better than sending, and next to nothing is
# sent (the dip on the left); then the powers settle, and sending pays. In the slot from above,
# beside those who measure and those who know all:

# %%
decide = {"MA-DRL": trained[0].policy(place)} | {name: BASELINES[name] for name in shown[1:]}
figure = slots(decide)
Image(png_of(figure))

# %% [markdown]
# ## Energy against time
#
# The same networks with shorter deadlines, on the right those from above, at which MA-DRL learned.
# Who has less time must send louder and disturbs others more, and what they give up is computed at
# home. The *bound* has next to nothing to trade: without interference there is time enough.

# %%
policies = {"maddpg": trained[0].policy(place)}
policies |= {name: BASELINES[name] for name in ("heuristic", "full offloading")}
found = []
for share in (0.25, 0.3, 0.4, 0.6, 0.9):
    environment = Place(computing=Computing(deadline_share=share)).environment(5)
    scores = score_offloading(policies, environment, num_networks=20, seed=1, split="test")
    found.append((float(environment.slot.tasks.deadline_s.mean()), scores))
deadline_s, scores = zip(*found, strict=True)
figure, axes = figure_of(9.0, 3.2, 2)
for name in policies:
    label, colour, dashes, marker = STYLES[name]
    look = {"color": colour, "linestyle": dashes, "marker": marker, "label": label}
    energy_mj = [1e3 * float(one[name].energy_j.mean()) for one in scores]
    axes[0].plot(deadline_s, energy_mj, **look)
    axes[1].plot(deadline_s, [100 * float(one[name].met.mean()) for one in scores], **look)
bound_mj = [1e3 * float(one["heuristic"].bound_j.mean()) for one in scores]
axes[0].plot(deadline_s, bound_mj, "k-", label="bound")
axes[0].set_yscale("log")
axes[0].set_ylim(10.0, 1e3)
axes[0].set_ylabel("energy per task [mJ]")
axes[1].set_ylabel("deadlines met [%]")
for axis in axes:
    axis.set_xlabel("mean deadline [s]")
axes[0].legend(fontsize=8, frameon=False)
Image(png_of(figure))

# %% [markdown]
# ## What ten seeds say
#
# Base stations know what they measured, and no gains of others. Three ways to learn, each from ten
# seeds and over 200 episodes: **MA-DRL**, as above; **F-DRL**, which learns from the own users
# alone and averages the models of all base stations now and then; **IL-DRL**, which does not
# average. All are scored on a hundred networks that nobody learned on; bands and whiskers are 95 %
# bootstrap intervals over seeds. First what happens while they learn: on the left the reward, with
# exploration (thin lines need no training, and are of the test networks), on the right the
# deadlines that are met without exploration, on validation networks. Exploration costs MA-DRL,
# whose powers are low, the most; learning alone gets worse:

# %%
figures = figures_of()
Image(png_of(figures[4]))

# %% [markdown]
# Then, without exploration, the deadlines that are met, and where the energy goes:

# %%
Image(png_of(figures[7]))

# %%
Image(png_of(figures[6]))

# %% [markdown]
# ## Networks that nobody learned on
#
# Policies of 6 x 10, as they are, with twice the cells, in cells in which every channel is taken,
# and in Melbourne; beside them MA-DRL that was trained there (ten seeds, in Melbourne four).
# Deadlines met, and energy per task in mJ. Full cells are where sites that never saw one fail:
# MA-DRL that learns in cells of 2 to 16 users, 60 together as before, is at home in them too (the
# last table, on other test networks).

# %%
places = {"6 x 10": "6x10", "12 x 10": "12x10", "6 x 16": "6x16", "Melbourne": "melbourne"}
policies = {
    "maddpg": "MA-DRL of 6 x 10",
    "federated": "F-DRL of 6 x 10",
    f"maddpg{TRAINED_HERE}": "MA-DRL, trained there",
    "heuristic": "heuristic",
    "coordinated": "coordinated",
}


def elsewhere(places, policies, suffix=""):
    """Table of what policies do in places."""
    lines = [f"| | {' | '.join(places)} |", "|---" * (len(places) + 1) + "|"]
    for policy, name in policies.items():
        found = []
        for file in places.values():
            scored = read(RESULTS / f"offloading{suffix}_{file}.csv")
            met, energy_j = (column(scored, policy, key).values() for key in ("met", "energy_j"))
            found.append(f"{middle(met)}; {middle(energy_j, 1, 1e3)}" if met else "")
        lines.append(f"| {name} | {' | '.join(found)} |")
    return Markdown("\n".join(lines))


elsewhere(places, policies)

# %%
del places["Melbourne"], policies["federated"]
elsewhere(places, {**policies, "maddpg": "MA-DRL of cells of 2 to 16"}, "_mixed")

# %% [markdown]
# ## The paper's perceptrons
#
# Actors and critics of one hidden layer, with the paper's rates, on the one network that stays (one
# seed). They do not learn here: rewards of the sites swing by thousands
# ([Figure 5](results/offloading_paper_5.png)), as a site that gives a user a millionth of its
# server makes it late by hours.

# %% [markdown]
# ## Further
#
# ```sh
# metagnn fit --config offloading --model.init_args.algorithm=maddpg   # federated, independent
# metagnn compare --config offloading --runs runs/offloading           # all metrics, all baselines
# metagnn compare --config offloading --runs runs/offloading --network melbourne
# ```
#
# The study of ten seeds is `offloading_study.py` (`train`, `score`, `table`), all its tables are in
# `results/offloading.md`, its figures are made by `offloading_figures.py`. What departs from the
# paper stands in `docs/offloading.md`.
