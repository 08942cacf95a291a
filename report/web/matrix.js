// The confusion matrix of the images shown, at the chosen epoch: cells by their share of the true
// class's images. A click keeps a cell's images.
import {byId, counted, el, fitted, named, sized, swatch, whenChanged} from "./dom.js";
import {mixed, css} from "./palette.js";

const mostListed = 8;
const frameTime = 260;  // ms that an epoch stays while playing

export class Matrix {
  constructor(store, tooltip) {
    this.store = store;
    this.tooltip = tooltip;
    this.canvas = byId("matrix");
    this.canvas.addEventListener("click", (event) => this.click(event));
    this.canvas.addEventListener("pointermove", (event) => this.hover(event));
    this.canvas.addEventListener("pointerleave", () => tooltip.hide());
    byId("epoch").addEventListener("input", ({target}) => store.set({epoch: Number(target.value)}));
    byId("play").addEventListener("click", () => this.togglePlay());
    byId("earlier").addEventListener("click", () => this.step(-1));
    byId("later").addEventListener("click", () => this.step(1));
    this.draw = whenChanged(
      ({counts, theme, width, state}) => [counts, theme, width, state.cell], (view) => this.drawMatrix(view));
    this.list = whenChanged(({counts, before, state}) => [counts, before, state.cell], (view) => this.fillList(view));
  }

  render(view) {
    this.view = view;
    const {state, run, pool, counts} = view;
    const slider = byId("epoch");
    slider.max = run.epochs - 1;
    slider.value = state.epoch;
    slider.setAttribute("aria-valuetext", `epoch ${state.epoch + run.firstEpoch}`);
    byId("matrix-title").textContent = `Confusion at epoch ${state.epoch + run.firstEpoch}`;
    const {right} = counts;
    byId("matrix-note").textContent = pool.length === 0 ? ""
      : `${right.toLocaleString("en")} of ${pool.length.toLocaleString("en")} right, ${((100 * right) / pool.length).toFixed(1)} %`;
    this.draw(view);
    this.list(view);
  }

