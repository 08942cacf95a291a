// What is told beside the pointer.
import {el, named, sized, swatch} from "./dom.js";
import {probabilityAt} from "./data.js";
import {twoDecimals} from "./metrics.js";

export class Tooltip {
  constructor(root) {
    this.root = root;
  }

  show(content, event) {
    this.root.replaceChildren(...content);
    this.root.hidden = false;
    this.move(event);
  }
  hide() {
    this.root.hidden = true;
  }
  // Beside the pointer, on the side with room.
  move({clientX, clientY}) {
    const {offsetWidth: w, offsetHeight: h} = this.root;
    const x = clientX + 16 + w > window.innerWidth ? clientX - 12 - w : clientX + 16;
    const y = Math.min(clientY + 12, window.innerHeight - h - 8);
    this.root.style.transform = `translate(${Math.max(4, x)}px, ${Math.max(4, y)}px)`;
  }

  showImage(view, image, epoch, event) {
    const {run, metrics, colours, state} = view;
    const at = epoch < 0 ? state.epoch : epoch;
    const index = image * run.epochs + at;
    const c = run.predicted[index];
    const t = run.truth[image];
    const probability = probabilityAt(run.probability, index);
    const strip = el("canvas", {class: "strip"});
    const picture = run.thumbnails && run.thumbnails[image];
    this.show([
      picture ? el("img", {src: picture, alt: ""}) : null,
      el("div", {class: "text"},
        named(run.ids[image], {class: "id"}),
        line("true", swatch(colours[t]), named(run.classes[t])),
        line(`epoch ${at + run.firstEpoch}`, swatch(colours[c]), named(run.classes[c]),
          probability === null ? null : el("span", {class: "number"}, twoDecimals(probability)),
          el("span", {class: c === t ? "right" : "wrong"}, c === t ? "right" : "wrong")),
        strip,
        el("div", {class: "measures"}, `frequency ${twoDecimals(metrics.frequency[image])} · variability ${
          metrics.variability[image]} · error rate ${twoDecimals(metrics.rate[image])}`)),
    ].filter(Boolean), event);
    drawStrip(strip, view, image, 220, 9, at);
  }
}

const line = (label, ...content) =>
  el("div", {class: "line"}, el("span", {class: "label"}, label), content);

// The history of an image as a strip of colours; a notch marks the epoch (-1 for none). Another run's
// history with {run, colours} of that run.
export function drawStrip(canvas, {run, colours}, image, width, height, epoch = -1) {
  const context = sized(canvas, width, height);
  // On whole pixels of the screen, so that no seams are seen.
  const ratio = window.devicePixelRatio || 1;
  const edge = (e) => Math.round((e * width * ratio) / run.epochs) / ratio;
  for (let e = 0; e < run.epochs; ++e) {
    context.fillStyle = colours[run.predicted[image * run.epochs + e]];
    context.fillRect(edge(e), 0, edge(e + 1) - edge(e), epoch === e ? height : height - 2);
  }
}
