// The report of a run around its Confusion Evolution page: configuration, network and curves before
// it; confusion, examples, trust and methods after it. cli/report.cpp writes what it shows.
import {line, scaleLinear} from "./d3.js";
import {shown} from "./data.js";
import {brief, byId, counted, el, named, svg, swatch} from "./dom.js";
import {colourWords, fault, trustLines} from "./explanations.js";
import {methods} from "./methods.js";

const mostClasses = 40;  // whose confusion is drawn as a table

export function drawReport(report, run, colours, store) {
  document.documentElement.classList.add("with-report");
  const before = [configuration(report), model(report), curves(report)];
  const after = [confusion(report, run, colours, store), examples(run, colours, store), trust(report), summary(report)];
  byId("before").replaceChildren(headline(report), ...before.filter(Boolean), section("Confusion Evolution",
    "Every row is an image, every column an epoch. Click a row to see its photograph, its history and its explanations; a dot marks those that are explained."));
  byId("after").replaceChildren(...after.filter(Boolean), el("footer", {class: "quiet"}, `Made by ${shown(report.program)}.`));
  const sections = [...document.querySelectorAll(".report h2[id]")];
  byId("contents").replaceChildren(el("b", {}, shown(report.run)), ...sections.map((heading) =>
    el("button", {onclick: () => lead(heading)}, heading.textContent)), el("span", {class: "spread"}), byId("theme"));
  for (const id of ["before", "after", "contents"]) byId(id).hidden = false;
}

// To a place of the page, and the focus to `target` in it.
function lead(place, target = place) {
  target.focus({preventScroll: true});
  place.scrollIntoView({behavior: "smooth"});
}

const title = (text, id, note = null) =>
  el("div", {class: "title"}, el("h2", {id, tabindex: "-1"}, text), note ? el("p", {class: "quiet"}, note) : null);

function section(heading, note, ...content) {
  const id = `section-${heading.toLowerCase().replace(/\W+/g, "-")}`;
  return el("section", {"aria-labelledby": id}, title(heading, id, note), content);
}

const percent = (share) => (share === null ? "–" : `${(100 * share).toFixed(1)} %`);
const decimals = (value, digits = 2) => (value === null || value === undefined ? "–" : value.toFixed(digits).replace("-", "−"));
const grouped = (number) => number.toLocaleString("en");

function headline({run, facts}) {
  return el("section", {class: "headline", "aria-label": "In short"}, el("h1", {}, "Report of ", named(shown(run))),
    el("dl", {}, facts.map(([label, value, note]) => el("div", {},
      el("dt", {}, label), el("dd", {}, el("b", {}, shown(value)), note ? el("span", {class: "quiet"}, shown(note)) : null)))));
}

// heads: [text, "right" for numbers]; rows of texts or nodes; the last `feet` of them below a line.
function table(heads, rows, feet = 0) {
  const cell = (content, k, tag = "td") => el(tag, {class: heads[k][1] || null, scope: tag === "th" ? "col" : null}, content);
  const row = (cells) => el("tr", {}, cells.map((content, k) => cell(content, k)));
  return el("div", {class: "scroll"}, el("table", {},
    el("thead", {}, el("tr", {}, heads.map(([text], k) => cell(text, k, "th")))),
    el("tbody", {}, rows.slice(0, rows.length - feet).map(row)),
    feet > 0 ? el("tfoot", {}, rows.slice(rows.length - feet).map(row)) : null));
}

function configuration({configuration: groups}) {
  return section("Configuration", "Everything that is needed to train the same network again; also in the run's config.json.",
    el("div", {class: "groups"}, groups.map(({title: name, rows}) => el("div", {}, el("h3", {}, name),
      el("dl", {class: "pairs"}, rows.flatMap(([key, value]) => [el("dt", {}, key), el("dd", {}, shown(value))]))))));
}

