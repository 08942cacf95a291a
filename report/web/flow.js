// Where the images of a class go between chosen epochs: a column for each epoch, stacked by
// predicted class, ribbons between them. A click on a ribbon keeps its images.
import {byId, counted, el, named, svg, swatch, whenChanged} from "./dom.js";

const mostClasses = 9;  // the rest is pooled
const height = 230;
const headHeight = 18;
const nodeWidth = 11;

// Up to four epochs, evenly over the window.
export function evenEpochs(first, last) {
  const count = Math.min(4, last - first + 1);
  return Array.from({length: count}, (_, i) =>
    count === 1 ? first : Math.round(first + ((last - first) * i) / (count - 1)));
}

// Columns and ribbons of `rows`: classes in the order of their number, pooled ones (-1) at the end.
export function flows(run, rows, epochs) {
  const at = (image, k) => run.predicted[image * run.epochs + epochs[k]];
  const totals = new Uint32Array(run.classes.length);
  for (const image of rows) for (let k = 0; k < epochs.length; ++k) ++totals[at(image, k)];
  const present = Array.from(totals.keys()).filter((c) => totals[c] > 0).sort((a, b) => totals[b] - totals[a]);
  const kept = new Set(present.length > mostClasses + 1 ? present.slice(0, mostClasses) : present);
  const shown = [...kept].sort((a, b) => a - b);
  if (kept.size < present.length) shown.push(-1);
  const slots = new Map(shown.map((c, i) => [c, i]));
  const slot = (c) => slots.get(c) ?? shown.length - 1;
  const n = shown.length;
  const nodes = epochs.map((_, k) => {
    const counts = new Uint32Array(n);
    for (const image of rows) ++counts[slot(at(image, k))];
    return counts;
  });
  const links = epochs.slice(1).map((_, k) => {
    const counts = new Uint32Array(n * n);
    for (const image of rows) ++counts[slot(at(image, k)) * n + slot(at(image, k + 1))];
    return counts;
  });
  return {shown, nodes, links};
}

export class Flow {
  constructor(store, tooltip) {
    this.store = store;
    this.tooltip = tooltip;
    byId("flow-class").addEventListener("change", ({target}) => store.set({flowClass: Number(target.value)}));
    byId("flow-epochs").addEventListener("change", ({target}) => this.readEpochs(target));
    this.draw = whenChanged(
      ({run, rows, state, colours, width}) => [run, rows, state.flowClass, state.flowEpochs, state.first, state.last,
        colours, width, state.link],
      (view) => this.drawFlow(view));
  }

  // "1, 5 20": what are epochs of the run, in order; fewer than two mean evenly spaced ones.
  readEpochs(input) {
    const {run} = this.view;
    const epochs = [...new Set((input.value.match(/\d+/g) ?? []).map((text) => Number(text) - run.firstEpoch))]
      .filter((e) => e >= 0 && e < run.epochs).sort((a, b) => a - b).slice(0, 12);
    this.written = true;
    this.store.set({flowEpochs: epochs.length >= 2 ? epochs : []});
  }

  render(view) {
    this.view = view;
    this.draw(view);
  }

