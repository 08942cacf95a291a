// The bar above: search, classes, order, and what is filtered now as chips that can be taken off.
import {byId, counted, el, named, swatch, whenChanged} from "./dom.js";
import {measures, sorts} from "./order.js";
import {unfiltered} from "./state.js";
import {twoDecimals} from "./metrics.js";

const mostInLegend = 24;

export class Filters {
  constructor(store, heatmap) {
    this.store = store;
    const bind = (id, event, patch) => byId(id).addEventListener(event, ({target}) => store.set(patch(target)));
    bind("query", "input", ({value}) => ({query: value}));
    bind("true-class", "change", ({value}) => ({trueClass: Number(value), cell: []}));
    bind("predicted-class", "change", ({value}) => ({predictedClass: Number(value), cell: []}));
    bind("sort", "change", ({value}) => ({sort: value, reversed: false}));
    bind("reverse", "click", () => ({reversed: !store.state.reversed}));
    bind("grouped", "change", ({checked}) => ({grouped: checked}));
    bind("dim", "change", ({checked}) => ({dim: checked}));
    byId("zoom-in").addEventListener("click", () => heatmap.zoomBy(1.6));
    byId("zoom-out").addEventListener("click", () => heatmap.zoomBy(1 / 1.6));
    byId("zoom-fit").addEventListener("click", () => store.set({zoom: 1}));
    byId("sort").append(...Object.entries(sorts).map(([value, name]) => el("option", {value}, name)));
    this.choices = whenChanged(({run}) => [run.classes], (view) => this.fillChoices(view));
    this.legend = whenChanged(({run, colours, state}) => [run.classes, colours, state.trueClass], (view) => this.fillLegend(view));
    this.chips = whenChanged(
      ({run, state}) => [run, state.epoch, ...Object.keys(unfiltered).map((key) => state[key]), state.first, state.last],
      (view) => this.fillChips(view));
  }

  render(view) {
    const {state, rows, run} = view;
    this.choices(view);
    this.legend(view);
    this.chips(view);
    const set = (id, value) => {
      if (byId(id).value !== String(value)) byId(id).value = value;
    };
    set("query", state.query);
    set("true-class", state.trueClass);
    set("predicted-class", state.predictedClass);
    set("sort", state.sort);
    byId("grouped").checked = state.grouped;
    byId("dim").checked = state.dim;
    byId("reverse").setAttribute("aria-pressed", String(state.reversed));
    byId("count").textContent = rows.length === run.images
      ? counted(run.images, "image") : `${rows.length.toLocaleString("en")} of ${counted(run.images, "image")}`;
    byId("empty").hidden = rows.length > 0;
  }

  fillChoices({run}) {
    for (const [id, any] of [["true-class", "any true class"], ["predicted-class", "any predicted class"], ["flow-class", "all shown images"]]) {
      byId(id).replaceChildren(el("option", {value: -1}, any),
        ...run.classes.map((name, c) => el("option", {value: c}, name.slice(0, 60) || "(no name)")));
    }
  }

  // For more classes the groups' labels and the tooltip have to do.
  fillLegend({run, colours, state}) {
    byId("legend").hidden = run.classes.length > mostInLegend;
    if (run.classes.length > mostInLegend) return;
    byId("legend").replaceChildren(...run.classes.map((name, c) =>
      el("button", {
        "aria-pressed": String(state.trueClass === c),
        title: "Only images of this class",
        onclick: () => this.store.set({trueClass: state.trueClass === c ? -1 : c, cell: []}),
      }, swatch(colours[c]), named(name))));
  }

  fillChips({run, state}) {
    const name = (c) => named(run.classes[c]);
    const number = (e) => String(e + run.firstEpoch);
    const chips = [];
    const chip = (patch, ...content) => chips.push(
      el("button", {class: "chip", title: "Take this filter off", onclick: () => this.store.set(patch)}, content,
        el("span", {"aria-hidden": "true", class: "cross"}, "×")));
    if (state.first > 0 || state.last < run.epochs - 1) {
      chip({first: 0, last: run.epochs - 1}, `epochs ${number(state.first)}–${number(state.last)}`);
    }
    if (state.query) chip({query: ""}, "name has ", named(state.query));
    if (state.trueClass >= 0) chip({trueClass: -1}, "true ", name(state.trueClass));
    if (state.predictedClass >= 0) {
      chip({predictedClass: -1}, `at epoch ${number(state.epoch)} predicted `, name(state.predictedClass));
    }
    if (state.cell.length > 0) {
      chip({cell: []}, `at epoch ${number(state.epoch)} `, name(state.cell[0]), " taken for ", name(state.cell[1]));
    }
    if (state.link.length > 0) {
      const [from, a, to, b] = state.link;
      chip({link: []}, name(a), ` at ${number(from)} → `, name(b), ` at ${number(to)}`);
    }
    const titles = {frequency: "frequency", variability: "variability", rate: "error rate"};
    for (const key of measures) {
      const show = key === "variability" ? String : twoDecimals;
      if (state[key].length > 0) chip({[key]: []}, `${titles[key]} ${show(state[key][0])}–${show(state[key][1])}`);
    }
    byId("chips").replaceChildren(...chips);
  }
}
