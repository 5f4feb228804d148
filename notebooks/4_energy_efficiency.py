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
# # Channels for energy efficiency
#
# The users of a cell send to its base station. Every millisecond each of them chooses one of ten
# subchannels and a power, and nobody tells it which: there is no scheduler, and two on one
# subchannel both fail. What counts is bits per joule. The problem is that of *Meta Federated
# Reinforcement Learning for Distributed Resource Allocation* (Ji et al.). Here a cell is drawn, a
# model is taught for some seconds, and a study of ten seeds of training tells how far it goes.

# %%
import io
import tempfile
from contextlib import redirect_stderr
from functools import partial
from pathlib import Path

import torch
from channel_assignment_figures import FIGURES, SCENARIOS, STYLES, by_users, per_scenario, read
from IPython.display import Image, Markdown
from study_runs import read as read_csv

from metagnn.assignment_comparison import assignment_metrics, compare_assignment, find_trained
from metagnn.assignment_score import score_assignment
from metagnn.cli import main
from metagnn.commands.options import interval_cell
from metagnn.graphs.randomness import generator
from metagnn.graphs.units import db_to_linear, dbm_to_w
from metagnn.plots import figure_of, png_of
from metagnn.plots_assignment import assignment_image
from metagnn.plots_networks import link_map
from metagnn.seed_statistics import interquartile_mean
from metagnn.tasks.channel_assignment.baselines import BASELINES
from metagnn.tasks.channel_assignment.energy_efficiency import (
    best_power,
    energy_efficiency,
)
from metagnn.tasks.channel_assignment.environment import ChannelAssignment, transmit
from metagnn.tasks.channel_assignment.optimum import best_efficiency
from metagnn.tasks.channel_assignment.scenario import scenario

# %% [markdown]
# ## A cell
#
# A square of 500 m with the base station in its middle (3GPP's urban macro model, no line of
# sight). The base station hears each user on each subchannel with another gain. From it follows the
# most that the subchannel is worth to the user: the bits per joule of the power that suits it best,
# were it alone there.

# %%
environment = ChannelAssignment(scenario("urban_macro"), num_users=6)
environment.reset(1, generator(4, "a cell"))
uplink, gain_to_noise = environment.uplink, environment.gain_to_noise
worth = best_efficiency(gain_to_noise, uplink)[0][0] / 1e6
mhz = [f"{bandwidth / 1e6:.2f}" for bandwidth in uplink.bandwidth_hz]
snr_db = 10 * (uplink.power_max_w * gain_to_noise).log10()
print(f"SNR at the largest power of {1e3 * uplink.power_max_w:.0f} mW: ", end="")
print(f"{float(snr_db.min()):.0f} to {float(snr_db.max()):.0f} dB")

actions, outcomes = {}, {}


def act(name, decide):
    """Let a policy decide in the cell and see what comes of it."""
    actions[name] = decide(gain_to_noise, uplink, generator(4, "actions", name))
    outcomes[name] = transmit(actions[name], gain_to_noise, uplink)


for name, decide in BASELINES.items():
    act(name, decide)


def choices(axis, name):
    """What the subchannels are worth, and what a policy chose."""
    scale = assignment_image(axis, worth, actions[name].channel[0], labels=mhz)
    axis.tick_params(axis="x", rotation=90)
    axis.set_xlabel("bandwidth of the subchannel [MHz]")
    total = float(outcomes[name].energy_efficiency.sum()) / 1e6
    axis.set_title(f"{name}: {total:.0f} Mbit/J", fontsize=10)
    return scale


# %% [markdown]
# Which user should have which subchannel is then an assignment, solved by the Hungarian method: the
# optimum, which a scheduler that knows all gains could reach. Left: the cell under it; arrows are
# as thick as the powers. Right: what every subchannel is worth to every user, and the optimum's
# choice. A user's arrow has the colour of its square.