function model({model: {name, imageSize, parameters, flops, stages, layers}}) {
  const heads = [["layer"], ["kind"], ["output (height, width, channels)"], ["parameters", "right"], ["MFLOP", "right"]];
  const cells = ({path, kind, output, parameters: own, flops: work}) =>
    [path, kind, output.slice(1).join(" × "), own > 0 ? grouped(own) : "", work > 0 ? (work / 1e6).toFixed(1) : ""];
  return section("Model", `${name} at ${imageSize} px: ${grouped(parameters)} parameters, ${(flops / 1e9).toFixed(2)} GFLOP an image (a multiply-add counts as two).`,
    table(heads, [...stages.map((stage) => cells({kind: counted(stage.layers, "layer"), ...stage})),
      ["all", "", "", grouped(parameters), (flops / 1e6).toFixed(1)]], 1),
    el("details", {}, el("summary", {}, `All ${layers.length} layers`), table(heads, layers.map(cells))));
}

// --- curves ---------------------------------------------------------------------------------------

function curves({metrics, best}) {
  const of = (key) => metrics.map((epoch) => epoch[key] ?? null);
  const known = (...lines) => lines.filter(({values}) => values.some((value) => value !== null));
  const charts = [
    ["Accuracy", known({name: "train", kind: "train", values: of("train_accuracy")},
      {name: "validation", kind: "shown", values: of("validation_accuracy")},
      {name: "test", kind: "all", values: of("test_accuracy")}), percent, 1],
    ["Loss", known({name: "train", kind: "train", values: of("train_loss")},
      {name: "validation", kind: "shown", values: of("validation_loss")},
      {name: "test", kind: "all", values: of("test_loss")}), (value) => decimals(value)],
    ["Flux", known({name: "test", kind: "all", values: of("flux")}), percent],
    ["Learning rate", known({name: "", kind: "all", values: of("learning_rate")}), (value) => value.toPrecision(2)],
  ].filter(([, lines]) => lines.length > 0);
  return section("Curves", `The dot is the best epoch, ${best}, whose weights are explained here. Flux is the share of test images whose prediction changed.`,
    el("div", {class: "charts"}, charts.map(([name, lines, text, most]) => chart(name, lines, text, metrics.map(({epoch}) => epoch), best, most))));
}

