// Above the bars: a histogram of each measure. Its title sorts by it; dragging keeps only the images
// in a range.
import {brushX, event, select} from "./d3.js";
import {byId, el, svg, whenChanged} from "./dom.js";
import {curvesHeight} from "./curves.js";
import {measures} from "./order.js";

const titles = {frequency: "Frequency", variability: "Variability", rate: "Error rate"};
const explanations = {
  frequency: "Changes of the prediction from an epoch to the next, as a share of those possible",
  variability: "How many different classes were predicted",
  rate: "Misclassification rate: the share of epochs with a wrong prediction",
};
const titleHeight = 24;
const axisHeight = 24;

// Bins over [0, most]; whole numbers get one each.
function histogram(values, rows, [, most], whole) {
  const bins = whole ? Math.min(most, 40) : 20;
  const counts = new Uint32Array(bins);
  const bin = whole ? (v) => Math.floor(((v - 1) * bins) / most) : (v) => Math.min(bins - 1, Math.floor((v / most) * bins));
  for (const image of rows) ++counts[bin(values[image])];
  return counts;
}

export class Ranges {
  constructor(root, store) {
    this.store = store;
    this.parts = measures.map((name) => {
      const button = el("button", {class: "sort", title: explanations[name], onclick: () => this.sort(name)});
      const bars = svg("g", {class: "histogram"});
      const brushed = svg("g", {class: "brush"});
      const picture = svg("svg", {role: "img", "aria-label": `Histogram: ${titles[name]}. Drag to choose a range.`},
        bars, brushed);
      const box = el("div", {class: "range"}, button, picture);
      root.append(box);
      const part = {name, button, bars, brushed, picture, box};
      part.brush = brushX().on("start brush end", () => this.dragged(part));
      select(brushed).on("dblclick", () => this.store.set({[name]: []}));
      return part;
    });
    this.draw = whenChanged(
      ({run, geometry, metrics, rows, state}) => [run, geometry, metrics, rows, ...measures.map((name) => state[name]),
        state.sort, state.reversed],
      (view) => this.parts.forEach((part, i) => this.part(view, part, view.geometry.bars[i])));
  }

  render(view) {
    this.view = view;
    this.draw(view);
  }

  sort(name) {
    const {sort, reversed} = this.store.state;
    this.store.set({sort: name, reversed: sort === name && !reversed});
    byId("sort").value = name;
  }

  part(view, part, {x, width}) {
    const {run, metrics, rows, domains, state} = view;
    const {name} = part;
    const height = curvesHeight(run) - titleHeight;
    const base = height - axisHeight;
    part.box.style.left = `${x}px`;
    part.box.style.width = `${width}px`;
    const active = state.sort === name;
    part.button.textContent = `${titles[name]}${active ? (state.reversed ? " ↑" : " ↓") : ""}`;
    part.button.setAttribute("aria-pressed", String(active));
    part.picture.setAttribute("width", width);
    part.picture.setAttribute("height", height);
    const most = domains[name][1];
    const whole = name === "variability";
    const all = histogram(metrics[name], view.everything, domains[name], whole);
    const now = view.filtered ? histogram(metrics[name], rows, domains[name], whole) : all;
    // Most images are calm: the square root lets the few others be seen.
    const tallest = Math.sqrt(all.reduce((a, b) => Math.max(a, b), 1));
    const step = width / all.length;
    part.bars.replaceChildren();
    for (const [kind, counts] of view.filtered ? [["all", all], ["now", now]] : [["now", now]]) {
      counts.forEach((count, i) => {
        if (count === 0) return;
        const h = Math.max(1, (Math.sqrt(count) / tallest) * (base - 6));
        part.bars.append(svg("rect", {class: kind, x: i * step, y: base - h, width: Math.max(0.5, step - 1), height: h}));
      });
    }
    const tick = (at, anchor, value) =>
      svg("text", {class: "tick", x: at, y: base + 13, "text-anchor": anchor}, value);
    part.bars.append(svg("line", {class: "base", x1: 0, x2: width, y1: base + 0.5, y2: base + 0.5}),
      tick(0, "start", whole ? "1" : "0"), tick(width, "end", whole ? String(most) : most.toFixed(2)));
    part.brush.extent([[0, 2], [width, base]]);
    if (this.dragging === name) return;
    this.moving = true;
    const group = select(part.brushed);
    group.call(part.brush);
    const chosen = state[name];
    // A variability of k is the k-th bin.
    const at = whole ? (v, end) => ((v - 1 + end) / most) * width : (v) => (v / most) * width;
    group.call(part.brush.move, chosen.length > 0 ? [at(chosen[0], 0), at(chosen[1], 1)].map(
      (v) => Math.min(width, Math.max(0, v))) : null);
    this.moving = false;
  }

  dragged(part) {
    if (this.moving || !event.sourceEvent) return;
    this.dragging = event.type === "end" ? null : part.name;
    if (!event.selection) {
      if (event.type === "end") this.store.set({[part.name]: []});
      return;
    }
    if (this.dragging && !this.view.live) return;
    const {geometry, domains} = this.view;
    const most = domains[part.name][1];
    const {width} = geometry.bars[measures.indexOf(part.name)];
    const [a, b] = event.selection.map((v) => (v / width) * most);
    const whole = part.name === "variability";
    const range = whole ? [Math.floor(a + 0.1) + 1, Math.max(Math.floor(a + 0.1) + 1, Math.ceil(b - 0.1))]
                        : [Math.floor(a * 100) / 100, Math.ceil(b * 100) / 100];
    this.store.set({[part.name]: range});
  }
}
