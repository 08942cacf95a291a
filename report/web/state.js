// What the reader has chosen: one flat object, kept in the address so that a link shows the same.

// Epochs and images count from 0 here; a list is empty where nothing is chosen, a class -1.
export function defaults(run) {
  return {
    run: 0,
    epoch: run.epochs - 1,
    first: 0,
    last: run.epochs - 1,
    sort: "rate",
    reversed: false,
    grouped: true,
    dim: true,
    zoom: 1,
    query: "",
    trueClass: -1,
    predictedClass: -1,
    cell: [],         // true class, predicted class at the epoch
    link: [],         // epoch, class predicted there, later epoch, class predicted there
    frequency: [],    // from, to
    variability: [],
    rate: [],
    image: -1,
    // True class. Of so many classes that most would be pooled, one is more telling.
    flowClass: run.classes.length > 24 ? run.hardest : -1,
    flowEpochs: [],   // evenly spaced ones where none are chosen
    theme: "auto",
  };
}

// What changes in the state of a run that has gained or lost epochs: what stood at its end stays there.
export function carried(state, before, run) {
  const end = run.epochs - 1;
  const moved = (epoch) => (epoch === before.epochs - 1 ? end : Math.min(epoch, end));
  return {
    epoch: moved(state.epoch),
    first: Math.min(state.first, end),
    last: moved(state.last),
    link: state.link.length > 0 && state.link[2] > end ? [] : state.link,
    flowEpochs: state.flowEpochs.some((epoch) => epoch > end) ? [] : state.flowEpochs,
  };
}

export const unfiltered = {
  query: "", trueClass: -1, predictedClass: -1, cell: [], link: [], frequency: [], variability: [], rate: [],
};

// What is not as it is by default, as "sort=name&cell=3~5".
export function toHash(state, run) {
  const standard = defaults(run);
  return Object.keys(standard).filter((key) => String(state[key]) !== String(standard[key]))
    .map((key) => `${key}=${encodeURIComponent(Array.isArray(state[key]) ? state[key].join("~") : state[key])}`)
    .join("&");
}

// The state of an address. What makes no sense there is as by default.
export function fromHash(hash, runs) {
  const given = new Map();
  for (const part of hash.replace(/^#/, "").split("&")) {
    const at = part.indexOf("=");
    if (at < 1) continue;
    try {
      given.set(part.slice(0, at), decodeURIComponent(part.slice(at + 1)));
    } catch {
      // A broken escape is no choice.
    }
  }
  const whole = (value, most) => /^\d+$/.test(value) && Number(value) < most ? Number(value) : null;
  const list = (value, ...limits) => {
    const numbers = value.split("~").map((item, i) => whole(item, limits[i]));
    return numbers.length === limits.length && !numbers.includes(null) ? numbers : null;
  };
  const range = (value) => {
    const numbers = value.split("~").map(Number);
    return numbers.length === 2 && numbers.every(Number.isFinite) ? numbers : null;
  };
  const run = runs[whole(given.get("run") ?? "", runs.length) ?? 0];
  const classes = run.classes.length;
  const flag = (value) => ({true: true, false: false})[value] ?? null;
  const readers = {
    run: (v) => whole(v, runs.length),
    epoch: (v) => whole(v, run.epochs),
    first: (v) => whole(v, run.epochs),
    last: (v) => whole(v, run.epochs),
    sort: (v) => (/^[a-z]+$/.test(v) ? v : null),
    reversed: flag,
    grouped: flag,
    dim: flag,
    zoom: (v) => (Number(v) >= 1 && Number.isFinite(Number(v)) ? Number(v) : null),
    query: (v) => v,
    trueClass: (v) => whole(v, classes),
    predictedClass: (v) => whole(v, classes),
    cell: (v) => list(v, classes, classes),
    link: (v) => list(v, run.epochs, classes, run.epochs, classes),
    frequency: range,
    variability: range,
    rate: range,
    image: (v) => whole(v, run.images),
    flowClass: (v) => (v === "-1" ? -1 : whole(v, classes)),
    flowEpochs: (v) => list(v, ...v.split("~").map(() => run.epochs)),
    theme: (v) => (v === "light" || v === "dark" ? v : null),
  };
  const state = defaults(run);
  for (const [key, read] of Object.entries(readers)) {
    if (given.has(key)) state[key] = read(given.get(key)) ?? state[key];
  }
  if (state.first > state.last) [state.first, state.last] = [state.last, state.first];
  return state;
}

// Holds the state and tells of every change, once a frame.
export class Store {
  constructor(state, changed) {
    this.state = state;
    this.changed = changed;
    this.waiting = false;
  }
  set(patch) {
    this.state = {...this.state, ...patch};
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => this.flush());
  }
  flush() {
    this.waiting = false;
    this.changed(this.state);
  }
}
