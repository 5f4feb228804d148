// The sections without the map: what was run, table, distribution, convergence, gaps.
"use strict";

const METRICS = { mean_rate: "mean rate", min_rate: "minimum rate", p5_rate: "5th percentile",
  jain: "Jain's index", satisfied: "share ≥ f_min − s" };
const RATE = "[bit/s/Hz]";

const facts = () => {
  for (const [name, value] of data.facts) {
    put(byId("facts"), "dt", {}, name);
    put(byId("facts"), "dd", {}, value);
  }
  for (const note of data.notes) put(byId("notes"), "li", {}, note);
  if (data.config) {
    byId("config").hidden = false;
    byId("config").querySelector("pre").textContent = data.config;
  }
};

const table = () => {
  const place = byId("table").querySelector("table");
  const known = Object.keys(METRICS).filter((name) =>
    Object.values(data.metrics).some((of) => name in of));
  const head = put(put(place, "thead"), "tr");
  put(head, "th", { scope: "col" }, "policy");
  for (const name of known) put(head, "th", { scope: "col" }, METRICS[name]);
  const best = Object.fromEntries(known.map((name) =>
    [name, Math.max(...Object.values(data.metrics).map((of) => of[name]?.[0] ?? -Infinity))]));
  const body = put(place, "tbody");
  for (const [policy, of] of Object.entries(data.metrics)) {
    const row = put(body, "tr");
    put(row, "td", {}, label(policy));
    for (const name of known) {
      const [value, low, high] = of[name] ?? [null, null, null];
      const cell = put(row, "td");
      const text = value === null ? "–" : value.toFixed(3);
      if (value === best[name]) put(cell, "b", {}, text);
      else cell.append(text);
      if (low !== null) put(cell, "span", {}, ` [${low.toFixed(3)}, ${high.toFixed(3)}]`);
    }
  }
};

const trade = () => {
  const of = data.metrics;
  const ends = (name) => range(Object.values(of).flatMap((each) => each[name]), 0.08);
  const [[left, right], [low, high]] = [ends("mean_rate"), ends("min_rate")];
  const at = axes(byId("trade"), {
    x: { low: left, high: right, label: `mean rate ${RATE}` },
    y: { low, high, label: `minimum rate ${RATE}` },
  });
  for (const name of Object.keys(of)) {
    const [mean, least] = [of[name].mean_rate, of[name].min_rate];
    const [x, y] = [at.X(mean[0]), at.Y(least[0])];
    const group = put(at.marks, "g", { "data-policy": name });
    const line = { stroke: colour(name), "stroke-width": 1.3, fill: "none" };
    const [[, left, right], [, low, high]] = [mean, least];
    if (left !== null) put(group, "path", { ...line, d: `M${at.X(left)} ${y}H${at.X(right)}` });
    if (low !== null) put(group, "path", { ...line, d: `M${x} ${at.Y(low)}V${at.Y(high)}` });
    mark(group, name, x, y, 1.2);
    tipOn(group, label(name), [["mean", "mean rate", `${format(mean[0])} bit/s/Hz`],
      ["minimum", "minimum rate", `${format(least[0])} bit/s/Hz`]]);
  }
};

const distribution = () => {
  const most = Math.max(...Object.values(data.rates).map((values) => Math.max(0, ...values)));
  const at = axes(byId("distribution"), {
    x: { low: 0, high: most || 1, label: `ergodic rate of a link ${RATE}` },
    y: { low: 0, high: 1, label: "share of links at or below" },
  });
  for (const [name, values] of Object.entries(data.rates)) {
    const sorted = [...values].sort((a, b) => a - b);
    // Of very many links the steps between are finer than a pixel.
    const every = Math.max(1, Math.floor(sorted.length / 1500));
    let path = `M${at.X(0)} ${at.Y(0)}`;
    for (let k = 0; k < sorted.length; k += every) {
      path += `H${at.X(sorted[k]).toFixed(1)}V${at.Y((k + 1) / sorted.length).toFixed(1)}`;
    }
    const group = put(at.marks, "g", { "data-policy": name });
    put(group, "path", { d: `${path}V${at.Y(1)}H${at.X(most)}`, fill: "none",
      stroke: colour(name), "stroke-width": 1.8, "stroke-dasharray": dash(name, 1.8) });
    // A mark each, at heights of their own, tells lines apart without colours.
    const height = (policyNames.indexOf(name) + 1) / (policyNames.length + 1);
    mark(group, name, at.X(sorted[Math.floor(height * sorted.length)]), at.Y(height));
    tipOn(group, label(name), [["median", "median rate",
      `${format(sorted[Math.floor((sorted.length - 1) / 2)])} bit/s/Hz`]]);
  }
};

