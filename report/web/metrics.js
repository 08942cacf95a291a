// What the page measures, over the epochs [first, last] of a run. E = last - first + 1.

// Per image: frequency = changes of prediction / (E - 1), 0 for E = 1; variability = number of
// distinct predicted classes; rate = share of wrong predictions; learnt = first epoch that is right,
// last + 1 when there is none.
export function windowMetrics(run, first, last) {
  const {images, epochs, truth, predicted} = run;
  const E = last - first + 1;
  const frequency = new Float64Array(images);
  const variability = new Uint16Array(images);
  const rate = new Float64Array(images);
  const learnt = new Int32Array(images);
  const seenBy = new Int32Array(run.classes.length).fill(-1);
  for (let image = 0; image < images; ++image) {
    const begin = image * epochs + first;
    let changes = 0;
    let distinct = 0;
    let wrong = 0;
    let right = last + 1;
    for (let e = 0; e < E; ++e) {
      const c = predicted[begin + e];
      if (e > 0 && c !== predicted[begin + e - 1]) ++changes;
      if (seenBy[c] !== image) {
        seenBy[c] = image;
        ++distinct;
      }
      if (c !== truth[image]) ++wrong;
      else if (right > last) right = first + e;
    }
    frequency[image] = E > 1 ? changes / (E - 1) : 0;
    variability[image] = distinct;
    rate[image] = wrong / E;
    learnt[image] = right;
  }
  return {first, last, frequency, variability, rate, learnt};
}

// Per epoch, over `rows` (indices of images): the share that is right, and the share whose
// prediction is not that of the epoch before (null for the first).
export function courses(run, rows) {
  const {epochs, truth, predicted} = run;
  const right = new Float64Array(epochs);
  const changed = new Float64Array(epochs);
  for (const image of rows) {
    const begin = image * epochs;
    for (let e = 0; e < epochs; ++e) {
      const c = predicted[begin + e];
      if (c === truth[image]) ++right[e];
      if (e > 0 && c !== predicted[begin + e - 1]) ++changed[e];
    }
  }
  const share = (count) => (rows.length > 0 ? count / rows.length : null);
  return {
    accuracy: Array.from(right, share),
    flux: Array.from(changed, (count, e) => (e > 0 ? share(count) : null)),
  };
}

// Of `rows` at an epoch: `cells`, from t * classes + p to the number of images, those that have any;
// `totals` [t]; `right`.
export function confusion(run, rows, epoch) {
  const classes = run.classes.length;
  const cells = new Map();
  const totals = new Uint32Array(classes);
  let right = 0;
  for (const image of rows) {
    const t = run.truth[image];
    const p = run.predicted[image * run.epochs + epoch];
    const cell = t * classes + p;
    cells.set(cell, (cells.get(cell) ?? 0) + 1);
    ++totals[t];
    if (t === p) ++right;
  }
  return {cells, totals, right};
}

// The class with most wrong predictions in the last epoch.
export function hardestClass(run) {
  const wrong = new Uint32Array(run.classes.length);
  for (let image = 0; image < run.images; ++image) {
    const t = run.truth[image];
    if (run.predicted[(image + 1) * run.epochs - 1] !== t) ++wrong[t];
  }
  return wrong.reduce((best, count, c) => (count > wrong[best] ? c : best), 0);
}

export function everyImage(run) {
  return Uint32Array.from({length: run.images}, (_, i) => i);
}

export const twoDecimals = (value) => (value === null || Number.isNaN(value) ? "–" : value.toFixed(2).replace("-", "−"));