# %%
figure, axes = figure_of(10.5, 4.2, 2)
users_m = environment.position_m[0]
station_m = torch.zeros_like(users_m)
reached = outcomes["optimum"].energy_efficiency[0] / 1e6
power_w = actions["optimum"].power_w[0]
look = {"highest_rate": float(worth.max()), "labels": [*map(str, range(6))]}
link_map(axes[0], users_m, station_m, power_w / power_w.max(), reached, **look)
(station,) = axes[0].plot(0, 0, "ks", markersize=9, zorder=5, label="base station")
axes[0].legend(handles=[station], fontsize=8, frameon=False, loc="upper left")
side_m = environment.scenario.area_m
axes[0].set_xlim(-side_m / 2, side_m / 2)
axes[0].set_ylim(-side_m / 2, side_m / 2)
low_mw, high_mw = (1e3 * float(value) for value in power_w.aminmax())
axes[0].set_title(f"powers of {low_mw:.0f} to {high_mw:.0f} mW", fontsize=10)
scale = choices(axes[1], "optimum")
figure.colorbar(scale, ax=list(axes), label="energy efficiency [Mbit/J]")
Image(png_of(figure))

# %% [markdown]
# The same cell in other hands. *Greedy* also knows all gains: users take the best subchannel that
# is left, in the order of their mean gains. *Selfish* users take what is best for them. A cross is
# a collision, which is worth nothing to anybody.

# %%
figure, axes = figure_of(11.0, 3.4, 3)
for axis, name in zip(axes, ("greedy", "selfish", "random"), strict=True):
    scale = choices(axis, name)
figure.colorbar(scale, ax=list(axes), label="energy efficiency alone [Mbit/J]")
Image(png_of(figure))

# %% [markdown]
# ## One user: which power?
#
# More power brings more bits, but beyond a point not more bits per joule, as the circuits draw
# 63 mW whatever is sent. The best power has a closed form (Lambert's W, stars). An SNR below 5 dB
# is not permitted (dotted), so a user with a bad channel has to send with more than it would like
# (triangle). On the right the same powers as a trade-off between speed and thrift.

# %%
bandwidth_hz = torch.tensor(0.72e6)
level_dbm = torch.linspace(uplink.power_min_dbm, uplink.power_max_dbm, 241)
figure, axes = figure_of(10.5, 3.8, 2)
looks = (("#D55E00", "-"), ("#009E73", "--"), ("#0072B2", "-."))


def bits(power_w, gain):
    """Efficiency [Mbit/J] and rate [Mbit/s] of powers."""
    found = energy_efficiency(power_w, gain, bandwidth_hz, uplink.circuit_power_w)
    return found / 1e6, found * (power_w + uplink.circuit_power_w) / 1e6


for snr_db, (colour, dashes) in zip((8.0, 20.0, 35.0), looks, strict=True):
    gain = torch.tensor(db_to_linear(snr_db) / uplink.power_max_w)
    efficiency, speed = bits(dbm_to_w(level_dbm), gain)
    decoded = dbm_to_w(level_dbm) * gain >= uplink.snr_min
    best_w = best_power(gain, uplink)
    best_dbm = 10 * best_w.log10() + 30
    best, best_speed = bits(best_w, gain)
    at_floor = bool(best_w * gain < uplink.snr_min * (1 + 1e-3))
    star = {"marker": "^" if at_floor else "*", "markersize": 9 if at_floor else 14}
    label = f"SNR of {snr_db:.0f} dB at most"
    for axis, x, at in ((axes[0], level_dbm, best_dbm), (axes[1], speed, best_speed)):
        axis.plot(x[decoded], efficiency[decoded], dashes, color=colour, label=label)
        axis.plot(x[~decoded], efficiency[~decoded], ":", color="0.5", linewidth=1.2)
        axis.plot(at, best, color=colour, markeredgecolor="k", linestyle="none", **star)
