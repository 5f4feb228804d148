// The map of a network: its links in colour, the strongest interferers of the one shown.
"use strict";

const BASES = { light: ["#440154", "#3b528b", "#21918c", "#43b05c", "#a5b80d"],
  dark: ["#7a6ad8", "#4f93d6", "#2db7a3", "#8fd744", "#fde725"] };

// Colours between those of a scale that grows lighter (light page: up to a dark yellow).
const scaleColour = (share) => {
  const base = darkMode.matches ? BASES.dark : BASES.light;
  const place = Math.min(1, Math.max(0, share)) * (base.length - 1);
  const first = Math.min(base.length - 2, Math.floor(place));
  const part = (hex, k) => parseInt(hex.slice(1 + 2 * k, 3 + 2 * k), 16);
  return `rgb(${[0, 1, 2].map((k) => Math.round(part(base[first], k)
    + (place - first) * (part(base[first + 1], k) - part(base[first], k)))).join(" ")})`;
};

// Distance of a point from a link as it is drawn.
const apart = ({ x1, y1, x2, y2 }, x, y) => {
  const [dx, dy] = [x2 - x1, y2 - y1];
  const share = ((x - x1) * dx + (y - y1) * dy) / (dx * dx + dy * dy || 1);
  const kept = Math.min(1, Math.max(0, share));
  return Math.hypot(x1 + kept * dx - x, y1 + kept * dy - y);
};

const drawMap = () => {
  const { network } = view;
  const place = byId("map");
  const known = network.layout !== "none";
  byId("mapfigure").hidden = !known;
  byId("maphelp").hidden = !known;
  document.querySelector(".zoom").hidden = !known;
  links = [];
  if (!known) return () => {};
  const far = network.layout === "map";
  const every = [...network.transmitter, ...network.receiver];
  const ends = [0, 1].map((k) => [Math.min(...every.map((p) => p[k])),
    Math.max(...every.map((p) => p[k]))]);
  const spans = ends.map(([low, high]) => 1.08 * Math.max(high - low, 1e-6));
  const kilo = far && Math.max(...spans) > 3000;
  const scale = kilo ? 1e-3 : 1;
  const [left, bottom] = far ? [52, 42] : [12, 12];
  const width = Math.max(240, place.clientWidth || 480);
  const height = Math.min(620, width - left - 12 + bottom + 8);
  const room = [width - left - 12, height - 8 - bottom];
  // One scale on both axes.
  view.perPixel = (scale * Math.max(spans[0] / room[0], spans[1] / room[1])) / view.zoom;
  const axis = (k, moved, name) => {
    const middle = 0.5 * scale * (ends[k][0] + ends[k][1]) + moved;
    const half = 0.5 * view.perPixel * room[k];
    return { low: middle - half, high: middle + half,
      label: far ? `${name} [${kilo ? "km" : "m"}]` : "", ...(far ? {} : { ticks: [] }) };
  };
  const at = axes(place, { height, left, bottom, x: axis(0, view.east, "east"),
    y: axis(1, view.north, "north") });
  view.box = at;
  put(put(at.svg, "clipPath", { id: "inside" }), "rect",
    { x: at.left, y: at.top, width: at.across, height: at.down });
  at.marks.setAttribute("clip-path", "url(#inside)");
  const shownValues = values();
  const sorted = [...(shownValues ?? [0])].sort((a, b) => a - b);
  const least = Math.min(0, sorted[0]);
  // The colours tell the low values apart; the few highest share the last one.
  const most = sorted[Math.floor(0.95 * (sorted.length - 1))] || sorted.at(-1) || 1;
  const group = put(at.marks, "g");
  const offset = far ? 2.5 : 0;
  network.transmitter.forEach((from, link) => {
    const to = network.receiver[link];
    let [x1, y1] = [at.X(from[0] * scale), at.Y(from[1] * scale)];
    let [x2, y2] = [at.X(to[0] * scale), at.Y(to[1] * scale)];
    const length = Math.hypot(x2 - x1, y2 - y1) || 1;
    const [right, down] = [(-(y2 - y1) / length) * offset, ((x2 - x1) / length) * offset];
    [x1, y1, x2, y2] = [x1 + right, y1 + down, x2 + right, y2 + down];
    links.push({ x1, y1, x2, y2 });
    const paint = shownValues
      ? scaleColour((shownValues[link] - least) / (most - least || 1)) : "var(--soft)";
    const item = put(group, "g", { "data-link": link });
    put(item, "path", { d: `M${x1} ${y1}L${x2} ${y2}`, stroke: paint, "stroke-width": 2.6 });
    if (network.num_links > 1000) return; // ends would cover the links, and take time
    put(item, "circle", { cx: x1, cy: y1, r: 2.6, fill: paint });
    put(item, "circle", { cx: x2, cy: y2, r: 3.4, fill: "var(--back)", stroke: paint,
      "stroke-width": 1.6 });
  });
  drawScale(least, most, sorted.at(-1) > most);
  const over = put(at.marks, "g");
  return (link) => {
    over.replaceChildren();
    group.setAttribute("opacity", link === null ? 1 : 0.45);
    if (link === null) return;
    for (const [from] of network.interferers?.[link] ?? []) {
      const [{ x1, y1 }, { x2, y2 }] = [links[from], links[link]];
      put(over, "path", { d: `M${x1} ${y1}L${x2} ${y2}`,
        stroke: "var(--strong)", "stroke-width": 1.6, "stroke-dasharray": "5 4" });
    }
    const chosen = over.appendChild(group.children[link].cloneNode(true));
    chosen.removeAttribute("data-link");
    chosen.firstChild.setAttribute("stroke-width", 6);
  };
};

const drawScale = (least, most, more) => {
  const { name, unit } = QUANTITIES[view.quantity];
  const place = byId("scale");
  const width = Math.max(240, place.clientWidth || 480);
  place.replaceChildren();
  const svg = put(place, "svg", { viewBox: `0 0 ${width} 34` });
  const from = 52;
  const wide = Math.min(260, width - 190);
  for (let k = 0; k < 40; k += 1) {
    put(svg, "rect", { x: from + (wide * k) / 40, y: 4, width: wide / 40 + 0.5, height: 10,
      fill: scaleColour((k + 0.5) / 40) });
  }
  put(svg, "text", { x: from, y: 28 }, format(least, 3));
  put(svg, "text", { x: from + wide, y: 28, "text-anchor": "end" },
    `${more ? "≥ " : ""}${format(most, 3)}`);
  put(svg, "text", { class: "title", x: from + wide + 10, y: 13 }, `${name} [${unit}]`);
};
