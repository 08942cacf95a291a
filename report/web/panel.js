// The panel of one image: photograph, measures, probabilities and predictions over the epochs, its
// history in other runs, and its explanations.
import {area, line} from "./d3.js";
import {byId, el, named, refill, svg, swatch, whenChanged} from "./dom.js";
import {probabilityAt} from "./data.js";
import {Explained} from "./explanations.js";
import {twoDecimals} from "./metrics.js";
import {drawStrip} from "./tooltip.js";

const height = 96;

export class Panel {
  constructor(store, heatmap, provider) {
    this.store = store;
    this.explained = new Explained(provider);
    byId("image-close").addEventListener("click", () => store.set({image: -1}));
    byId("image-earlier").addEventListener("click", () => this.step(-1));
    byId("image-later").addEventListener("click", () => this.step(1));
    this.heatmap = heatmap;
    this.draw = whenChanged(
      ({run, state, metrics, colours, width, rows}) => [run, state.image, state.epoch, metrics, colours, width, rows],
      (view) => this.drawPanel(view));
  }

  render(view) {
    this.view = view;
    this.draw(view);
  }

  // To another row; from none to the first one.
  step(by) {
    const {rows, places} = this.view;
    if (rows.length === 0) return;
    const {image} = this.store.state;
    const place = image >= 0 ? places[image] : -1;
    const next = place < 0 ? 0 : Math.min(rows.length - 1, Math.max(0, place + by));
    this.store.set({image: rows[next]});
  }

  drawPanel(view) {
    const {run, state, metrics, colours, runs, palettes} = view;
    const {image, epoch} = state;
    byId("image").hidden = image < 0;
    if (image < 0) return;
    const t = run.truth[image];
    const index = image * run.epochs + epoch;
    const c = run.predicted[index];
    const picture = run.thumbnails && run.thumbnails[image];
    const fact = (label, ...content) => [el("dt", {}, label), el("dd", {}, content)];
    const probability = (values) => {
      const p = probabilityAt(values, index);
      return p === null ? null : el("span", {class: "number"}, twoDecimals(p));
    };
    byId("image-title").replaceChildren(el("bdi", {}, run.ids[image]));
    const width = byId("image-body").clientWidth || 340;
    const strip = el("canvas", {class: "strip", role: "img", "aria-label": "Predictions over the epochs"});
    const elsewhere = runs.map((other, i) => ({other, i, at: other.places.get(run.ids[image])}))
      .filter(({other, at}) => other !== run && at !== undefined)
      .map(({other, i, at}) => ({other, colours: palettes[i], at, canvas: el("canvas", {class: "strip"})}));
    const {below, maps} = this.explained.place(view, width);
    refill(byId("image-body"), ...[
      el("div", {class: "facts"},
        picture ? el("img", {src: picture, alt: ""}) : null,
        el("dl", {},
          fact("true", swatch(colours[t]), named(run.classes[t]), probability(run.trueProbability)),
          fact(`epoch ${epoch + run.firstEpoch}`, swatch(colours[c]), named(run.classes[c]), probability(run.probability)),
          fact("frequency", el("span", {class: "number"}, twoDecimals(metrics.frequency[image]))),
          fact("variability", el("span", {class: "number"}, String(metrics.variability[image]))),
          fact("error rate", el("span", {class: "number"}, twoDecimals(metrics.rate[image]))),
          fact("first learnt", metrics.learnt[image] > metrics.last ? "never"
            : `epoch ${metrics.learnt[image] + run.firstEpoch}`))),
      run.probability || run.trueProbability ? this.curve(view, width) : null,
      strip,
      below,
      ...elsewhere.map(({other, canvas}) => el("div", {class: "elsewhere"}, named(other.name), canvas)),
      maps,
    ].filter(Boolean));
    drawStrip(strip, view, image, width, 14, epoch);
    for (const {other, colours: paints, at, canvas} of elsewhere) {
      drawStrip(canvas, {run: other, colours: paints}, at, width, 10);
    }
  }

  curve({run, state, colours}, width) {
    const {image, epoch} = state;
    const x = (e) => ((e + 0.5) * width) / run.epochs;
    const y = (p) => 4 + (1 - p) * (height - 8);
    const values = (source) =>
      source ? Array.from({length: run.epochs}, (_, e) => probabilityAt(source, image * run.epochs + e)) : [];
    const known = (p) => p !== null;
    const curve = line().defined(known).x((_, e) => x(e)).y(y);
    const filled = area().defined(known).x((_, e) => x(e)).y0(y(0)).y1(y);
    const truth = values(run.trueProbability);
    const predicted = values(run.probability);
    const label = el("div", {class: "keys"},
      truth.length ? el("span", {class: "truth"}, "probability of the true class") : null,
      predicted.length ? el("span", {class: "prediction"}, "of the predicted class") : null);
    return el("div", {}, label, svg("svg", {width, height, role: "img", "aria-label": "Probabilities over the epochs", class: "probabilities"},
      svg("line", {class: "base", x1: 0, x2: width, y1: y(0), y2: y(0)}),
      svg("line", {class: "grid", x1: 0, x2: width, y1: y(0.5), y2: y(0.5)}),
      svg("line", {class: "base", x1: 0, x2: width, y1: y(1), y2: y(1)}),
      svg("path", {class: "filled", d: filled(truth) ?? ""}),
      svg("path", {class: "line all", d: curve(truth) ?? ""}),
      svg("path", {class: "line train", d: curve(predicted) ?? ""}),
      run.epochs <= 120 ? predicted.map((p, e) => (p === null ? null : svg("circle",
        {cx: x(e), cy: y(p), r: 2.2, fill: colours[run.predicted[image * run.epochs + e]]}))) : [],
      svg("line", {class: "here", x1: x(epoch), x2: x(epoch), y1: 0, y2: height})));
  }
}
