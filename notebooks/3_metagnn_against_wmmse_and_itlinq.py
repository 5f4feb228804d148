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
# # MetaGNN against WMMSE and ITLinQ
#
# Figures 6 to 10 of *Meta-Learning Empowered Graph Neural Networks for Radio Resource Management*
# (Huang et al.), drawn from the measurements in `notebooks/results`. All rates are of samples that
# nothing was adapted to, on networks that were used for no choice. The commands behind every file
# stand in `results/summary.md`; `power_control_figures.py` writes the same figures as PNG. At the
# end a small comparison runs live.

# %%
import torch
from IPython.display import Image, Markdown
from power_control_figures import FIGURES, pair
from power_control_summary import RESULTS, ratio_table, read_study

from metagnn.commands.options import table
from metagnn.comparison import Scenario, compare
from metagnn.graphs.channel import ChannelFamily
from metagnn.graphs.dataset import draw_network
from metagnn.meta_parameters import load_meta_parameters
from metagnn.plots import STYLES, figure_of, png_of, rates_per_link, trade_off

# %% [markdown]
# ## Figure 6: meta-training
#
# Mean and minimum rate of validation networks, averaged over networks of 4 to 20 links, while the
# meta-parameters are trained. After a few thousand outer loops the networks decide as well without
# adaptation as with 20 epochs of it.

# %%
Image(png_of(pair(FIGURES[6])))

# %% [markdown]
# ## Figure 7: adaptation to a new network
#
# Three networks of eight links; thin lines are the networks, thick ones their average. From the
# meta-parameters the rates are there at once; learning from scratch trades the minimum rate for a
# mean that it does not keep. *Mismatch* was learned on a network of another size. WMMSE has the
# best mean and the worst minimum of the baselines.

# %%
Image(png_of(pair(FIGURES[7])))

# %% [markdown]
# ## Figure 8: networks of several sizes
#
# Fifty unseen networks of each size; bands are 95 % bootstrap intervals over networks.

# %%
Image(png_of(pair(FIGURES[8])))

# %% [markdown]
# The bands show how much networks differ. The policies saw the same ones, so what counts is the
# ratio on the same networks, whose intervals are far narrower:

# %%
Markdown("\n".join(ratio_table("unseen")))

# %% [markdown]
# Network by network: each mark is one network, and above the diagonal MetaGNN is better than the
# baseline. WMMSE buys its mean with minimum rates close to zero.

# %%
rates = read_study(RESULTS / "unseen_12.csv")
figure, axes = figure_of(9.0, 4.4, 2)
for axis, (name, pick) in zip(axes, (("mean", torch.mean), ("minimum", torch.min)), strict=True):
    ours = [float(pick(each)) for each in rates["metagnn"]]
    top = 1.05 * max(ours)
    for policy in ("itlinq", "wmmse"):
        label, colour, _, marker = STYLES[policy]
        theirs = [float(pick(each)) for each in rates[policy]]
        top = max(top, 1.05 * max(theirs))
        better = sum(mine > other for mine, other in zip(ours, theirs, strict=True))
        print(f"{name} rate better than {label}'s on {better} of {len(ours)} networks")
        axis.plot(theirs, ours, marker, color=colour, markersize=5, alpha=0.8, label=label)
    axis.plot([0, top], [0, top], color="k", linewidth=1)
    axis.set_aspect("equal")
    axis.set_xlabel(f"{name} rate of the baseline [bit/s/Hz]")
    axis.set_ylabel(f"{name} rate of MetaGNN [bit/s/Hz]")
axes[0].set_title("50 networks of 12 links", fontsize=10)
axes[1].legend(fontsize=8, frameon=False)
Image(png_of(figure))

# %% [markdown]
# ## Figure 9: fewer samples
#
# What is left when there are 256 samples to learn from instead of 2048: from the meta-parameters,
# everything.

# %%
Image(png_of(pair(FIGURES[9])))

# %% [markdown]
# ## Figure 10: adaptation with 256 samples
#
# As Figure 7, learned from an eighth of the samples.

# %%
Image(png_of(pair(FIGURES[10])))

# %% [markdown]
# ## Live
#
# Eight networks of ten links from another seed than all above. The meta-parameters are used as they
# are; `num_epochs=20` and the name `metagnn` adapt them, which takes some seconds per network and
# changes little.

# %%
scenarios = []
for index in range(8):
    network = draw_network(ChannelFamily(), num_links=10, seed=7, split="test", index=index)
    place = network.configuration.large_scale_gain
    scenarios.append(Scenario(place, network.gain, network.test_gain))
policies = ("metagnn_unadapted", "itlinq", "wmmse", "fplinq", "full_power", "random")
compared = compare(scenarios, policies, load_meta_parameters("power_control"), num_epochs=0)
print(table(compared.metrics()))

# %%
figure, axes = figure_of(10.0, 4.0, 2)
trade_off(axes[0], compared.metrics())
rates_per_link(axes[1], compared.rates)
Image(png_of(figure))

# %% [markdown]
# Nobody is above and to the right of MetaGNN; whether anybody could be is the question of
# `2_duality_gap`.
