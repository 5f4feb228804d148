// Drawing: SVG elements, axes with ticks and units, the marks of policies, the tip at the pointer.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);

const put = (parent, tag, attributes = {}, text = null) => {
  // An element of the parent's kind: HTML in HTML, SVG in SVG.
  const space = tag === "svg" ? SVG : parent.namespaceURI;
  const made = document.createElementNS(space, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== null) made.textContent = text;
  parent.append(made);
  return made;
};
// The name of SVG's elements, taken from the parser.
const SVG = new DOMParser().parseFromString("<svg></svg>", "text/html")
  .querySelector("svg").namespaceURI;

const format = (value, digits = 4) =>
  value === null || value === undefined ? "–" : String(Number(value.toPrecision(digits)));

const ticks = (low, high, count) => {
  const rough = (high - low) / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5].find((each) => each * power >= rough) ?? 10);
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k += 1) {
    found.push(Number((k * step).toPrecision(12)));
  }
  return found;
};

const range = (values, share = 0.05) => {
  // Ends of an axis: a little wider than the values, 0 included where it is near.
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (value === null) continue;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (low > high) return [0, 1];
  if (low >= 0 && low < 0.4 * high) low = 0;
  if (low === high) return [low - 0.5 * (Math.abs(low) || 1), high + 0.5 * (Math.abs(high) || 1)];
  const pad = share * (high - low);
  return [low === 0 ? 0 : low - pad, high + pad];
};

// Axes in a box as wide as the place; returns where numbers lie and the group to draw into.
const axes = (place, options) => {
  const { x, y, height = 280, left: margin = 0, bottom = 42, right = 12, top = 8 } = options;
  place.replaceChildren();
  const width = Math.max(240, place.clientWidth || 480);
  const rows = (y.ticks ?? ticks(y.low, y.high, (height - top - bottom) / 34))
    .map((value) => [value, y.text ? y.text(value) : format(value, 6)]);
  // Room for the longest number beside the label.
  const left = margin || 32 + 7 * Math.max(1, ...rows.map(([, text]) => text.length));
  const svg = put(place, "svg", { viewBox: `0 0 ${width} ${height}`, role: "img",
    "aria-label": `${y.label} over ${x.label}` });
  const across = width - left - right;
  const down = height - top - bottom;
  const X = (value) => left + (across * (value - x.low)) / (x.high - x.low);
  const Y = (value) => top + (down * (y.high - value)) / (y.high - y.low);
  const at = { svg, X, Y, width, height, left, right, top, bottom, across, down };
  // Counts have no halves.
  const counted = (value) => !x.whole || Number.isInteger(value);
  for (const value of (x.ticks ?? ticks(x.low, x.high, across / 60)).filter(counted)) {
    put(svg, "path", { class: "axis", d: `M${X(value)} ${top}V${top + down}` });
    put(svg, "text", { x: X(value), y: top + down + 16, "text-anchor": "middle" },
      x.text ? x.text(value) : format(value, 6));
  }
  for (const [value, text] of rows) {
    put(svg, "path", { class: "axis", d: `M${left} ${Y(value)}H${left + across}` });
    put(svg, "text", { x: left - 6, y: Y(value) + 4, "text-anchor": "end" }, text);
  }
  put(svg, "text", { class: "title", x: left + across / 2, y: height - 6, "text-anchor": "middle" },
    x.label);
  const middle = top + down / 2;
  put(svg, "text", { class: "title", x: 13, y: middle, "text-anchor": "middle",
    transform: `rotate(-90 13 ${middle})` }, y.label);
  at.marks = put(svg, "g");
  return at;
};

// How policies look: the same as in all figures, but for colours that a dark page would swallow.
const darkMode = matchMedia("(prefers-color-scheme: dark)");
const DARK = { "#000000": "#f2f2f2", "#0072B2": "#3d9fe0", "#56B4E9": "#a5d8f7" };
const policyNames = Object.keys(data.rates);
const label = (name) => data.looks[name].label;
const colour = (name) => {
  const onLight = data.looks[name].colour;
  return darkMode.matches ? DARK[onLight] ?? onLight : onLight;
};
const dash = (name, width) => data.looks[name].dashes.map((each) => each * width).join(" ");

// Marks in shapes of their own, so that colour is not needed to tell them apart.
const SHAPES = {
  o: "M-5 0A5 5 0 1 0 5 0A5 5 0 1 0-5 0Z", D: "M0-6L5 0L0 6L-5 0Z",
  s: "M-4.5-4.5H4.5V4.5H-4.5Z", "^": "M0-6L5.5 4.5H-5.5Z", v: "M0 6L5.5-4.5H-5.5Z",
  P: "M-2-6H2V-2H6V2H2V6H-2V2H-6V-2H-2Z",
  X: "M-5-3L-3-5L0-2L3-5L5-3L2 0L5 3L3 5L0 2L-3 5L-5 3L-2 0Z",
  "*": "M0-6.5L1.6-2H6.2L2.5.8L3.9 5.3L0 2.6L-3.9 5.3L-2.5.8L-6.2-2H-1.6Z",
  h: "M0-6L5.2-3V3L0 6L-5.2 3V-3Z", p: "M0-6L5.7-1.8L3.5 4.9H-3.5L-5.7-1.8Z",
};
const mark = (parent, name, x, y, scale = 1) =>
  put(parent, "path", { d: SHAPES[data.looks[name].marker], fill: colour(name),
    transform: `translate(${x} ${y}) scale(${scale})` });

const legend = (place, names) => {
  place.replaceChildren();
  for (const name of names) {
    const item = put(place, "span");
    const svg = put(item, "svg", { viewBox: "0 0 64 14", width: 64, height: 14 });
    svg.style.width = "64px";
    put(svg, "path", { d: "M1 7H63", stroke: colour(name), "stroke-width": 2,
      "stroke-dasharray": dash(name, 2) });
    mark(svg, name, 32, 7);
    put(item, "span", {}, label(name));
  }
};

// The tip: a title and rows of [key, name, text], at a place of the window.
const showTip = (title, rows, x, y) => {
  const tip = byId("tip");
  tip.replaceChildren();
  put(tip, "b", {}, title);
  const list = put(tip, "dl");
  for (const [key, name, text] of rows) {
    put(list, "dt", {}, name);
    put(list, "dd", { "data-key": key }, text);
  }
  tip.hidden = false;
  const { offsetWidth: wide, offsetHeight: high } = tip;
  const room = document.documentElement.clientWidth;
  const left = x + 18 + wide > room ? Math.max(4, x - 18 - wide) : x + 18;
  const up = y + 14 + high > window.innerHeight ? Math.max(4, y - 14 - high) : y + 14;
  tip.style.left = `${Math.min(left, Math.max(4, room - wide - 4)) + window.scrollX}px`;
  tip.style.top = `${up + window.scrollY}px`;
};
const hideTip = () => { byId("tip").hidden = true; };
const tipOn = (element, title, rows) => {
  element.addEventListener("pointermove", (event) => {
    showTip(title, rows, event.clientX, event.clientY);
  });
  element.addEventListener("pointerleave", hideTip);
};