// A curve with the band of what its points are means of.
const drawCurve = (place, curve) => {
  const [low, high] = range([...curve.low, ...curve.high]);
  const ends = [curve.x[0], curve.x.at(-1)];
  if (ends[0] === ends[1]) ends[1] += 1;
  const at = axes(place, { height: 210,
    x: { low: ends[0], high: ends[1], label: `${curve.along} [1]`, whole: true },
    y: { low, high, label: `[${curve.unit}]` } });
  const points = curve.x.map((x, k) => [x, curve.mean[k], curve.low[k], curve.high[k]])
    .filter((point) => point[1] !== null);
  const spot = (x, y) => `${at.X(x).toFixed(1)} ${at.Y(y).toFixed(1)}`;
  if (curve.per_point > 1) {
    const band = [...points.map(([x, , , y]) => spot(x, y)),
      ...points.toReversed().map(([x, , y]) => spot(x, y))];
    put(at.marks, "path", { d: `M${band.join("L")}Z`, fill: "var(--accent)", opacity: 0.22 });
  }
  const path = points.map(([x, y]) => spot(x, y)).join("L");
  put(at.marks, "path", { d: path && `M${path}`, fill: "none", stroke: "var(--accent)",
    "stroke-width": 1.8 });
  if (points.length < 40) {
    for (const [x, y] of points) {
      put(at.marks, "circle", { cx: at.X(x), cy: at.Y(y), r: 3, fill: "var(--accent)" });
    }
  }
  const nearest = (event) => {
    const box = at.svg.getBoundingClientRect();
    const wanted = ((event.clientX - box.left) / box.width) * at.width;
    const apart = points.map(([x]) => Math.abs(at.X(x) - wanted));
    return points[apart.indexOf(Math.min(...apart))];
  };
  at.svg.addEventListener("pointermove", (event) => {
    const point = nearest(event);
    if (!point) return;
    showTip(curve.name, [["x", curve.along, format(point[0], 6)],
      ["y", curve.unit, format(point[1])]], event.clientX, event.clientY);
  });
  at.svg.addEventListener("pointerleave", hideTip);
};

const convergence = () => {
  const grid = byId("convergence").querySelector(".grid");
  grid.replaceChildren();
  const several = data.curves.filter((curve) => curve.per_point > 1);
  const holes = data.curves.filter((curve) => curve.not_finite > 0);
  byId("convergence").querySelector("p").textContent = [
    several.length ? `Points are means of up to ${Math.max(...several.map((c) => c.per_point))} `
      + "logged values; the band is their smallest and largest." : "",
    ...holes.map((c) => `${c.name}: ${c.not_finite} values are not finite and left out.`),
  ].join(" ");
  for (const curve of data.curves) {
    const figure = put(grid, "figure");
    put(figure, "figcaption", {}, curve.name);
    drawCurve(put(figure, "div"), curve);
  }
};

const expected = ([from, to, confidence]) => ["distribution",
  `of the distribution, ${format(100 * confidence, 3)} %, if independent`,
  `${format(from, 5)} to ${format(to, 5)} bit/s/Hz`];

const gaps = () => {
  const place = byId("gaps").querySelector(".chart");
  const [low, high] = range(data.gaps.flatMap((gap) => [gap.primal, gap.dual]));
  const rows = data.gaps.length;
  // Policies that stand in the interval, beside the one whose it is.
  const others = (gap) => Object.entries(gap.values).filter(([name]) =>
    name !== gap.policy && policyNames.includes(name));
  const inside = (gap) => others(gap).filter(([, value]) => value >= low);
  legend(byId("gaps").querySelector(".legend"), policyNames.filter((name) =>
    data.gaps.some((gap) => inside(gap).some(([other]) => other === name))));
  // Of many networks thin bars, named by the tip alone.
  const tall = rows > 60 ? 5 : 22;
  const at = axes(place, { height: 62 + tall * rows, left: 150, right: 62,
    x: { low, high, label: "value, sum over links [bit/s/Hz]" },
    y: { low: 0, high: rows, label: "",
      ticks: rows > 60 ? [] : data.gaps.map((_, k) => rows - k - 0.5),
      text: (value) => {
        const gap = data.gaps[Math.round(rows - value - 0.5)];
        return `network ${gap.network}, ${gap.num_links} links`;
      } } });
  data.gaps.forEach((gap, k) => {
    const y = at.Y(rows - k - 0.5);
    const [from, to, best] = [gap.primal, gap.dual, gap.best_known].map(at.X);
    const width = gap.dual - gap.primal;
    const group = put(at.marks, "g", { "data-gap": gap.network });
    put(group, "rect", { x: from, y: y - 0.23 * tall,
      width: Math.max(2, to - from), height: 0.46 * tall, fill: colour(gap.policy),
      "fill-opacity": 0.3, stroke: colour(gap.policy), "stroke-width": tall / 22 });
    put(group, "path", { d: `M${best} ${y - 0.36 * tall}v${0.72 * tall}`,
      stroke: "var(--ink)", "stroke-width": 2.5 });
    for (const [name, value] of inside(gap)) {
      mark(group, name, at.X(value), y, tall / 24).setAttribute("stroke", "var(--back)");
    }
    const share = gap.primal > 0 ? `${format((100 * width) / gap.primal, 2)} %` : "";
    if (rows <= 60) put(group, "text", { x: to + 6, y: y + 4 }, share);
    tipOn(group, `Network ${gap.network}, ${label(gap.policy)}`, [
      ["primal", "P, of the policy", `${format(gap.primal, 5)} bit/s/Hz`],
      ["best", "best value known", `${format(gap.best_known, 5)} bit/s/Hz`],
      ["dual", "D, certified bound", `${format(gap.dual, 5)} bit/s/Hz`],
      ["gap", "(D − P) / P", share || "–"],
      ["bound", "found by", gap.bound],
      ...(gap.undecided === null ? []
        : [["undecided", "of D undecided", `${format(gap.undecided, 2)} bit/s/Hz`]]),
      ...(gap.distribution ? [expected(gap.distribution)] : []),
      ...others(gap).map(([name, value]) =>
        [name, label(name), `${format(value, 5)} bit/s/Hz`])]);
  });
};
