// Which network, policy and link is shown, and its numbers.
"use strict";

const PICKS = ["which", "policy", "quantity", "other"];
const NONE = "–";

const watts = data.power_max_w ?? 1;
const [powerUnit, powerScale] = watts >= 1 ? ["W", 1] : watts >= 1e-3 ? ["mW", 1e3] : ["µW", 1e6];
const QUANTITIES = {
  rate: { name: "rate", unit: "bit/s/Hz", scale: 1 },
  power_w: { name: "mean power", unit: powerUnit, scale: powerScale },
  slack: { name: "slack s", unit: "bit/s/Hz", scale: 1 },
  multiplier: { name: "multiplier µ", unit: "1", scale: 1 },
};
const decibel = (ratio) => 10 * Math.log10(ratio);

const view = { network: null, policy: null, quantity: "rate", other: null, pinned: null,
  zoom: 1, east: 0, north: 0 };
let links = []; // where each link is drawn: {x1, y1, x2, y2} in the map's units
let lights = () => {}; // marks one link in map and bars

const of = (name = view.policy) => view.network.policies[name];
const values = (quantity = view.quantity) =>
  of()[quantity]?.map((value) => value * QUANTITIES[quantity].scale) ?? null;

const numbersOf = (link) => {
  const { network } = view;
  const mine = of();
  const rows = [];
  const row = (key, name, value, unit, tail = "") => rows.push([key, name,
    value === null || value === undefined ? NONE : `${format(value)} ${unit}${tail}`]);
  const power = mine.power_w?.[link];
  const share = data.power_max_w ? ` (${format((100 * power) / watts, 3)} % of P_max)` : "";
  row("power", "mean power", power === undefined ? null : power * powerScale, powerUnit, share);
  row("rate", "rate", mine.rate[link], "bit/s/Hz");
  row("slack", "slack s", mine.slack?.[link], "bit/s/Hz");
  row("multiplier", "multiplier µ", mine.multiplier?.[link], "");
  if (mine.minimum_rate !== null) row("minimum", "f_min", mine.minimum_rate, "bit/s/Hz");
  if (network.direct_gain) {
    const gain = network.direct_gain[link];
    row("gain", "path gain", decibel(gain), "dB");
    row("snr", "SNR at P_max", decibel((gain * watts) / data.noise_w), "dB");
    for (const [from, crossed] of network.interferers[link].slice(0, 1)) {
      row("inr", `INR of link ${from} at P_max`, decibel((crossed * watts) / data.noise_w), "dB");
    }
  }
  if (network.layout === "map") {
    const [[a, b], [c, d]] = [network.transmitter[link], network.receiver[link]];
    row("length", "length", Math.hypot(a - c, b - d), "m");
  }
  return rows;
};

const show = (link, x, y) => {
  lights(link);
  if (link === null) hideTip();
  else showTip(`Link ${link} · ${label(view.policy)}`, numbersOf(link), x, y);
};
// Back to the link that was clicked, if any.
const release = () => {
  if (view.pinned === null) show(null);
  else showAtMap(view.pinned);
};
const showAtMap = (link) => {
  const svg = byId("map").querySelector("svg") ?? byId("bars").querySelector("svg");
  const box = svg.getBoundingClientRect();
  const at = links[link];
  const scale = box.width / svg.viewBox.baseVal.width;
  if (at) {
    const [x, y] = [0.5 * (at.x1 + at.x2), 0.5 * (at.y1 + at.y2)];
    show(link, box.left + scale * x, box.top + scale * y);
  } else show(link, box.left + box.width / 2, box.top);
};
