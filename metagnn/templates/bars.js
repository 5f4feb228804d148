// What belongs to the map: the rates of its links as bars, how the adaptation to it went.
"use strict";

const drawBars = () => {
  const { policy, other } = view;
  const rates = of().rate;
  const compared = other ? of(other).rate : null;
  const order = rates.map((_, link) => link).sort((a, b) => rates[a] - rates[b]);
  const most = Math.max(...rates, ...(compared ?? [0])) * 1.04 || 1;
  byId("barstitle").textContent = "Rate of each link, sorted: "
    + `${label(policy)} (bars)${other ? `, ${label(other)} (marks)` : ""}`;
  const place = byId("bars");
  const at = axes(place, { height: 360, bottom: order.length > 24 ? 26 : 42,
    x: { low: 0, high: order.length, label: "number of the link, by rate [1]",
      // Few enough numbers stand under the bars, others in the tip.
      ticks: order.length > 24 ? [] : order.map((_, k) => k + 0.5),
      text: (middle) => String(order[Math.floor(middle)]) },
    y: { low: 0, high: most, label: "ergodic rate [bit/s/Hz]" } });
  const step = at.across / order.length;
  const bars = [];
  order.forEach((link, k) => {
    const y = at.Y(rates[link]);
    const x = at.X(k) + 0.1 * step;
    bars[link] = put(at.marks, "rect", { "data-bar": link, x, y, width: 0.8 * step,
      height: at.Y(0) - y, fill: colour(policy) });
    if (compared) {
      mark(at.marks, other, x + 0.4 * step, at.Y(compared[link]),
        Math.min(1, Math.max(0.3, step / 11))).setAttribute("stroke", "var(--back)");
    }
  });
  legend(byId("barslegend"), other ? [policy, other] : [policy]);
  const under = (event) => {
    const box = at.svg.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * at.width;
    return order[Math.min(order.length - 1, Math.max(0, Math.floor((x - at.left) / step)))];
  };
  at.svg.addEventListener("pointermove", (event) => {
    show(under(event), event.clientX, event.clientY);
  });
  at.svg.addEventListener("click", (event) => { view.pinned = under(event); });
  at.svg.addEventListener("pointerleave", release);
  const frame = put(at.marks, "rect", { fill: "none", stroke: "var(--ink)", "stroke-width": 1.6 });
  return (link) => {
    frame.setAttribute("visibility", link === null ? "hidden" : "visible");
    if (link === null) return;
    for (const name of ["x", "y", "width", "height"]) {
      frame.setAttribute(name, bars[link].getAttribute(name));
    }
  };
};

const drawLagrangian = () => {
  const changes = (network) =>
    network.policies[view.policy].lagrangian?.map((value, _, all) => value - all[0]) ?? [];
  const found = data.networks.map(changes).filter((each) => each.length > 1);
  byId("convergence").hidden = !found.length;
  if (!found.length) return;
  const grid = byId("convergence").querySelector(".grid");
  grid.replaceChildren();
  byId("convergence").querySelector("p").textContent = `Adaptation of ${label(view.policy)}: `
    + "the Lagrangian before each step, less the first. Each step is on the next stretch of "
    + "samples, so that it moves also where nothing is learned. "
    + (found.length > 1 ? "Strong: the network above; pale: the others." : "");
  const place = put(put(grid, "figure"), "div");
  const [low, high] = range(found.flat());
  const at = axes(place, { height: 240,
    x: { low: 0, whole: true, high: Math.max(...found.map((each) => each.length)) - 1,
      label: "steps of adaptation [1]" },
    y: { low, high, label: "change per link [bit/s/Hz]" } });
  const line = (values, strong) => put(at.marks, "path", { fill: "none", stroke: colour(view.policy),
    d: `M${values.map((value, k) => `${at.X(k)} ${at.Y(value)}`).join("L")}`,
    "stroke-width": strong ? 2.4 : 1, opacity: strong ? 1 : 0.3 });
  for (const each of found) line(each, false);
  line(changes(view.network), true);
};
