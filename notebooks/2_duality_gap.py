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
# # How far from the optimum?
#
# A policy that beats the baselines may still be far from what is possible. Here its distance to the
# optimum is certified, on the very samples it decided: from below by what it reaches, from above by
# a bound that nobody can exceed.
#
# The problem is resilient: maximise the sum of ergodic rates $r_k$ under minimum rates $f_{\min}$
# that may be relaxed by slacks $s_k$ at a cost,
#
# $$P^* = \max_{p, s} \sum_k r_k - \tfrac{\alpha}{2} \sum_k s_k^2 \quad \text{s.t.} \quad
# r_k \ge f_{\min} - s_k, \; 0 \le p \le P_{\max}.$$
#
# Any powers give a value $P_\theta \le P^*$, with the smallest slack that makes them feasible. Any
# multipliers $\mu \ge 0$ give a bound, the dual function
#
# $$D(\mu) = E\big[\max_p \textstyle\sum_k (1 + \mu_k) R_k\big] - \sum_k \mu_k f_{\min}
# + \tfrac{1}{2 \alpha} \|\mu\|^2 \; \ge \; P^*.$$
#
# Its inner maximum is a non-convex problem; branch and bound over boxes of SINRs
# (`tasks/power_control/sinr_boxes`) solves it to a proven tolerance.

# %%
from dataclasses import replace

import gap_sources
from duality_study import baseline_powers
from IPython.display import Image

from metagnn.adaptation import adapt, learned_rollout
from metagnn.duality import dual_function, duality_interval, primal_value
from metagnn.ergodic_interval import ergodic_interval
from metagnn.graphs.channel import ChannelFamily
from metagnn.graphs.dataset import draw_network
from metagnn.graphs.rates import rate
from metagnn.kkt import kkt_residuals, theorem_1
from metagnn.meta_parameters import load_meta_parameters
from metagnn.plots import STYLES, figure_of, png_of
from metagnn.plots_duality import gap_intervals, gap_parts, slackness
from metagnn.refinement import refine, refined_power
from metagnn.tasks.power_control.relaxation import group_bound, interference_free_bound
from metagnn.tasks.power_control.weighted_bound import weighted_bound

meta = load_meta_parameters("power_control")
problem = meta.problem
constants = (problem.power_max_w, problem.noise_w)
unadapted = replace(meta.adaptation, num_epochs=0)
NUM_SAMPLES = 48
print(f"alpha = {problem.alpha}, f_min at most {problem.minimum_rate_threshold} bit/s/Hz")

# %% [markdown]
# ## Intervals
#
# Four networks of four links and one of eight. The policy is the shipped one, without adaptation
# (which changes little and takes most of the time). `duality_interval` begins at the policy's own
# multipliers and refines them by cutting planes on all powers that it meets; the best of these
# powers, B, come for free and narrow the interval from below.
#
# *Refined* is a policy too: `metagnn.refinement` searches from the learned powers (here those
# without adaptation) and from single links, sample by sample, at multipliers that it refines on
# the samples before. B knows all scored samples at once; refined powers depend on their own sample
# and the past.

# %%
networks, gains, powers, minimum, learned_mu, intervals = {}, {}, {}, {}, {}, {}
for num_links, index in ((4, 0), (4, 1), (4, 2), (4, 3), (8, 0)):
    name = f"K = {num_links}, no. {index}"
    network = draw_network(ChannelFamily(), num_links, seed=3000, split="test", index=index)
    place = network.configuration.large_scale_gain
    adapted = adapt(meta.networks, place, network.gain, problem, unadapted)
    networks[name], gains[name] = network, network.test_gain[:NUM_SAMPLES]
    run = learned_rollout(adapted.learner, network.gain, gains[name], problem)
    powers[name] = {"metagnn_unadapted": run.power_w.squeeze(1)}
    refined = refine(adapted, network.gain, problem)
    powers[name]["metagnn_refined"] = refined_power(refined, network.gain, gains[name], problem)
    powers[name] |= baseline_powers(network.gain, gains[name], problem)
    minimum[name], learned_mu[name] = adapted.minimum_rate, adapted.mu
    own = powers[name]["metagnn_unadapted"]
    intervals[name] = duality_interval(own, gains[name], problem, adapted.minimum_rate, adapted.mu)


def value(name, power):
    """Primal value of powers on a network's samples [bit/s/Hz]."""
    rates = rate(gains[name].double(), power.double(), problem.noise_w).mean(0)
    return float(primal_value(rates, minimum[name], problem.alpha))


values = {
    policy: [value(name, powers[name][policy]) for name in intervals]
    for policy in ("metagnn_unadapted", "metagnn_refined", "wmmse", "itlinq", "full_power")
}
for (name, found), refined_value in zip(intervals.items(), values["metagnn_refined"], strict=True):
    print(
        f"{name}: {found.primal:.2f} <= P* <= {found.dual:.2f} bit/s/Hz, "
        f"gap {100 * found.relative_gap:.1f} %, B = {found.best_known:.2f}, bound: {found.name}, "
        f"refined {100 * (found.dual / refined_value - 1):.1f} %"
    )