  drawFlow({run, rows, state, colours, theme}) {
    const picture = byId("flow-picture");
    const epochs = state.flowEpochs.length > 0 ? state.flowEpochs : evenEpochs(state.first, state.last);
    const input = byId("flow-epochs");
    // Not while somebody writes there.
    if (this.written || document.activeElement !== input) input.value = epochs.map((e) => e + run.firstEpoch).join(", ");
    this.written = false;
    byId("flow-class").value = state.flowClass;
    const chosen = state.flowClass < 0 ? rows : rows.filter((image) => run.truth[image] === state.flowClass);
    byId("flow-note").textContent = counted(chosen.length, "image");
    picture.replaceChildren();
    if (chosen.length === 0) return;
    const {shown, nodes, links} = flows(run, chosen, epochs);
    const n = shown.length;
    const width = picture.parentElement.clientWidth;
    picture.setAttribute("width", width);
    picture.setAttribute("height", height);
    const gap = Math.min(6, 40 / n);
    const scale = (height - headHeight - 4 - gap * (n - 1)) / chosen.length;
    const x = (k) => (epochs.length === 1 ? 0 : (k * (width - nodeWidth)) / (epochs.length - 1));
    const colour = (i) => (shown[i] < 0 ? theme.faint : colours[shown[i]]);
    const name = (i) => (shown[i] < 0 ? "other classes" : run.classes[shown[i]]);
    const tops = nodes.map((counts) => {
      let y = headHeight;
      return Array.from(counts, (count) => {
        const here = y;
        y += count * scale + (count > 0 ? gap : 0);
        return here;
      });
    });
    links.forEach((counts, k) => {
      const out = tops[k].slice();
      const into = tops[k + 1].slice();
      for (let a = 0; a < n; ++a) {
        for (let b = 0; b < n; ++b) {
          const count = counts[a * n + b];
          if (count === 0) continue;
          const thick = count * scale;
          picture.append(this.ribbon({
            from: [x(k) + nodeWidth, out[a]], to: [x(k + 1), into[b]], thick, paint: colour(a), quiet: a === b,
            pressed: String(state.link) === String([epochs[k], shown[a], epochs[k + 1], shown[b]]),
            link: shown[a] < 0 || shown[b] < 0 ? null : [epochs[k], shown[a], epochs[k + 1], shown[b]],
            label: `${name(a).slice(0, 60)} at epoch ${epochs[k] + run.firstEpoch}, ${name(b).slice(0, 60)} at epoch ${
              epochs[k + 1] + run.firstEpoch}: ${counted(count, "image")}`,
            tip: () => [el("div", {class: "text"},
              tipLine(`epoch ${epochs[k] + run.firstEpoch}`, colour(a), name(a)),
              tipLine(`epoch ${epochs[k + 1] + run.firstEpoch}`, colour(b), name(b)),
              el("div", {class: "measures"}, counted(count, "image")))],
          }));
          out[a] += thick;
          into[b] += thick;
        }
      }
    });
    epochs.forEach((epoch, k) => {
      const last = k === epochs.length - 1 && k > 0;
      picture.append(svg("text", {class: "tick", x: last ? x(k) + nodeWidth : k === 0 ? 0 : x(k) + nodeWidth / 2, y: 10,
        "text-anchor": last ? "end" : k === 0 ? "start" : "middle"}, `epoch ${epoch + run.firstEpoch}`));
      nodes[k].forEach((count, i) => {
        if (count === 0) return;
        const node = svg("rect", {x: x(k), y: tops[k][i], width: nodeWidth, height: Math.max(1, count * scale), fill: colour(i)});
        node.addEventListener("pointermove", (event) => this.tooltip.show([el("div", {class: "text"},
          tipLine(`epoch ${epoch + run.firstEpoch}`, colour(i), name(i)),
          el("div", {class: "measures"}, counted(count, "image")))], event));
        node.addEventListener("pointerleave", () => this.tooltip.hide());
        picture.append(node);
        if (count * scale >= 11 && (k === 0 || last)) {
          picture.append(svg("text", {class: "node", x: last ? x(k) - 4 : x(k) + nodeWidth + 4,
            y: tops[k][i] + (count * scale) / 2 + 4, "text-anchor": last ? "end" : "start"}, short(name(i))));
        }
      });
    });
  }

  ribbon({from, to, thick, paint, quiet, pressed, link, label, tip}) {
    const middle = (from[0] + to[0]) / 2;
    const d = `M${from[0]},${from[1]}C${middle},${from[1]} ${middle},${to[1]} ${to[0]},${to[1]}v${thick}C${middle},${
      to[1] + thick} ${middle},${from[1] + thick} ${from[0]},${from[1] + thick}Z`;
    const path = svg("path", {d, fill: paint, class: `ribbon${quiet ? " quiet" : ""}`, "aria-label": label,
      ...(link ? {tabindex: 0, role: "button", "aria-pressed": String(pressed)} : {})});
    const choose = () => this.store.set({link: pressed ? [] : link});
    if (link) {
      path.addEventListener("click", choose);
      path.addEventListener("keydown", (event) => {
        if (event.key !== "Enter") return;
        event.stopPropagation();
        choose();
      });
    }
    path.addEventListener("pointermove", (event) => this.tooltip.show(tip(), event));
    path.addEventListener("pointerleave", () => this.tooltip.hide());
    return path;
  }
}

const short = (text) => (text.length > 14 ? text.slice(0, 13) + "…" : text);
const tipLine = (label, colour, name) =>
  el("div", {class: "line"}, el("span", {class: "label"}, label), swatch(colour), named(name));
