// The page: reads the data, derives what every part draws from the state, and hands it to them.
import {Compare, hardForAll} from "./compare.js";
import {Curves} from "./curves.js";
import {decode} from "./data.js";
import {byId, counted, memo} from "./dom.js";
import {Filters} from "./filters.js";
import {Flow} from "./flow.js";
import {Heatmap} from "./heatmap.js";
import {listen} from "./keyboard.js";
import {columns} from "./layout.js";
import {cutTo, Stream, withEpoch} from "./live.js";
import {Matrix} from "./matrix.js";
import {confusion, courses, everyImage, hardestClass, windowMetrics} from "./metrics.js";
import {grouped, matching, sorted} from "./order.js";
import {css, palette} from "./palette.js";
import {Panel} from "./panel.js";
import {Ranges} from "./ranges.js";
import {carried, defaults, fromHash, Store, toHash, unfiltered} from "./state.js";
import {Tooltip} from "./tooltip.js";

// So many predictions are measured and sorted again while the pointer still drags.
const mostLive = 1_000_000;

const {title, runs, live} = decode(byId("data").textContent);
byId("data").remove();
for (const run of runs) {
  run.places = new Map(run.ids.map((id, image) => [id, image]));
  run.hardest = hardestClass(run);
}
const everything = runs.map(everyImage);
const everyCourse = runs.map((run, i) => courses(run, everything[i]));
const rgb = runs.map((run) => palette(run.classes.length));
const palettes = rgb.map((colours) => colours.map(css));
const hard = runs.length > 1
  ? hardForAll(runs, runs.map((run) => windowMetrics(run, 0, run.epochs - 1).rate)) : [];

let printing = false;
const dark = matchMedia("(prefers-color-scheme: dark)");
const themeOf = memo((name) => {
  document.documentElement.dataset.theme = name;
  const style = getComputedStyle(document.documentElement);
  const colour = (key) => style.getPropertyValue(`--${key}`).trim();
  const channels = (key) => [1, 3, 5].map((i) => parseInt(colour(key).slice(i, i + 2), 16));
  const family = getComputedStyle(document.body).fontFamily;
  return {
    ink: colour("ink"), faint: colour("faint"), rule: colour("rule"), accent: colour("accent"), bar: colour("bar"),
    background: colour("paper"), backgroundRgb: channels("paper"), rightRgb: channels("right"), wrongRgb: channels("wrong"),
    veil: colour("veil"), trace: colour("trace"),
    font: (size, weight = 400) => `${weight} ${size}px ${family}`,
  };
});
const geometryOf = memo(columns);
const metricsOf = memo(windowMetrics);
const domainsOf = memo((metrics) => {
  const most = (values) => values.reduce((a, b) => Math.max(a, b), 0);
  const share = (values) => [0, Math.max(0.05, Math.ceil(most(values) * 20) / 20)];
  return {frequency: share(metrics.frequency), variability: [0, most(metrics.variability)], rate: share(metrics.rate)};
});
const none = [];
const filtering = (run, metrics, query, trueClass, predictedClass, cell, link, frequency, variability, rate, epoch) =>
  matching(run, metrics, {query, trueClass, predictedClass, cell, link, frequency, variability, rate, epoch});
const matchingOf = memo(filtering);
const poolOf = memo(filtering);
const sortedOf = memo((run, metrics, rows, sort, reversed) => sorted(run, metrics, rows, sort, reversed));
const groupedOf = memo(grouped);
const placesOf = memo((run, rows) => {
  const places = new Int32Array(run.images).fill(-1);
  rows.forEach((image, place) => (places[image] = place));
  return places;
});
const coursesOf = memo(courses);
const confusionOf = memo(confusion);
const beforeOf = memo((run, rows, epoch) => (epoch > 0 ? confusion(run, rows, epoch - 1) : null));
const othersOf = memo((index) => everyCourse.filter((_, i) => i !== index));

// Everything that the parts draw. What did not change is the very same object.
function derive(state) {
  const run = runs[state.run];
  const all = everything[state.run];
  const metrics = metricsOf(run, state.first, state.last);
  const needsEpoch = state.predictedClass >= 0 || state.cell.length > 0;
  const filters = Object.keys(unfiltered);
  const filtered = filters.some((key) => String(state[key]) !== String(unfiltered[key]));
  const chosen = filtered ? matchingOf(run, metrics, ...filters.map((key) => state[key]), needsEpoch ? state.epoch : -1) : all;
  // The matrix keeps its other cells while one of them is chosen.
  const pool = state.cell.length > 0 ? poolOf(run, metrics, ...filters.map((key) => (key === "cell" ? none : state[key])),
    state.predictedClass >= 0 ? state.epoch : -1) : chosen;
  const order = sortedOf(run, metrics, chosen, state.sort, state.reversed);
  const {rows, groups} = groupedOf(run, order, state.grouped);
  return {
    state, runs, run, rows, groups, metrics, filtered, hard, palettes, everyCourse,
    everything: all,
    live: run.images * run.epochs <= mostLive,
    colours: palettes[state.run],
    rgb: rgb[state.run],
    theme: themeOf(printing ? "light" : state.theme === "auto" ? (dark.matches ? "dark" : "light") : state.theme),
    geometry: geometryOf(byId("rows").clientWidth, run.epochs),
    width: byId("side").clientWidth,
    domains: domainsOf(metrics),
    places: placesOf(run, rows),
    allCourses: everyCourse[state.run],
    shownCourses: filtered ? coursesOf(run, chosen) : everyCourse[state.run],
    pool,
    counts: confusionOf(run, pool, state.epoch),
    before: beforeOf(run, pool, state.epoch),
    others: othersOf(state.run),
  };
}