axes[0].set_xlabel("power [dBm]")
axes[1].set_xlabel("rate on 0.72 MHz [Mbit/s]")
for axis in axes:
    axis.set_ylabel("energy efficiency [Mbit/J]")
    axis.set_ylim(bottom=0.0)
axes[0].legend(fontsize=8, frameon=False)
for look, label in (
    ({"linestyle": ":", "color": "0.5"}, "SNR below 5 dB"),
    ({"linestyle": "none", "marker": "*", "markersize": 11, "color": "k"}, "best power"),
    ({"linestyle": "none", "marker": "^", "color": "k"}, "best above 5 dB"),
):
    axes[1].plot([], [], label=label, **look)
handles, names = axes[1].get_legend_handles_labels()
axes[1].legend(handles[3:], names[3:], fontsize=8, frameon=False, loc="upper left")
Image(png_of(figure))

# %%
many = ChannelAssignment(scenario("urban_macro"), num_users=6)
many.reset(1000, generator(4, "many cells"))
raised = best_power(many.gain_to_noise, uplink) * many.gain_to_noise < uplink.snr_min * 1.001
print(
    f"the smallest SNR decides on {raised.float().mean():.1%} of the pairs of user and subchannel"
)

# %% [markdown]
# ## All users: who yields?
#
# The power is easy, then. The choice is hard, as it depends on the choices of others, made in the
# same millisecond. Two hundred cells for each number of users: of $I$ users with uniform choices
# each is alone with probability $0.9^{I - 1}$. Selfish users all want the same wide subchannels: in
# a pair that is a gamble that may pay, among more it is worse than chance. Whoever learns has to
# learn first of all to leave the best to others.

# %%
numbers = list(range(2, 11))
scores = {}
for number in numbers:
    cells = ChannelAssignment(scenario("urban_macro"), number, num_steps=1)
    scores[number] = score_assignment(BASELINES, cells, 200, seed=4, split="test")
figure, axes = figure_of(10.5, 3.4, 2)
labels = {
    "success_rate": "transmissions without collision [1]",
    "share": "share of the optimum's efficiency [1]",
}
for axis, (column, label) in zip(axes, labels.items(), strict=True):
    for name in ("greedy", "random", "selfish"):
        _, colour, dashes, marker = STYLES[name]
        found = [torch.as_tensor(getattr(scores[i][name], column)).mean() for i in numbers]
        look = {"color": colour, "linestyle": dashes, "marker": marker}
        axis.plot(numbers, found, label=name, **look)
    axis.set_ylim(0.0, 1.05)
    axis.set_xticks(numbers)
    axis.set_xlabel("users")
    axis.set_ylabel(label)
expected = [0.9 ** (number - 1) for number in numbers]
axes[0].plot(numbers, expected, color="k", linewidth=1, label="$0.9^{I - 1}$ (left)")
axes[1].legend(*axes[0].get_legend_handles_labels(), fontsize=8, frameon=False, loc=(0.7, 0.5))
Image(png_of(figure))

# %% [markdown]
# ## Learning, live
#
# The base station teaches one model for cells of 2, 4 and 8 users in another place, a street canyon
# of 100 m (Algorithm 1): 60 episodes, some fifteen seconds of one core. The command is that of the
# study below, with 60 episodes instead of 2000, half of the layers, half of the cells and a larger
# learning rate. The model is a graph network in which users hear what stronger and weaker ones make
# of each subchannel, so that they can yield to each other. The reward is what a user adds to the
# sum of efficiencies; it is negative for both of a pair that collide, by what the other has lost.

# %%
folder = tempfile.TemporaryDirectory()
words = ["fit", "--config", "channel_assignment_meta"]
words += [f"--trainer.logger.init_args.save_dir={folder.name}", "--trainer.max_epochs=60"]
words += ["--trainer.limit_val_batches=0", "--model.init_args.learning_rate=0.01"]
words += ["--model.init_args.cell.num_copies=64"]
words += ["--model.init_args.shape.hidden_channels=[24,24,24,24]"]
with redirect_stderr(io.StringIO()):  # the progress bar
    main(words)
