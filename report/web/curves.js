// Curves above the heatmap, a panel each for accuracy, loss and flux, over the same columns. Dragging
// chooses the window of epochs, a click the epoch.
import {area, brushX, event, line, mouse, scaleLinear, select} from "./d3.js";
import {svg, whenChanged} from "./dom.js";
import {epochAt, epochCentre, epochWidth} from "./layout.js";
import {twoDecimals} from "./metrics.js";

const panelHeight = 44;
const panelGap = 12;
const top = 8;
const axisHeight = 24;

// What stands in the panels: [{title, lines: [{name, kind, values}], domain}]
function panels({run, others, allCourses, shownCourses, filtered}) {
  const shownOnly = (values) => (filtered ? [{name: "shown", kind: "shown", values}] : []);
  const known = (name, kind, values) => (values ? [{name, kind, values}] : []);
  const list = [{
    title: "Accuracy",
    lines: [
      ...others.map(({accuracy}) => ({name: null, kind: "other", values: accuracy})),
      ...known("train", "train", run.trainAccuracy),
      {name: run.split, kind: "all", values: allCourses.accuracy},
      ...shownOnly(shownCourses.accuracy),
    ],
  }];
  if (run.testLoss || run.trainLoss) {
    list.push({
      title: "Loss",
      lines: [...known("train", "train", run.trainLoss), ...known(run.split, "all", run.testLoss)],
      zero: true,
    });
  }
  list.push({
    title: "Flux",
    lines: [{name: run.split, kind: "all", values: allCourses.flux}, ...shownOnly(shownCourses.flux)],
    zero: true,
  });
  for (const panel of list) {
    const values = panel.lines.flatMap((entry) => entry.values).filter((value) => value !== null);
    const most = values.reduce((a, b) => Math.max(a, b), 0);
    const least = values.reduce((a, b) => Math.min(a, b), Infinity);
    panel.domain = panel.zero ? [0, most > 0 ? most : 1]
                              : [Math.floor(Math.min(least, 0.95) * 10) / 10, Math.max(1, most)];
  }
  return list;
}

export const curvesHeight = (run) =>
  top + (run.testLoss || run.trainLoss ? 3 : 2) * (panelHeight + panelGap) + axisHeight;

export class Curves {
  constructor(root, store) {
    this.store = store;
    this.fixed = svg("g");
    this.cursor = svg("g", {class: "cursor"});
    this.brushed = svg("g", {class: "brush"});
    this.root = svg("svg", {role: "img", "aria-label":
      "Curves of accuracy, loss and flux over the epochs. Drag to choose a window of epochs."},
      this.fixed, this.brushed, this.cursor);
    root.append(this.root);
    this.brush = brushX().on("start brush end", () => this.dragged());
    select(this.brushed).on("click", () => {
      const [x] = mouse(this.brushed);
      this.store.set({epoch: epochAt(this.view.geometry, this.view.run, x)});
    }).on("dblclick", () => this.store.set({first: 0, last: this.view.run.epochs - 1}));
    this.drawFixed = whenChanged(
      (view) => [view.run, view.geometry, view.allCourses, view.shownCourses, view.filtered],
      (view) => this.fixedPart(view));
    this.drawBrush = whenChanged(
      (view) => [view.run, view.geometry, view.state.first, view.state.last],
      (view) => this.brushPart(view));
  }

  render(view) {
    this.view = view;
    this.drawFixed(view);
    if (!this.dragging) this.drawBrush(view);
    this.cursorPart(view);
  }