function chart(name, lines, text, epochs, best, most = null) {
  const [width, height, left, right, top, bottom] = [540, 210, 52, 66, 14, 26];
  const values = lines.flatMap((one) => one.values).filter((value) => value !== null);
  const high = most ?? (Math.max(...values) * 1.04 || 1);
  const y = scaleLinear().domain([0, high]).range([height - bottom, top]);
  const x = scaleLinear().domain([epochs[0], epochs[epochs.length - 1]]).range([left + 6, width - right]);
  const at = (k) => (epochs.length > 1 ? x(epochs[k]) : (left + width - right) / 2);
  const curve = line().defined((value) => value !== null).x((_, k) => at(k)).y(y);
  const ticks = x.ticks(Math.min(8, epochs.length)).filter(Number.isInteger);
  const place = epochs.indexOf(best);
  // Names at the lines' ends, apart from each other.
  const ends = lines.map((one) => ({one, y: y(one.values.filter((value) => value !== null).pop())})).sort((a, b) => a.y - b.y);
  ends.forEach((end, k) => (end.y = k === 0 ? end.y : Math.max(end.y, ends[k - 1].y + 13)));
  const last = (one) => text(one.values.filter((value) => value !== null).pop());
  return el("figure", {}, el("figcaption", {}, el("b", {}, name)),
    svg("svg", {viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${name} over the epochs, at the end ${
      lines.map((one) => `${one.name} ${last(one)}`).join(", ")}`},
      y.ticks(4).flatMap((value) => [
        svg("line", {class: "base", x1: left, x2: width - right, y1: y(value), y2: y(value)}),
        svg("text", {class: "tick", x: left - 8, y: y(value) + 4, "text-anchor": "end"}, text(value).replace(".0 %", " %"))]),
      ticks.map((value) => svg("text", {class: "tick", x: x(value), y: height - 8, "text-anchor": "middle"}, String(value))),
      lines.map((one) => svg("path", {class: `line ${one.kind}`, d: curve(one.values) ?? ""})),
      lines.filter((one) => place >= 0 && one.kind === "all" && one.values[place] !== null).map((one) =>
        svg("circle", {class: "dot", cx: at(place), cy: y(one.values[place]), r: 4}, svg("title", {}, `epoch ${best}: ${text(one.values[place])}`))),
      ends.map(({one, y: end}) => svg("text", {class: `value of-${one.kind}`, x: width - right + 7, y: end + 4}, one.name))));
}

// --- confusion ------------------------------------------------------------------------------------

function confusion({confusion: {epoch, accuracy, classes, cells, macro}}, run, colours, store) {
  const name = (c) => el("span", {class: "class"}, swatch(colours[c]), named(run.classes[c]));
  const few = classes.length <= mostClasses;
  const scores = table([["class"], ["images", "right"], ["precision", "right"], ["recall", "right"], ["F1", "right"]],
    [...classes.map(({images, precision, recall, f1}, c) => [name(c), grouped(images), percent(precision), percent(recall), percent(f1)]),
     ["mean", grouped(classes.reduce((sum, {images}) => sum + images, 0)), percent(macro.precision), percent(macro.recall), percent(macro.f1)]], 1);
  return section("Confusion matrix", `The test images after epoch ${epoch}: ${percent(accuracy)} right. Rows are true classes, columns predicted ones; a click on a cell shows its images above.`,
    el("div", {class: few ? "beside" : null}, few ? matrix(run, colours, classes, cells, (t, p) => {
      store.set({epoch: epoch - run.firstEpoch, cell: [t, p], trueClass: -1, predictedClass: -1});
      lead(byId("evolution"), byId("rows"));
    }) : null, scores));
}

function matrix(run, colours, classes, cells, choose) {
  const counts = new Map(cells.map(([t, p, count]) => [t * classes.length + p, count]));
  const head = (c) => el("th", {scope: "col"}, el("span", {}, named(run.classes[c])));
  const cell = (t, p) => {
    const count = counts.get(t * classes.length + p) ?? 0;
    const share = classes[t].images > 0 ? Math.sqrt(count / classes[t].images) : 0;
    const kind = t === p ? "right" : "wrong";
    return el("td", {style: `--share:${share.toFixed(3)}`, class: `cell ${kind}${share > 0.62 ? " strong" : ""}`},
      count > 0 ? el("button", {title: `${brief(run.classes[t])} predicted as ${brief(run.classes[p])}`, onclick: () => choose(t, p)}, grouped(count)) : "");
  };
  return el("div", {class: "scroll"}, el("table", {class: "matrix"},
    el("thead", {}, el("tr", {}, el("th", {class: "corner", scope: "col"}, el("span", {class: "quiet"}, "true \\ predicted")), classes.map((_, c) => head(c)))),
    el("tbody", {}, classes.map((_, t) => el("tr", {}, el("th", {scope: "row"}, el("span", {class: "class"}, swatch(colours[t]), named(run.classes[t]))),
      classes.map((__, p) => cell(t, p)))))));
}

// --- examples -------------------------------------------------------------------------------------

function examples(run, colours, store) {
  if (run.explanations.length === 0) return null;
  const name = (c) => el("span", {class: "class"}, swatch(colours[c]), named(run.classes[c]));
  const open = ({image}) => {
    store.set({image});
    lead(byId("evolution"), byId("rows"));
  };
  const card = (one) => el("article", {class: "example"},
    el("div", {class: "line"}, name(one.predicted), el("span", {class: "number"}, percent(one.probability)),
      one.predicted === one.trueClass ? el("span", {class: "verdict quiet"}, "right")
        : el("span", {class: "verdict wrong"}, "truly ", name(one.trueClass)),
      el("button", {class: "quiet-button", onclick: () => open(one)}, "Its history")),
    one.why ? el("p", {class: "quiet"}, one.why, el("span", {class: "id"}, " · ", named(run.ids[one.image]))) : null,
    one.warning ? el("p", {class: "warning"}, one.warning) : null,
    el("div", {class: "row"}, [{name: "Photograph", picture: one.photograph, note: "", trust: []}, ...one.methods].map((map) =>
      el("figure", {}, el("img", {src: map.picture, alt: map.name}),
        el("figcaption", {}, el("b", {}, map.name), map.note ? el("span", {}, map.note) : null, trustLines(map.trust))))));
  const part = (heading, list) => list.length === 0 ? null
    : el("div", {}, el("h3", {}, `${heading} (${list.length})`), el("div", {class: "examples"}, list.map(card)));
  const right = run.explanations.filter((one) => one.predicted === one.trueClass);
  const wrong = run.explanations.filter((one) => one.predicted !== one.trueClass);
  return section("Examples", "What the best network's answers rest on. Maps explain the predicted class. Deletion should be lower and insertion higher than those of random maps, in brackets; where they are not, there is a ✗. " +
    colourWords(run.explanations[0].methods),
    part("Wrong", wrong), part("Right", right));
}

// --- trust ----------------------------------------------------------------------------------------

function trust({trust: found, methods: names}) {
  if (!found) return section("Trust checks", "Left out: this report was made with --no-trust.");
  const {images, correct, sanityImages, masks, doubts, methods: rows, ofExamples} = found;
  const title = (method) => names.find((one) => one.method === method)?.name ?? method;
  const gain = ({gain: by, standardError, better}) => by === null ? "–"
    : el("span", {class: better ? null : "worse"}, `${by > 0 ? "+" : ""}${decimals(by, 3)} ± ${decimals(standardError, 3)}`, better ? null : fault("no better than random maps"));
  const verdict = ({passes, doubts: why}) => el("span", {class: passes ? null : "worse"}, passes ? "passes" : `fails: ${why.join("; ") || "the network has learnt nothing"}`);
  const areas = ({deletion, insertion}) => [decimals(deletion.mean, 3), decimals(deletion.chance, 3), gain(deletion),
    decimals(insertion.mean, 3), decimals(insertion.chance, 3), gain(insertion)];
  const right = (text) => [text, "right"];
  const heads = [["method"], right("deletion"), right("random"), right("better by"), right("insertion"), right("random"), right("better by")];
  return section("Trust checks", `On ${counted(images, "test image")} drawn evenly from the classes, ${grouped(correct)} of them right. A method passes when its maps change with the network's weights and name pixels that matter more than random ones.`,
    doubts.map((doubt) => el("p", {class: "warning"}, `The explanations of this network cannot be trusted: ${doubt}.`)),
    rows.length > 0 ? table([...heads, ["verdict"]], rows.map((row) => [title(row.method), ...areas(row), verdict(row)])) : null,
    el("p", {class: "quiet"}, "The answer's probability as a map's pixels are deleted (a low mean is good) or inserted (a high one is), beside random maps. ✗: no better than those."),
    ofExamples.length > 0 ? el("div", {}, el("h3", {}, "The same of the explained images"),
      table(heads, ofExamples.map((row) => [title(row.method), ...areas(row)]))) : null,
    sanityImages > 0 && rows.length > 0 ? el("div", {}, el("h3", {}, "Weights drawn anew, from the answer down"),
      randomisation(rows, title),
      el("p", {class: "quiet"}, `Rank correlation with the network's own map, mean of ${counted(sanityImages, "image")}. It should fall towards 0: a map that stays as it was shows the picture, not the network.`)) : null,
    masks > 0 && rows.length > 0 ? el("div", {}, el("h3", {}, `Pointing game, ${counted(masks, "image")} with a mask of the object`),
      table([["class"], right("images"), right("chance"), ...rows.flatMap(({method}) => [right(`${title(method)}: hits`), right("energy")])],
        rows[0].pointing.map((of, k) => [shown(of.class), grouped(of.images), percent(of.hits.chance),
          ...rows.flatMap(({pointing}) => [percent(pointing[k].hits.mean), percent(pointing[k].energy.mean)])]), 1),
      el("p", {class: "quiet"}, "Hits: how often the highest pixel lies on the object. Energy: the share of the map that does. Chance: the object's share of the picture.")) : null);
}

function randomisation(rows, title) {
  const layers = rows[0].randomisation.map(({layer}) => layer);
  return table([["down to"], ...rows.map(({method}) => [title(method), "right"])],
    [...layers.map((layer, k) => [layer, ...rows.map(({randomisation: of}) => decimals(of[k].correlation))]),
     ["mean", ...rows.map(({meanCorrelation, staysHigh}) => el("span", {class: staysHigh ? "worse" : null}, decimals(meanCorrelation), staysHigh ? fault("stays high") : null))]], 1);
}

function summary({methods: names}) {
  return section("Methods", "What each can tell, and what it cannot. docs/methods has a page on each.",
    el("dl", {class: "methods"}, names.flatMap(({method, name}) => {
      const [tells, cannot] = methods[method] ?? ["", ""];
      return [el("dt", {}, shown(name)), el("dd", {}, tells, " ", el("span", {class: "quiet"}, cannot))];
    })));
}