const store = new Store(fromHash(location.hash, runs), update);
// Another run keeps what means the same there: images by name, epochs that it has.
store.switchTo = (index) => {
  const {state} = store;
  const from = runs[state.run];
  const to = runs[index];
  const last = to.epochs - 1;
  const sameClasses = from.classes.join("\n") === to.classes.join("\n");
  store.set({
    run: index,
    epoch: Math.min(state.epoch, last),
    first: Math.min(state.first, last),
    last: state.last === from.epochs - 1 ? last : Math.min(state.last, last),
    image: state.image >= 0 ? to.places.get(from.ids[state.image]) ?? -1 : -1,
    flowEpochs: [],
    link: [],
    ...(sameClasses ? {} : {trueClass: -1, predictedClass: -1, cell: [], flowClass: defaults(to).flowClass}),
  });
};
// A run that has gained or lost epochs takes the place of what it was.
function replaceRun(index, run) {
  const before = runs[index];
  runs[index] = run;
  everyCourse[index] = courses(run, everything[index]);
  store.set(carried(store.state, before, run));
}
const reset = () => store.set({
  ...defaults(runs[store.state.run]), run: store.state.run, theme: store.state.theme, dim: store.state.dim,
});

const tooltip = new Tooltip(byId("tooltip"));
const heatmap = new Heatmap({scroller: byId("rows"), spacer: byId("spacer"), canvas: byId("cells"), overlay: byId("overlay")},
  store, tooltip);
const matrix = new Matrix(store, tooltip);
const panel = new Panel(store, heatmap);
const parts = [new Filters(store, heatmap), new Curves(byId("curves"), store), new Ranges(byId("curves"), store), panel,
  matrix, new Flow(store, tooltip), new Compare(store), heatmap];

let view = null;
function update(state) {
  view = derive(state);
  const {run, rows} = view;
  byId("summary").textContent = [
    view.runs.length === 1 && run.name ? run.name.slice(0, 80) : null,
    `${run.split} split`, `${run.classes.length.toLocaleString("en")} classes`, counted(run.epochs, "epoch"),
  ].filter(Boolean).join(" · ");
  for (const part of parts) part.render(view);
  byId("theme").setAttribute("aria-label", `Colours: ${state.theme}`);
  byId("theme").textContent = {auto: "Auto", light: "Light", dark: "Dark"}[state.theme];
  const image = state.image >= 0 ? `, image ${run.ids[state.image].slice(0, 80)}` : "";
  byId("announcement").textContent = `Epoch ${state.epoch + run.firstEpoch}${image}, ${counted(rows.length, "image")} shown`;
  const hash = toHash(state, run);
  if (hash !== location.hash.slice(1)) history.replaceState(null, "", hash ? `#${hash}` : location.href.split("#")[0]);
}

byId("title").textContent = title;
byId("reset").addEventListener("click", reset);
byId("theme").addEventListener("click", () => {
  const order = ["auto", "light", "dark"];
  store.set({theme: order[(order.indexOf(store.state.theme) + 1) % 3]});
});
byId("help-open").addEventListener("click", () => byId("help").showModal());
byId("help-close").addEventListener("click", () => byId("help").close());
dark.addEventListener("change", () => store.set({}));
// Canvases are printed as they stand: in light colours, and so high that a page holds them.
for (const event of ["beforeprint", "afterprint"]) {
  addEventListener(event, () => {
    printing = event === "beforeprint";
    document.documentElement.classList.toggle("printing", printing);
    // Chromium prints the calls themselves, and clearing a canvas would clear what lies under it: a new
    // canvas is clear without.
    byId("overlay").width = 0;
    store.flush();
  });
}
new ResizeObserver(() => store.set({})).observe(byId("rows"));
addEventListener("hashchange", () => store.set(fromHash(location.hash, runs)));
listen({store, matrix, panel, heatmap, reset});
store.flush();
if (live) {
  byId("live").hidden = false;
  new Stream(live, byId("live"), {
    epochs: () => runs[0].epochs,
    epoch: (data) => replaceRun(0, withEpoch(runs[0], data)),
    cut: (epochs) => replaceRun(0, cutTo(runs[0], epochs)),
  }).open();
}

// For the console, and for tests/web.
globalThis.evolution = {store, heatmap, matrix, runs, view: () => view};
