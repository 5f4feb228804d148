// Draws what there is, again when the window or the colour scheme changes.
"use strict";

const draw = [];
const section = (id, present, once, again) => {
  if (!present) return;
  byId(id).hidden = false;
  once();
  draw.push(...again);
};

facts();
section("table", Object.keys(data.metrics).length, table,
  [() => legend(byId("policies"), policyNames), trade, distribution]);
section("convergence", data.curves.length, () => {}, [convergence]);
section("gaps", data.gaps.length, () => {}, [gaps]);
section("network", data.networks.length, () => { draw.push(startNetwork()); }, []);

const drawAll = () => { for (const each of draw) each(); };
drawAll();
let waiting = null;
let lastWidth = window.innerWidth;
window.addEventListener("resize", () => {
  if (window.innerWidth === lastWidth) return;
  lastWidth = window.innerWidth;
  clearTimeout(waiting);
  waiting = setTimeout(drawAll, 120);
});
darkMode.addEventListener("change", drawAll);
document.documentElement.dataset.ready = "true";
