// Explanations of single images, wherever they come from, and how the panel shows them.
//
// A provider has `of(run, image)`, a promise of an explanation or null; `images(run)`, a Set of
// those that have one beforehand; and `hint`, what stands where there is none. One that takes a while also
// has `has(image)`, whether it was asked, `epochs(image)`, how many the run had then, and `forget(image)`. An explanation is what
// report/shown_explanation.h writes, with names as they can be shown.
import {line} from "./d3.js";
import {shown} from "./data.js";
import {byId, el, named, refill, svg, swatch} from "./dom.js";
import {twoDecimals} from "./metrics.js";

// What lies in the page itself.
export function embedded(runs) {
  const known = new Map(runs.map((run) => [run, new Map(run.explanations.map((one) => [one.image, one]))]));
  const images = new Map(runs.map((run) => [run, new Set(known.get(run).keys())]));
  return {
    of: (run, image) => Promise.resolve(known.get(run).get(image) ?? null),
    images: (run) => images.get(run),
    hint: (run) => (images.get(run).size > 0
      ? "This page explains other images, those with a dot in the heatmap; more of them with --explain."
      : "This page was made without explanations: glassnet report RUN has them, and evolve with --explain."),
  };
}

// What a server computes when a reader asks for it with a click: `address(image)`. Those that came are
// remembered.
export function fetched(address) {
  const answers = new Map();
  const none = new Set();
  return {
    has: (image) => answers.has(image),
    epochs: (image) => answers.get(image)?.epochs,
    forget: (image) => answers.delete(image),
    of(run, image) {
      if (!answers.has(image)) {
        const answer = fetch(address(image)).then(async (response) => {
          if (!response.ok) throw new Error(shown((await response.text()).slice(0, 400)) || response.statusText);
          return decodeExplanation(await response.json());
        });
        answers.set(image, {answer, epochs: run.epochs});
        answer.catch(() => answers.delete(image));  // the next click asks again
      }
      return answers.get(image).answer;
    },
    images: () => none,
    hint: () => "",
  };
}

export function decodeExplanation(one) {
  return {
    ...one,
    why: shown(one.why || ""),
    warning: shown(one.warning || ""),
    kept: one.kept || [],
    methods: one.methods.map((method) => ({
      ...method, name: shown(method.name), note: shown(method.note || ""), trust: method.trust || [],
    })),
  };
}

// The place of one image's explanation. It stays through redraws of the panel around it.
export class Explained {
  constructor(provider) {
    this.provider = provider;
    this.node = null;
  }

  // {below, maps}: what stands right below the predictions, and what stands at the end.
  place(view, width) {
    const {run, state} = view;
    this.view = view;
    this.width = width;
    this.run = run;
    if (!this.node || this.ids !== run.ids || this.image !== state.image) {
      this.ids = run.ids;  // which stay the same while a run grows
      this.image = state.image;
      this.method = this.method ?? 0;
      this.explanation = null;
      this.node = {
        below: el("div", {class: "drift"}),
        maps: el("div", {class: "explanations", "data-image": state.image, role: "group", "aria-label": "Explanation", tabindex: "-1"}),
      };
      if (this.provider.has && !this.provider.has(state.image)) this.node.maps.append(this.button("Explain with the best weights so far"));
      else this.ask(this.node);
    }
    if (this.explanation) this.drawDrift();
    this.offerAgain();
    return this.node;
  }

  // An epoch after it was asked for, the best weights may be others.
  offerAgain() {
    if (this.again) this.again.hidden = this.run.epochs === this.provider.epochs(this.image);
  }

  button(text) {
    return el("button", {onclick: () => {
      this.provider.forget(this.image);
      this.ask(this.node, (text) => (byId("announcement").textContent = text));
    }}, text);
  }

  async ask(node, announce = () => {}) {
    const {run, image} = this;
    this.explanation = null;
    this.again = null;
    refill(node.maps, el("p", {class: "quiet"}, "Explaining …"));
    let explanation = null;
    let trouble = "";
    try {
      explanation = await this.provider.of(run, image);
    } catch (error) {
      trouble = error.message;
    }
    if (node !== this.node) return;  // another image was chosen meanwhile
    this.explanation = explanation;
    if (explanation === null) {
      node.maps.replaceChildren(el("p", {class: trouble ? "warning" : "quiet"}, trouble || this.provider.hint(run)));
      if (this.provider.has) node.maps.append(this.button("Try again"));
      announce(`Not explained: ${trouble}`);
      return;
    }
    this.fill();
    if (this.provider.has) {
      this.again = this.button("Explain again with the best weights so far");
      this.offerAgain();
      node.maps.append(this.again);
    }
    this.drawDrift();
    announce(`Explained: ${run.classes[explanation.predicted]} with ${percent(explanation.probability)}`);
  }

  fill() {
    const {explanation, run, view} = this;
    const {methods, photograph, predicted, probability, epoch, why, warning} = explanation;
    const figure = (name, picture, ...below) => el("figure", {},
      el("button", {"aria-label": `${name}, larger`, title: "Larger", onclick: () => enlarge(explanation)}, el("img", {src: picture, alt: name})),
      el("figcaption", {}, el("b", {}, name), below));
    this.node.maps.replaceChildren(...[
      el("h3", {}, "What it rests on"),
      el("p", {class: "quiet asked"}, "Why ", swatch(view.colours[predicted]), named(run.classes[predicted]), ` with ${percent(probability)}`,
        epoch > 0 ? `, asked of the weights of epoch ${epoch}` : "", "."),
      why ? el("p", {class: "quiet"}, `Chosen because it is ${why}.`) : null,
      warning ? el("p", {class: "warning"}, warning) : null,
      el("div", {class: "maps"},
        photograph ? figure("Photograph", photograph, el("span", {}, "as the network sees it")) : null,
        methods.map(({name, note, trust, picture}) => figure(name, picture, note ? el("span", {}, note) : null, trustLines(trust)))),
      el("p", {class: "quiet small"}, colourWords(methods), methods.some(({trust}) => trust.length > 0)
        ? " In brackets: random maps; ✗: no better than those." : null),
    ].filter(Boolean));
  }

