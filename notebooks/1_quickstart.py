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
# # A network, its graph, a policy
#
# Eight links share one band. Whoever transmits disturbs everybody else, so the question is who
# should use how much power. This notebook draws such a network, lets the shipped meta-parameters
# decide the powers, puts them beside the classical algorithms, and adapts them to the network.

# %%
import torch
from IPython.display import Image

from metagnn.adaptation import adapt, learned_rollout
from metagnn.commands.options import table
from metagnn.comparison import Scenario, compare
from metagnn.graphs.channel import ChannelFamily
from metagnn.graphs.dataset import draw_network
from metagnn.graphs.rates import rate
from metagnn.meta_parameters import load_meta_parameters
from metagnn.plots import STYLES, figure_of, png_of, rates_per_link, trade_off
from metagnn.plots_networks import interference_graph, link_map, network_maps
from metagnn.tasks.power_control.metrics import summarize
from metagnn.tasks.power_control.wmmse import wmmse

# %% [markdown]
# ## The network
#
# `ChannelFamily` is the channel model of *Meta-Learning Empowered Graph Neural Networks for Radio
# Resource Management*: transmitters anywhere in a square of 500 m, receivers 10 to 50 m away, path
# loss, shadowing, Rayleigh fading. `gain[s, i, k]` is the power gain from transmitter i to receiver
# k in sample s. `network.gain` is what a policy may learn from; it is scored on
# `network.test_gain`, which comes later in time.

# %%
network = draw_network(
    ChannelFamily(), num_links=8, seed=3000, split="test", index=0, num_samples=512
)
place = network.configuration
meta = load_meta_parameters("power_control")
power_max_w, noise_w = meta.problem.power_max_w, meta.problem.noise_w
print(
    f"samples to learn from {tuple(network.gain.shape)}, to score {tuple(network.test_gain.shape)}"
)
print(f"largest power {1e3 * power_max_w:.0f} mW, noise {noise_w:.2e} W")

# %% [markdown]
# To a policy the network is a graph: a node per link, an arrow for what its transmitter causes at
# another link's receiver. On the right both are drawn at full power, in dB over the noise; arrows
# below 20 dB are left out. Links 1, 2 and 4 are at each other's throat, and link 7 has a weak
# signal of its own beside a strong neighbour.

# %%
figure, axes = figure_of(10.0, 4.4, 2)
link_map(axes[0], place.transmitter_m, place.receiver_m, labels=[str(link) for link in range(8)])
axes[0].set_title("links")
axes[0].legend(fontsize=8, frameon=False)
middle_m = (place.transmitter_m + place.receiver_m) / 2
graph = (place.large_scale_gain, power_max_w, noise_w, middle_m)
scale = interference_graph(axes[1], *graph, floor_db=20.0)
axes[1].set_title("interference graph")
figure.colorbar(scale, ax=axes[1], label="received power over noise [dB]")
Image(png_of(figure))

# %% [markdown]
# ## Powers
#
# The networks as they were meta-trained decide 256 samples in a row, having seen none of this
# network before. WMMSE maximises the sum of rates: it starves two links for it. The policy was
# trained to maximise the sum under a minimum rate, which may be relaxed at a cost.

# %%
power_w = {
    "metagnn_unadapted": learned_rollout(
        meta.networks, network.gain, network.test_gain, meta.problem
    ).power_w.squeeze(1),
    "wmmse": wmmse(network.test_gain, power_max_w, noise_w),
    "full_power": torch.full_like(network.test_gain[..., 0], power_max_w),
}
rates = {name: rate(network.test_gain, power, noise_w).mean(0) for name, power in power_w.items()}
shares = {name: power.mean(0) / power_max_w for name, power in power_w.items()}
Image(png_of(network_maps(place.transmitter_m, place.receiver_m, rates, shares)))

# %% [markdown]
# ## All policies on the same samples
#
# `compare` scores any of them; ITLinQ switches links on in the order of their proportional-fair
# ratios as long as they disturb each other little.

# %%
scenario = Scenario(place.large_scale_gain, network.gain, network.test_gain)
policies = ("metagnn_unadapted", "itlinq", "wmmse", "fplinq", "full_power")
compared = compare([scenario], policies, meta, num_epochs=0)
print(table(compared.metrics()))

# %% [markdown]
# ## Adaptation
#
# Twenty epochs of primal ascent and dual descent on the samples of this network. What is learned is
# scored on the later samples every four epochs. Do not expect much of it: the meta-parameters do
# most of the work, and on average over networks adaptation moves the mean by less than one percent.
# From other meta-parameters (or a random start) it is what makes the policy.

# %%
scored = {}


def score(epoch, learner):
    """Rates of the test samples after some epochs."""
    if epoch % 4 == 0:
        run = learned_rollout(learner, network.gain, network.test_gain, meta.problem)
        scored[epoch] = run.rate.mean((0, 1))


adapted = adapt(
    meta.networks, place.large_scale_gain, network.gain, meta.problem, meta.adaptation, score
)
scored[0] = rates["metagnn_unadapted"]
epochs = sorted(scored)

# %%
figure, axes = figure_of(10.0, 3.4, 2)
for name, pick, dashes in (("mean", torch.mean, "-"), ("minimum", torch.min, "--")):
    values = [float(pick(scored[epoch])) for epoch in epochs]
    look = {"color": STYLES["metagnn"].colour, "linestyle": dashes}
    axes[0].plot(epochs, values, marker="o", label=f"MetaGNN, {name}", **look)
    value = float(pick(compared.rates["itlinq"][0]))
    look = {"color": STYLES["itlinq"].colour, "linestyle": dashes}
    axes[0].axhline(value, label=f"ITLinQ, {name}", **look)
axes[0].set_ylim(0.0, 5.5)
axes[0].set_xticks(epochs)
axes[0].set_xlabel("epoch")
axes[0].set_ylabel("rate of the later samples [bit/s/Hz]")
axes[0].legend(fontsize=8, frameon=False, ncols=2, loc="upper center")
axes[1].bar(range(8), adapted.mu.tolist(), color=STYLES["metagnn"].colour)
axes[1].set_xticks(range(8))
axes[1].set_xlabel("link")
axes[1].set_ylabel("multiplier of the minimum rate [1]")
axes[1].grid(visible=False, axis="x")
Image(png_of(figure))

# %% [markdown]
# The multipliers say what the minimum rate costs: another bit/s/Hz of it for link 7 would cost the
# objective that much. The same comparison with the adapted policy, as trade-off and link by link:

# %%
all_rates = {"metagnn": [scored[20]], **compared.rates}
figure, axes = figure_of(10.0, 3.8, 2)
trade_off(axes[0], {name: summarize(values, None) for name, values in all_rates.items()})
rates_per_link(axes[1], all_rates)
Image(png_of(figure))

# %% [markdown]
# In a shell: `metagnn compare --config power_control --num-links 8 --networks 20`. How far all of
# them are from the optimum is the subject of `2_duality_gap`; your own network goes in as in
# `7_your_own_network`.
