// A run while it is trained. Its server sends, as events: `epoch` with the predictions of one more
// epoch; `cut` where the run went back to an earlier one; `reload` where the page would have to begin
// again; `status` with how the training is. cli/live_run.cpp writes them, each but the last with an id
// that stands for all epochs up to it, so that whoever connects again is sent what is missing.
import {numbers, shown, unknown} from "./data.js";

// From a lost connection to the next attempt, in ms; the second where nothing more is expected.
const patience = 2000;
const idlePatience = 15000;

// The connection. `live` is {mark, status}; `hears` has `epochs()`, how many there are, and, where there
// are any, `epoch(data)` and `cut(epochs)`. `line` says how the training is.
export class Stream {
  constructor({mark, status}, line, hears) {
    Object.assign(this, {mark, status, line, hears});
    this.source = null;
    this.lost = false;
    // A hidden page keeps no connection: browsers have only a few for each server, and all pages share them.
    document.addEventListener("visibilitychange", () => (document.hidden ? this.close() : this.open()));
  }

  open() {
    this.close();
    this.tell();
    if (document.hidden) return;
    const source = new EventSource(`/events?after=${encodeURIComponent(this.mark)}`);
    this.source = source;
    const on = (kind, take) => source.addEventListener(kind, (event) => {
      if (event.lastEventId) this.mark = event.lastEventId;
      take(JSON.parse(event.data));
      this.tell();
    });
    on("status", (status) => (this.status = status));
    on("epoch", (data) => this.hears.epoch(data));
    on("cut", ({epochs}) => this.hears.cut(epochs));
    on("reload", () => location.reload());
    source.addEventListener("open", () => this.hold(false));
    source.addEventListener("error", () => {
      this.hold(true);
      // Browsers differ in which failures they try again after.
      source.close();
      this.timer = setTimeout(() => this.open(), this.status.phase === "finished" ? idlePatience : patience);
    });
  }

  close() {
    clearTimeout(this.timer);
    if (this.source) this.source.close();
    this.source = null;
  }

  hold(lost) {
    this.lost = lost;
    this.tell();
  }

  tell() {
    const text = sentence(this.status, this.hears.epochs(), this.lost);
    // Said again, it would be read out again.
    if (text !== this.line.textContent) this.line.textContent = text;
    this.line.dataset.phase = this.lost && this.status.phase !== "finished" ? "lost" : this.status.phase;
  }
}

export function sentence({phase, of, seconds, note}, epochs, lost) {
  const done = of > 0 ? `epoch ${epochs} of ${of}` : `epoch ${epochs}`;
  const why = note ? `: ${shown(note)}` : "";
  if (lost) return phase === "finished" ? `finished after ${done}; the server has ended` : "connection lost, trying again …";
  switch (phase) {
    case "training":
      if (note) return `live, but not to be read${why}`;
      if (of > 0 && epochs >= of) return `live, ${done}, saving`;
      return `live, epoch ${epochs + 1}${of > 0 ? ` of ${of}` : ""} in training${
        seconds > 0 ? `, about ${duration(seconds)} each` : ""}`;
    case "paused": return `training stopped after ${done}; waiting for it to go on${why}`;
    case "finished": return `finished after ${done}${why}`;
    default: return `waiting for the run to begin${why}`;
  }
}

const duration = (seconds) => (seconds < 90 ? `${Math.max(1, Math.round(seconds))} s`
  : seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`);

// The run with an epoch more, the one that `data` has, in place of what it had from there on. Another
// object, so that everything drawn from it is drawn again.
export function withEpoch(run, data) {
  const kept = Math.min(run.epochs, data.epoch - run.firstEpoch);
  const column = (values, packed) => {
    if (values === null && !packed) return null;
    const added = packed ? numbers(packed) : new Uint8Array(run.images).fill(unknown);
    const before = values ?? new Uint8Array(run.images * run.epochs).fill(unknown);
    const result = new before.constructor(run.images * (kept + 1));
    for (let image = 0; image < run.images; ++image) {
      result.set(before.subarray(image * run.epochs, image * run.epochs + kept), image * (kept + 1));
      result[(image + 1) * (kept + 1) - 1] = added[image];
    }
    return result;
  };
  const list = (values, value) => (values === null && value === undefined ? null
    : [...(values ?? new Array(run.epochs).fill(null)).slice(0, kept), value ?? null]);
  return {
    ...run,
    epochs: kept + 1,
    predicted: column(run.predicted, data.predicted),
    probability: column(run.probability, data.probability),
    trueProbability: column(run.trueProbability, data.trueProbability),
    testLoss: list(run.testLoss, data.testLoss),
    trainLoss: list(run.trainLoss, data.trainLoss),
    trainAccuracy: list(run.trainAccuracy, data.trainAccuracy),
  };
}

// The run with its first `epochs` alone.
export function cutTo(run, epochs) {
  const column = (values) => values && values.constructor.from({length: run.images * epochs},
    (_, i) => values[Math.floor(i / epochs) * run.epochs + (i % epochs)]);
  const list = (values) => values && values.slice(0, epochs);
  return {
    ...run,
    epochs,
    predicted: column(run.predicted),
    probability: column(run.probability),
    trueProbability: column(run.trueProbability),
    testLoss: list(run.testLoss),
    trainLoss: list(run.trainLoss),
    trainAccuracy: list(run.trainAccuracy),
  };
}