(log,) = Path(folder.name).rglob("metrics.csv")
logged = [row for row in read_csv(log) if row["reward"]]
figure, axes = figure_of(10.5, 3.4, 2)
for number, name in (("2", "mfrl"), ("4", "mrl"), ("8", "frl")):
    _, colour, dashes, _ = STYLES[name]
    rewards = [float(row[f"reward_{number}"]) for row in logged]
    look = {"color": colour, "linestyle": dashes}
    axes[0].plot(range(1, len(rewards) + 1), rewards, label=f"{number} users", **look)
axes[0].set_ylabel("reward per user [1]")
successes = [float(row["success_rate"]) for row in logged]
axes[1].plot(range(1, len(successes) + 1), successes, color="k", label="mean of the three")
chance = sum(0.9 ** (number - 1) for number in (2, 4, 8)) / 3
axes[1].axhline(chance, color="0.5", linestyle=":", label="uniform choices")
axes[1].set_ylabel("transmissions without collision [1]")
for axis in axes:
    axis.set_xlabel("episode of meta-training")
    axis.legend(fontsize=8, frameon=False, loc="lower right")
Image(png_of(figure))

# %% [markdown]
# On the right, users first collide more often than by chance, as they lean towards the same
# subchannels; then they learn to yield.
#
# The model has never seen six users, nor any other place. Shares of the optimum's sum energy
# efficiency in a hundred new cells of each place (95 % intervals over cells; one training, so they
# say nothing of other seeds):

# %%
trained = find_trained(Path(folder.name))
places = ("urban_micro", *SCENARIOS)
compared = compare_assignment(trained, places, 6, num_cells=100, num_steps=1, seed=4)
metrics = {place: assignment_metrics(scores) for place, scores in compared.items()}
lines = [f"| | {' | '.join(place.replace('_', ' ') for place in places)} |"]
lines += ["|---" * (len(places) + 1) + "|"]
for name, label in (
    ("greedy", "greedy"),
    ("meta", "live model"),
    ("random", "random"),
    ("selfish", "selfish"),
):
    row = [interval_cell(metrics[place][name]["share_of_optimum"], 2) for place in places]
    lines.append(f"| {label} | {' | '.join(row)} |")
Markdown("\n".join(lines))

# %% [markdown]
# In the cell from above, beside the optimum:

# %%
act("live model", trained[0].decide)
figure, axes = figure_of(8.5, 3.4, 2)
for axis, name in zip(axes, ("optimum", "live model"), strict=True):
    scale = choices(axis, name)
figure.colorbar(scale, ax=list(axes), label="energy efficiency alone [Mbit/J]")
Image(png_of(figure))

# %% [markdown]
# ## Ten seeds
#
# From here on nothing runs: the figures come from the files of the study in `notebooks/results`, of
# ten seeds of training; lines are inter-quartile means over seeds, bands their 95 % intervals. The
# base station's model first, after 2000 episodes (Figure 3):

# %%
Image(png_of(FIGURES[3]()))

# %% [markdown]
# Then six users adapt models of their own to a new place (Algorithm 2). MFRL starts from the base
# station's model and averages the users' models every 100 episodes; MRL does not average; FRL
# averages, but starts at random; MARL does neither. The start is what counts (Figure 7):

# %%
Image(png_of(FIGURES[7]()))

# %% [markdown]
# At the end, on a hundred test cells of a hundred milliseconds each (greedy has no seeds, hence no
# interval; *early* is half of the adaptation):


# %%
def share(scenario, policy, number):
    """Inter-quartile mean over seeds of the share of the optimum, with its interval."""
    rows = read(f"{number}_users")
    found = [r for r in rows if (r["scenario"], r["policy"]) == (scenario, policy)]
    return interquartile_mean(torch.tensor([float(row["share"]) for row in found]).unsqueeze(-1))


