// Several runs: buttons to change between them, and the images that are hard for all of them.
import {byId, el, named, swatch, whenChanged} from "./dom.js";
import {twoDecimals} from "./metrics.js";
import {drawStrip} from "./tooltip.js";

const mostListed = 25;

// Images (by name) that every run has, hardest first: by the lowest rate of any run, then the mean.
// [{id, at: [index per run], rates: [per run]}]
export function hardForAll(runs, rates) {
  const [first, ...others] = runs;
  const found = [];
  first.ids.forEach((id, image) => {
    const at = [image, ...others.map((run) => run.places.get(id))];
    if (at.includes(undefined)) return;
    const each = at.map((i, k) => rates[k][i]);
    const least = Math.min(...each);
    if (least > 0) found.push({id, at, rates: each, least, sum: each.reduce((a, b) => a + b, 0)});
  });
  return found.sort((a, b) => b.least - a.least || b.sum - a.sum);
}

export class Compare {
  constructor(store) {
    this.store = store;
    this.draw = whenChanged(({runs, palettes, run, width}) => [runs, palettes, run, width], (view) => this.drawAll(view));
  }

  render(view) {
    byId("compare").hidden = view.runs.length < 2;
    byId("runs").hidden = view.runs.length < 2;
    if (view.runs.length > 1) this.draw(view);
  }

  drawAll(view) {
    const {runs, run, palettes, hard, everyCourse} = view;
    byId("runs").replaceChildren(...runs.map((other, i) => el("button", {
      "aria-pressed": String(other === run),
      onclick: () => this.store.switchTo(i),
    }, named(other.name || `run ${i + 1}`), el("span", {class: "number"},
      twoDecimals(everyCourse[i].accuracy[other.epochs - 1])))));
    byId("hard-note").textContent = hard.length === 0
      ? "No image is wrong in every run."
      : `${hard.filter(({least}) => least >= 0.5).length.toLocaleString("en")} images are wrong in at least half of the epochs of every run. Hardest first, with the error rate of each run:`;
    const current = runs.indexOf(run);
    byId("hard").replaceChildren(...hard.slice(0, mostListed).map(({id, at, rates}) => {
      const strips = at.map((image, k) => ({image, k, canvas: el("canvas", {class: "strip"})}));
      const item = el("li", {}, el("button", {onclick: () => this.store.set({image: at[current]})},
        el("span", {class: "name"}, swatch(palettes[0][runs[0].truth[at[0]]]), named(id)),
        strips.map(({canvas, k}) => el("span", {class: "one", title: twoDecimals(rates[k])}, canvas,
          runs.length > 4 ? null : el("span", {class: "number"}, twoDecimals(rates[k]))))));
      for (const {image, k, canvas} of strips) {
        drawStrip(canvas, {run: runs[k], colours: palettes[k]}, image, Math.max(6, Math.min(60, 200 / runs.length - (runs.length > 4 ? 6 : 36))), 10);
      }
      return item;
    }));
  }
}