  drawMatrix(view) {
    const {run, theme, counts, state} = view;
    const classes = run.classes.length;
    const width = this.canvas.parentElement.clientWidth;
    const label = classes <= 40 ? this.labelWidth(view, width * 0.25) : 16;
    const side = Math.max(40, width - label - 1);
    const cell = side / classes;
    // Short names stand upright under their columns, all or none.
    const upright = label - 8 <= cell - 2;
    this.geometry = {label, side, cell, upright};
    const context = sized(this.canvas, width, side + (upright ? 18 : label));
    const {cells, totals} = counts;
    const ink = (t, p, count) => {
      // The square root: a handful of confusions must be seen beside thousands of right ones.
      const share = Math.sqrt(count / Math.max(1, totals[t]));
      const least = cell < 4 ? 0.45 : 0.08;
      return mixed(theme.backgroundRgb, t === p ? theme.rightRgb : theme.wrongRgb, least + (1 - least) * share);
    };
    context.fillStyle = theme.background;
    context.fillRect(label, 0, side, side);
    // Thousands of cells: where several fall on a pixel, the strongest confusion is seen.
    const pixel = 1 / (window.devicePixelRatio || 1);
    const drawn = cell < pixel ? new Map() : null;
    for (const [index, count] of cells) {
      const [t, p] = [Math.floor(index / classes), index % classes];
      const x = label + p * cell;
      const y = t * cell;
      if (drawn) {
        const key = Math.floor(y / pixel) * 100000 + Math.floor(x / pixel);
        if ((drawn.get(key) ?? 0) >= count) continue;
        drawn.set(key, count);
      }
      const colour = ink(t, p, count);
      context.fillStyle = css(colour);
      const size = Math.max(t === p ? 1.2 : 2, cell - (cell >= 8 ? 1 : 0));
      context.fillRect(x, y, size, size);
      if (cell < 20) continue;
      context.font = theme.font(Math.min(11, cell / 2.6));
      const text = String(count);
      if (context.measureText(text).width > cell - 3) continue;
      const dark = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] < 140;
      context.fillStyle = dark ? "#fff" : "#16191d";
      context.textAlign = "center";
      context.textBaseline = "middle";
      context.fillText(text, x + cell / 2 - 0.5, y + cell / 2 + 0.5);
    }
    context.strokeStyle = theme.rule;
    context.lineWidth = 1;
    context.strokeRect(label - 0.5, 0.5, side, side - 0.5);
    this.names(context, view);
    if (state.cell.length > 0) {
      const [t, p] = state.cell;
      context.strokeStyle = theme.accent;
      context.lineWidth = 2;
      context.strokeRect(label + p * cell - 0.5, t * cell - 0.5, Math.max(4, cell), Math.max(4, cell));
    }
  }

  labelWidth({run, theme}, most) {
    const context = this.canvas.getContext("2d");
    context.font = theme.font(11);
    return run.classes.reduce((widest, name) => Math.max(widest, context.measureText(fitted(context, name, most - 8)).width), 8) + 8;
  }

  names(context, {run, theme}) {
    const {label, side, cell, upright} = this.geometry;
    context.fillStyle = theme.faint;
    context.textBaseline = "middle";
    if (cell < 9) {
      context.font = theme.font(11);
      context.textAlign = "center";
      context.fillText("predicted class", label + side / 2, side + 9);
      context.save();
      context.translate(7, side / 2);
      context.rotate(-Math.PI / 2);
      context.fillText("true class", 0, 0);
      context.restore();
      return;
    }
    context.font = theme.font(Math.min(11, cell));
    run.classes.forEach((name, c) => {
      const text = fitted(context, name, label - 8);
      context.textAlign = "right";
      context.fillText(text, label - 6, (c + 0.5) * cell);
      context.save();
      context.translate(label + (c + 0.5) * cell, side + 6);
      if (upright) {
        context.textAlign = "center";
        context.fillText(text, 0, 5);
      } else {
        context.rotate(-Math.PI / 2);
        context.fillText(text, 0, 0);
      }
      context.restore();
    });
  }

  // The cell under the pointer; where cells are smaller than the pointer is exact, the strongest near it.
  locate({offsetX, offsetY}) {
    const {label, side, cell} = this.geometry;
    const {run, counts: {cells}} = this.view;
    const classes = run.classes.length;
    const count = (t, p) => cells.get(t * classes + p) ?? 0;
    const x = offsetX - label;
    if (x < 0 || x >= side || offsetY < 0 || offsetY >= side) return null;
    const reach = cell >= 4 ? 0 : 3;
    let best = [Math.floor(offsetY / cell), Math.floor(x / cell)];
    let most = best[0] === best[1] ? 0 : count(...best);
    const clamp = (v) => Math.min(classes - 1, Math.max(0, Math.floor(v / cell)));
    for (let t = clamp(offsetY - reach); t <= clamp(offsetY + reach); ++t) {
      for (let p = clamp(x - reach); p <= clamp(x + reach); ++p) {
        if (t !== p && count(t, p) > most) {
          most = count(t, p);
          best = [t, p];
        }
      }
    }
    return best;
  }

  hover(event) {
    const found = this.locate(event);
    if (!found) return this.tooltip.hide();
    const [t, p] = found;
    const {run, counts, colours} = this.view;
    const count = counts.cells.get(t * run.classes.length + p) ?? 0;
    this.tooltip.show([el("div", {class: "text"},
      el("div", {class: "line"}, el("span", {class: "label"}, "true"), swatch(colours[t]), named(run.classes[t])),
      el("div", {class: "line"}, el("span", {class: "label"}, "predicted"), swatch(colours[p]), named(run.classes[p])),
      el("div", {class: "measures"}, counted(count, "image")))], event);
    return undefined;
  }

  click(event) {
    const found = this.locate(event);
    if (found) this.choose(...found);
  }
  choose(t, p) {
    const {cell} = this.store.state;
    const same = cell[0] === t && cell[1] === p;
    this.store.set({cell: same ? [] : [t, p], trueClass: -1, predictedClass: -1});
  }

  fillList({run, counts, before, state, colours}) {
    const classes = run.classes.length;
    const largest = [...counts.cells].filter(([i]) => Math.floor(i / classes) !== i % classes)
      .sort(([i, a], [j, b]) => b - a || i - j).slice(0, mostListed);
    byId("confusions").replaceChildren(...largest.map(([i, count]) => {
      const [t, p] = [Math.floor(i / classes), i % classes];
      const change = before ? count - (before.cells.get(i) ?? 0) : 0;
      return el("li", {}, el("button", {
        "aria-pressed": String(state.cell[0] === t && state.cell[1] === p),
        title: "Only these images",
        onclick: () => this.choose(t, p),
      }, swatch(colours[t]), named(run.classes[t]), el("span", {class: "arrow"}, "→"), swatch(colours[p]),
      named(run.classes[p]), el("span", {class: "number"}, count.toLocaleString("en")),
      el("span", {class: "change", title: "since the epoch before"}, change === 0 ? "" : (change > 0 ? "+" : "−") + Math.abs(change))));
    }));
    byId("no-confusions").hidden = largest.length > 0;
  }

  step(by) {
    const most = this.view.run.epochs - 1;
    this.store.set({epoch: Math.min(most, Math.max(0, this.store.state.epoch + by))});
  }

  // Through the window, from its beginning when its end is reached.
  togglePlay() {
    if (this.timer) return this.stop();
    const {state} = this.store;
    if (state.epoch >= state.last || state.epoch < state.first) this.store.set({epoch: state.first});
    this.timer = setInterval(() => {
      if (this.store.state.epoch >= this.store.state.last) this.stop();
      else this.store.set({epoch: this.store.state.epoch + 1});
    }, frameTime);
    byId("play").textContent = "❚❚";
    byId("play").setAttribute("aria-label", "Pause");
    return undefined;
  }
  stop() {
    clearInterval(this.timer);
    this.timer = null;
    byId("play").textContent = "▶";
    byId("play").setAttribute("aria-label", "Play the epochs of the window");
  }
}