# %% [markdown]
# With four links the bound is exact: the optimum is known to a tenth of a percent, and the gap that
# is left belongs to the policy. With eight links the policy is 18 % below the bound, refined 4.7 %.
# Baselines stand on the same scale, many of them left of the interval. WMMSE maximises the plain
# sum of rates; that costs little where few links fall short of their minimum rate, as with four
# links here, and much where more do.

# %%
figure, (axis,) = figure_of(9.0, 4.2, 1)
gap_intervals(axis, intervals, values, lowest=25.0)
figure.legend(fontsize=8, frameon=False, loc="outside lower center", ncols=3)
Image(png_of(figure))

# %% [markdown]
# ## The dual function
#
# Along the ray through the refined multipliers of the eight links, $D(t \mu)$: convex, everywhere
# above the optimum, lowest near $t = 1$. Each bound comes with a value from below at the same
# multipliers (the Lagrangian at the best powers found): the function itself lies in the band. Its
# lowest point and P are the two ends of the interval.

# %%
name = "K = 8, no. 0"
found = intervals[name]
times = [0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0]
duals = [
    dual_function(gains[name], problem, minimum[name], time * found.mu, 1e-2, 500) for time in times
]
figure, (axis,) = figure_of(6.5, 3.4, 1)
upper, lower = [dual.upper for dual in duals], [dual.lower for dual in duals]
blue = STYLES["metagnn"].colour
axis.fill_between(times, lower, upper, color=blue, alpha=0.2, label="holds D(t mu)")
axis.plot(times, upper, "o-", color=blue, label="bound of D(t mu)")
axis.axhline(found.dual, color="k", linewidth=1, label="D, with more effort at t = 1")
axis.axhline(found.best_known, color="k", linewidth=1, linestyle=":", label="B, best powers found")
axis.axhline(found.primal, color=STYLES["itlinq"].colour, linestyle="--", label="P, the policy")
axis.set_xlabel("multipliers over the refined ones, t [1]")
axis.set_ylabel("value [bit/s/Hz]")
axis.legend(fontsize=8, frameon=False)
Image(png_of(figure))

# %% [markdown]
# ## What the gap consists of
#
# At an optimum without gap the powers maximise the weighted rates, $\mu_k (r_k - f_{\min} + s_k) =
# 0$ (complementary slackness) and $s_k = \mu_k / \alpha$. What is missing adds up to the gap
# exactly. Most of it is owed to the powers. Complementary slackness nearly holds: the smallest
# slack makes the constraint tight wherever it is positive, and multipliers are small elsewhere. On
# the right the third condition, link by link: bars and markers would meet at the optimum.

# %%
parts = {
    name: kkt_residuals(
        found.rate, found.slack, found.mu, found.minimum_rate, problem.alpha, found.weighted_upper
    )
    for name, found in intervals.items()
}
figure, axes = figure_of(11.0, 3.6, 2)
gap_parts(axes[0], parts)
axes[0].legend(fontsize=8, frameon=False)
found = intervals["K = 8, no. 0"]
mu = {"learned multipliers": learned_mu["K = 8, no. 0"], "refined multipliers": found.mu}
slackness(axes[1], found.slack, mu, problem.alpha)
axes[1].set_title("K = 8, no. 0", fontsize=10)
axes[1].legend(fontsize=8, frameon=False)
Image(png_of(figure))

# %% [markdown]
# Theorem 1 of the paper bounds what a parameterisation costs in the dual problem by
# $\epsilon_p L_f \|\gamma\|_1$ and terms of the rates' and slacks' networks. Its terms can be
# measured, but $L_f$, the steepest slope of a rate, is that of a link whose interferer falls
# silent: the theorem says as much as the certified gap only of networks that come this close to any
# power function:

# %%
for name, found in intervals.items():
    terms = theorem_1(gains[name], problem, minimum[name], found.mu)
    share = terms.power_error_w(found.width) / problem.power_max_w
    print(
        f"{name}: L_f = {terms.lipschitz * problem.power_max_w:.1e} bit/s/Hz per P_max, "
        f"|gamma| = {terms.multiplier_norm:.2f}, epsilon_p = {share:.0e} P_max"
    )

# %% [markdown]
# ## How the gap moves
#
# The same powers under other minimum rates and other weights of slack: what is asked for changes,
# and with it what is lost. Minimum rates that all links exceed cost nothing. Where they bind the
# optimum falls, and the policy, which was trained for $f_{\min} = 5$ and $\alpha = 0.7$ (dotted),
# falls faster.

