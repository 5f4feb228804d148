// What a reader can choose, point at, drag and zoom.
"use strict";

const drawNetwork = () => {
  const [onMap, onBars] = [drawMap(), drawBars()];
  lights = (link) => { onMap(link); onBars(link); };
  lights(null);
  if (!data.curves.length) drawLagrangian();
  const { network } = view;
  byId("layout").textContent = {
    map: "",
    circle: "Positions are not known, only gains: the links stand on a circle in the order of "
      + "their numbers, which says nothing about distances.",
    none: "",
  }[network.layout];
};

const fill = (select, options, chosen) => {
  select.replaceChildren();
  for (const [value, text] of options) put(select, "option", { value }, text);
  select.value = chosen;
};

const pickers = () => {
  fill(byId("which"), data.networks.map((network, k) =>
    [k, `${network.number} (${network.num_links} links)`]), data.networks.indexOf(view.network));
  fill(byId("policy"), policyNames.map((name) => [name, label(name)]), view.policy);
  const known = Object.keys(QUANTITIES).filter((name) => of()[name]);
  if (!known.includes(view.quantity)) view.quantity = "rate";
  fill(byId("quantity"), known.map((name) => [name, QUANTITIES[name].name]), view.quantity);
  const others = policyNames.filter((name) => name !== view.policy);
  if (!others.includes(view.other)) view.other = others[0] ?? "";
  fill(byId("other"), [["", "none"], ...others.map((name) => [name, label(name)])], view.other);
  byId("other").parentNode.hidden = !others.length;
  byId("quantity").parentNode.hidden = view.network.layout === "none";
};

const startNetwork = () => {
  [view.network] = data.networks;
  [view.policy] = policyNames;
  view.other = policyNames.find((name) => !name.startsWith("metagnn")) ?? "";
  const map = byId("map");
  const redraw = () => { hideTip(); pickers(); drawNetwork(); release(); };
  // What lies so many pixels right of and above the middle stays where it is.
  const zoom = (factor, right = 0, up = 0) => {
    const before = view.zoom;
    view.zoom = Math.min(200, Math.max(1, before * factor));
    const moved = view.perPixel * (1 - before / view.zoom);
    view.east += right * moved;
    view.north += up * moved;
    if (view.zoom === 1) [view.east, view.north] = [0, 0];
    redraw();
  };
  const zoomOnLink = (factor) => {
    const at = links[view.pinned];
    if (!at) zoom(factor);
    else zoom(factor, ...fromMiddle(0.5 * (at.x1 + at.x2), 0.5 * (at.y1 + at.y2)));
  };
  const fromMiddle = (x, y) => {
    const { left, top, across, down } = view.box;
    return [x - left - 0.5 * across, top + 0.5 * down - y];
  };
  const inMap = (event) => {
    const box = map.querySelector("svg").getBoundingClientRect();
    const scale = view.box.width / box.width;
    return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
  };
  for (const name of PICKS) {
    byId(name).addEventListener("change", (event) => {
      if (name === "which") {
        view.network = data.networks[Number(event.target.value)];
        Object.assign(view, { zoom: 1, east: 0, north: 0, pinned: null });
      } else view[name] = event.target.value;
      redraw();
    });
  }
  byId("closer").addEventListener("click", () => zoomOnLink(1.6));
  byId("farther").addEventListener("click", () => zoomOnLink(1 / 1.6));
  byId("whole").addEventListener("click", () => zoom(0));
  map.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    zoom(event.deltaY < 0 ? 1.25 : 0.8, ...fromMiddle(...inMap(event)));
  }, { passive: false });
  let drag = null;
  const nearest = (event) => {
    const [x, y] = inMap(event);
    const [right, up] = fromMiddle(x, y).map(Math.abs);
    if (right > 0.5 * view.box.across || up > 0.5 * view.box.down) return null;
    const away = links.map((link) => apart(link, x, y));
    const best = away.indexOf(Math.min(...away));
    return away[best] < 24 ? best : null;
  };
  map.addEventListener("pointerdown", (event) => {
    drag = { x: event.clientX, y: event.clientY, east: view.east, north: view.north, moved: false };
  });
  window.addEventListener("pointerup", () => { drag = null; });
  map.addEventListener("pointermove", (event) => {
    if (drag && event.pointerType === "mouse" && event.buttons === 1) {
      const [right, down] = [event.clientX - drag.x, event.clientY - drag.y];
      if (Math.hypot(right, down) < 5 && !drag.moved) return;
      drag.moved = true;
      view.dragged = true;
      view.east = drag.east - right * view.perPixel;
      view.north = drag.north + down * view.perPixel;
      redraw();
      return;
    }
    const link = nearest(event);
    if (link === null) release();
    else show(link, event.clientX, event.clientY);
  });
  map.addEventListener("pointerleave", release);
  map.addEventListener("click", (event) => {
    if (view.dragged) { view.dragged = false; return; }
    view.pinned = nearest(event);
    if (view.pinned === null) show(null);
    else show(view.pinned, event.clientX, event.clientY);
  });
  map.addEventListener("keydown", (event) => {
    const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
    if (!(event.key in steps)) return;
    event.preventDefault();
    const count = view.network.num_links;
    const from = view.pinned ?? (steps[event.key] > 0 ? -1 : count);
    view.pinned = (from + steps[event.key] + count) % count;
    showAtMap(view.pinned);
  });
  window.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { view.pinned = null; show(null); }
  });
  return redraw;
};