  fixedPart(view) {
    const {geometry, run} = view;
    const {x, width} = geometry.plot;
    const height = curvesHeight(run);
    this.panels = panels(view);
    this.root.setAttribute("width", x + width + 6);
    this.root.setAttribute("height", height);
    this.fixed.replaceChildren();
    const at = (epoch) => epochCentre(geometry, run, epoch);
    this.panels.forEach((panel, i) => {
      const y0 = top + i * (panelHeight + panelGap);
      panel.y = scaleLinear().domain(panel.domain).range([y0 + panelHeight, y0]);
      this.fixed.append(
        svg("rect", {class: "panel", x, y: y0, width, height: panelHeight}),
        svg("text", {class: "panel-title", x: 0, y: y0 + 10}, panel.title),
        svg("text", {class: "tick", x: x - 10, y: y0 + 8, "text-anchor": "end"}, twoDecimals(panel.domain[1])),
        svg("text", {class: "tick", x: x - 10, y: y0 + panelHeight, "text-anchor": "end"},
          twoDecimals(panel.domain[0])));
      for (const {kind, values} of panel.lines) {
        const defined = (value) => value !== null;
        if (kind === "all" && panel.title === "Flux") {
          const shape = area().defined(defined).x((_, e) => at(e)).y0(panel.y(0)).y1((value) => panel.y(value));
          this.fixed.append(svg("path", {class: "filled", d: shape(values) ?? ""}));
        }
        const shape = line().defined(defined).x((_, e) => at(e)).y((value) => panel.y(value));
        this.fixed.append(svg("path", {class: `line ${kind}`, d: shape(values.slice(0, run.epochs)) ?? ""}));
        if (run.epochs === 1 && values[0] !== null) {
          this.fixed.append(svg("circle", {class: `dot ${kind}`, cx: at(0), cy: panel.y(values[0]), r: 2.5}));
        }
      }
    });
    const base = height - axisHeight;
    this.fixed.append(svg("text", {class: "panel-title", x: 0, y: base + 10}, "Epoch"));
    // As many numbers as there is room for, at round steps.
    const room = Math.max(1, Math.floor(width / 34));
    const step = [1, 2, 5, 10, 20, 25, 50, 100, 200, 250, 500, 1000, 2000, 5000].find((n) => run.epochs / n <= room) ?? 10000;
    for (let e = 0; e < run.epochs; ++e) {
      if ((e + run.firstEpoch) % step !== 0 && !(e === 0 && step === 1)) continue;
      this.fixed.append(svg("text", {class: "tick", x: at(e), y: base + 10, "text-anchor": "middle"},
        String(e + run.firstEpoch)));
    }
  }

  brushPart({geometry, run, state}) {
    const {x, width} = geometry.plot;
    const column = epochWidth(geometry, run);
    this.brush.extent([[x, 0], [x + width, curvesHeight(run) - axisHeight - panelGap + 4]]);
    const group = select(this.brushed);
    group.call(this.brush);
    const whole = state.first === 0 && state.last === run.epochs - 1;
    this.moving = true;
    group.call(this.brush.move, whole ? null : [x + state.first * column, x + (state.last + 1) * column]);
    this.moving = false;
  }

  dragged() {
    if (this.moving || !event.sourceEvent) return;
    const {geometry, run, state, live} = this.view;
    this.dragging = event.type !== "end";
    let window = {first: state.first, last: state.last};
    if (event.selection) {
      const column = epochWidth(geometry, run);
      const [a, b] = event.selection.map((value) => (value - geometry.plot.x) / column);
      const first = Math.max(0, Math.min(run.epochs - 1, Math.floor(a + 0.02)));
      window = {first, last: Math.max(first, Math.min(run.epochs - 1, Math.ceil(b - 0.02) - 1))};
    }
    // A click chooses an epoch and leaves the window as it is.
    if (event.selection && (!this.dragging || live)) this.store.set(window);
    // The pointer draws freely; when it lets go, the window snaps to epochs.
    if (!this.dragging) this.brushPart({...this.view, state: {...state, ...window}});
  }

  cursorPart({geometry, run, state}) {
    this.cursor.replaceChildren();
    const x = epochCentre(geometry, run, state.epoch);
    const height = curvesHeight(run);
    const base = height - axisHeight;
    const label = String(state.epoch + run.firstEpoch);
    const w = 7 * label.length + 10;
    this.cursor.append(
      svg("line", {x1: x, x2: x, y1: top, y2: base - 2}),
      svg("rect", {x: x - w / 2, y: base - 1, width: w, height: 15, rx: 3}),
      svg("text", {class: "flag", x, y: base + 10, "text-anchor": "middle"}, label));
    for (const panel of this.panels) {
      const named = panel.lines.filter(({name}) => name !== null);
      let y = panel.y.range()[1] + 23;
      for (const {name, kind, values} of [...named].reverse().slice(0, 2)) {
        const value = values[state.epoch] ?? null;
        if (value !== null) this.cursor.append(svg("circle", {class: `dot ${kind}`, cx: x, cy: panel.y(value), r: 2.5}));
        this.cursor.append(
          svg("line", {class: `key ${kind}`, x1: 0, x2: 10, y1: y - 4, y2: y - 4}),
          svg("text", {class: "value", x: 15, y}, `${twoDecimals(value)} `,
            svg("tspan", {class: "of"}, name.length > 9 ? name.slice(0, 8) + "…" : name)));
        y += 13;
      }
    }
  }
}