# %%
name = "K = 4, no. 1"
own = powers[name]["metagnn_unadapted"]
rates_wanted = [2.0, 4.0, 5.0, 6.0, 7.0]
weights = [0.35, 0.7, 1.4, 2.8]
by_rate = [duality_interval(own, gains[name], problem, wanted) for wanted in rates_wanted]
by_weight = [
    duality_interval(own, gains[name], replace(problem, alpha=weight), minimum[name])
    for weight in weights
]
figure, axes = figure_of(10.0, 3.4, 2)
for axis, at, found in zip(axes, (rates_wanted, weights), (by_rate, by_weight), strict=True):
    low, high = [each.primal for each in found], [each.dual for each in found]
    axis.fill_between(at, low, high, color=blue, alpha=0.2, label="interval of the optimum")
    axis.plot(at, high, "-", color="k", linewidth=1, label="bound D")
    axis.plot(at, [each.best_known for each in found], "k:", label="best powers found B")
    axis.plot(at, low, "o-", color=blue, label="policy P")
    axis.set_ylabel("value [bit/s/Hz]")
    axis.set_ylim(bottom=0.0)
axes[0].axvline(minimum[name], color="0.5", linestyle=":", linewidth=1)
axes[1].axvline(problem.alpha, color="0.5", linestyle=":", linewidth=1)
axes[0].set_xlabel("minimum rate f_min [bit/s/Hz]")
axes[1].set_xlabel("weight of slack alpha [Hz s/bit]")
axes[1].set_xscale("log", base=2)
axes[1].set_xticks(weights, [f"{weight}" for weight in weights])
axes[0].legend(fontsize=8, frameon=False, loc="lower left")
Image(png_of(figure))

# %% [markdown]
# Policies that learned or adapted under other conditions, one thing at a time, on the same networks
# (`gap_sources.py`, whose measurements these are): right of zero the gap is wider than that of the
# shipped networks and problem. From the shipped meta-parameters the price of slacks moves it most,
# and few samples hardly at all. From scratch, where 100 steps end far from the optimum, what a
# width or a depth changes differs more from network to network than on average.

# %%
Image(png_of(gap_sources.figure(meta)))

# %% [markdown]
# ## From the samples to the channel
#
# All of this held for 48 samples. On samples on which nothing was chosen, neither powers nor
# multipliers, the mean of the samples' bounds estimates a valid bound for the distribution itself,
# whatever the samples' own gap, and a bootstrap gives the interval a confidence.

# %%
fresh = networks[name].test_gain[NUM_SAMPLES : 4 * NUM_SAMPLES]
run = learned_rollout(meta.networks, networks[name].gain, fresh, problem)
ergodic = ergodic_interval(
    run.power_w.squeeze(1), fresh, problem, minimum[name], intervals[name].mu
)
print(
    f"{name}, {len(fresh)} fresh samples: {ergodic.low:.2f} <= P_theta and "
    f"P* <= {ergodic.high:.2f} bit/s/Hz with confidence {ergodic.confidence:.0%} "
    f"(estimates {ergodic.primal:.2f} and {ergodic.dual:.2f})"
)

# %% [markdown]
# ## Many links
#
# Boxes run out as links become many. Valid bounds remain, if looser: drop the interference between
# groups of links and solve each group, or drop all of it. Each is shown over the best sum rate
# found.

# %%
relaxations = {}
for num_links in (4, 8, 16):
    gain = draw_network(ChannelFamily(), num_links, 3000, "test", 0, 1, 4).test_gain
    boxes = weighted_bound(gain, *constants, max_boxes=500)
    relaxations[num_links] = {
        "no interference": interference_free_bound(gain, *constants),
        "groups of 2": group_bound(gain, *constants, size=2, max_boxes=200),
        "groups of 4": group_bound(gain, *constants, size=min(4, num_links), max_boxes=200),
        "500 boxes": boxes.upper,
        "best found": boxes.value,
    }
figure, (axis,) = figure_of(6.5, 3.2, 1)
hatches = ("", "//", "..", "xx")
for place, label in enumerate(list(relaxations[4])[:-1]):
    at = [row + 0.2 * (place - 1.5) for row in range(len(relaxations))]
    over = [100 * float((r[label] / r["best found"] - 1).mean()) for r in relaxations.values()]
    colour = list(STYLES.values())[place].colour
    bars = axis.bar(at, over, 0.18, color=colour, hatch=hatches[place], edgecolor="w", label=label)
    axis.bar_label(
        bars, [f"{value:.1f}" if value < 10 else f"{value:.0f}" for value in over], fontsize=7
    )
axis.set_xticks(range(len(relaxations)), [f"K = {num_links}" for num_links in relaxations])
axis.grid(visible=False, axis="x")
axis.set_axisbelow(True)
axis.set_ylabel("bound above the best found [%]")
axis.legend(fontsize=8, frameon=False, loc="upper left")
Image(png_of(figure))

# %% [markdown]
# The study of many networks is `duality_study.py`; in your own code it is
# `metagnn.duality.adapted_interval`.