  // A point for each epoch that was kept, as high as its map is like the one before; below it the maps
  // of one method.
  drawDrift() {
    const {explanation: {kept, methods}, view: {run, state, colours}, width, node} = this;
    if (kept.length === 0) return;
    const at = ({epoch}) => epoch - run.firstEpoch;
    const lowest = Math.min(0, ...kept.flatMap(({maps}) => maps.map(({drift}) => drift ?? 0)));
    const height = lowest < 0 ? 84 : 62;
    const x = (e) => ((e + 0.5) * width) / run.epochs;
    const y = (value) => 6 + ((1 - value) * (height - 12)) / (1 - lowest);
    const method = Math.min(this.method, methods.length - 1);
    const drifts = (m) => kept.map((one) => ({one, value: one.maps[m].drift}))
      .filter(({one, value}) => value !== null && at(one) >= 0 && at(one) < run.epochs);
    const curve = line().x(({one}) => x(at(one))).y(({value}) => y(value));
    const chosen = methods[method];
    const pick = (m) => {
      this.method = m;
      this.drawDrift();
    };
    const several = kept.length > 1;
    refill(node.below,
      several ? el("div", {class: "keys"}, el("span", {}, "likeness to the map of the kept epoch before (rank correlation)")) : "",
      several ? svg("svg", {width, height, role: "img", "aria-label": driftInWords(chosen.name, drifts(method)), class: "drifts"},
        svg("line", {class: "base", x1: 0, x2: width, y1: y(1), y2: y(1)}),
        svg("line", {class: "grid", x1: 0, x2: width, y1: y(0.5), y2: y(0.5)}),
        svg("line", {class: "base", x1: 0, x2: width, y1: y(0), y2: y(0)}),
        svg("text", {class: "tick", x: 0, y: y(1) + 11}, "1"),
        svg("text", {class: "tick", x: 0, y: y(0) - 3}, "0"),
        methods.map((_, m) => (m === method ? null : svg("path", {class: "line other", d: curve(drifts(m)) ?? ""}))),
        svg("path", {class: "line all", d: curve(drifts(method)) ?? ""}),
        drifts(method).map(({one, value}) => svg("circle", {class: "point", cx: x(at(one)), cy: y(value), r: 3, fill: colours[one.predicted]},
          svg("title", {}, `epoch ${one.epoch}: ${twoDecimals(value)}`))),
        svg("line", {class: "here", x1: x(state.epoch), x2: x(state.epoch), y1: 0, y2: height})) : "",
      el("div", {class: "choice", role: "group", "aria-label": "Method of the maps below"}, methods.map(({name}, m) =>
        el("button", {"aria-pressed": String(m === method), onclick: () => pick(m)}, name))),
      el("div", {class: "kept", tabindex: "0", role: "group", "aria-label": `${chosen.name} at the epochs whose weights were kept`},
        kept.map((one) => el("figure", {},
          el("img", {src: one.maps[method].picture, alt: `${chosen.name}, epoch ${one.epoch}`}),
          el("figcaption", {}, el("span", {class: "line"}, swatch(colours[one.predicted]), `epoch ${one.epoch}`),
            one.maps[method].drift === null ? el("span", {class: "quiet"}, "\u00a0")
              : el("span", {class: "quiet"}, twoDecimals(one.maps[method].drift)))))));
  }
}

const percent = (share) => (share === null ? "–" : `${(100 * share).toFixed(0)} %`);

const driftInWords = (name, drifts) =>
  `${name}: rank correlation with the map of the kept epoch before. ${
    drifts.map(({one, value}) => `Epoch ${one.epoch}: ${twoDecimals(value)}`).join(", ")}`;

// How to read the maps' colours.
export function colourWords(methods) {
  const has = (...names) => methods.some(({method}) => names.includes(method));
  return [
    has("lime") ? "LIME: red regions speak for the answer, blue ones against it, hatched ones could be nothing." : null,
    has("ig", "occlusion", "inputxgradient", "integrated-gradients") ? "Signed maps: red for the answer, blue against it." : null,
    "Other maps: the brighter, the stronger.",
  ].filter(Boolean).join(" ");
}

// Beside a measure that speaks against a map.
export const fault = (why) => el("span", {class: "fault", role: "img", "aria-label": why}, " ✗");

// "deletion 0.21 (0.40)", in brackets that of random maps.
export function trustLines(trust) {
  return trust.map(({name, value, random, better}) => el("span", {
    class: better ? "measure" : "measure worse",
    title: `random maps: ${twoDecimals(random)}${better ? "" : "; this one is no better"}`,
  }, `${name} ${twoDecimals(value)} (${twoDecimals(random)})`, better ? null : fault("no better than random maps")));
}

function enlarge({methods, photograph}) {
  const figures = [{name: "Photograph", picture: photograph, note: ""}, ...methods].filter(({picture}) => picture);
  byId("large-maps").replaceChildren(...figures.map(({name, picture, note}) => el("figure", {},
    el("img", {src: picture, alt: name}), el("figcaption", {}, el("b", {}, name), note ? el("span", {}, note) : null))));
  byId("large").showModal();
}