def shares(number, policies):
    """Table of them for cells of so many users."""
    lines = [f"| {number} users | {' | '.join(SCENARIOS.values())} |", "|---|---|---|---|"]
    for policy in policies:
        row = [interval_cell(share(scenario, policy, number)) for scenario in SCENARIOS]
        lines.append(f"| {STYLES[policy].label} | {' | '.join(row)} |")
    return Markdown("\n".join(lines))


shown = ("mfrl", "mfrl_early", "meta", "mrl", "greedy", "frl", "marl")
figure, (axis,) = figure_of(8.0, 3.6, 1)
looks = (("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"))
for offset, (place, (colour, marker)) in enumerate(zip(SCENARIOS, looks, strict=True)):
    for row, policy in enumerate(shown):
        found = share(place, policy, 6)
        gap = 100 * (1 - found.value)
        error = None
        if found.low is not None:
            error = [[100 * (found.high - found.value)], [100 * (found.value - found.low)]]
        look = {"color": colour, "marker": marker, "linestyle": "none", "capsize": 3}
        label = SCENARIOS[place] if row == 0 else None
        axis.errorbar(gap, row + 0.22 * (offset - 1), xerr=error, label=label, **look)
axis.set_yticks(range(len(shown)), [STYLES[policy].label for policy in shown])
axis.invert_yaxis()
axis.set_xlim(left=0.0)
axis.set_xlabel("sum energy efficiency below the optimum's [%]")
axis.legend(fontsize=8, frameon=False, loc="upper right")
Image(png_of(figure))

# %%
shares(6, (*shown, "random"))

# %% [markdown]
# - Users that start from the base station's model stay within a few percent of the optimum; with
#   averaging they are slightly above greedy, which knows all gains. From random models they do not
#   get there in the thousand episodes that all have.
# - Adaptation adds little to that model: the base station's row, which nobody adapted, is within a
#   percent of MFRL's. Without averaging (MRL) there is nothing to gain from it.
# - Averaging is worth most where the start is random: FRL against MARL.
#
# ## What nobody learned: other numbers of users
#
# One model serves any number of users, so that for six can be asked about 3, 5, 7 and 10 (Figure 8,
# here as shares and without what lies below):

# %%
draw = partial(by_users, column="share", policies=("greedy", "mfrl", "meta"))
figure = per_scenario("users", "share of the optimum [1]", draw)
for axis in figure.axes:
    axis.set_ylim(0.79, 1.0)
Image(png_of(figure))

# %%
shares(10, ("greedy", "meta", "mfrl", "frl", "random"))

# %% [markdown]
# With up to seven users MFRL is as good as greedy or better. **Ten users are not solved**: with as
# many users as subchannels somebody must take each of the narrow ones, and any two who disagree
# about the order both fail. MFRL is far behind greedy there. Indoors it is also behind the base
# station's model, which learned with up to eight (elsewhere their intervals overlap): adapting to
# six users did not make it more general. FRL, which has only ever met six, falls to two fifths.
#
# ## Where to go on
#
# ```sh
# metagnn fit --config channel_assignment_meta       # base station: 15 to 21 minutes in the study
# metagnn fit --config channel_assignment_adapt --model.init_args.scheme=mfrl \
#     --model.init_args.cell.scenario=urban_macro    # six users: minutes
# metagnn compare --config channel_assignment --runs runs/channel_assignment_adapt
# ```
#
# The study is `channel_assignment_study.py` (`train`, `score`, `table`), its figures
# `channel_assignment_figures.py`, its tables `results/channel_assignment.md`. The configurations
# ending in `_paper` have the paper's own networks and rates. `metagnn.pettingzoo_adapter` gives the
# same environment to PettingZoo, and `notebooks/federated` trains over a network with Flower. What
# departs from the paper stands in `docs/channel_assignment.md`.
