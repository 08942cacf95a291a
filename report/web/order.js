// Which images are shown (filters) and in which order (sorting, groups).

export const sorts = {
  rate: "misclassification rate",
  frequency: "frequency of change",
  variability: "variability",
  learnt: "first learnt",
  final: "final prediction",
  similarity: "similarity of history",
  name: "name",
};
export const measures = ["frequency", "variability", "rate"];

// Indices of the images that pass every filter of the state, ascending.
export function matching(run, metrics, filters) {
  const {query, trueClass, predictedClass, cell, link, epoch} = filters;
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  const at = (image, e) => run.predicted[image * run.epochs + e];
  const tests = [];
  if (words.length > 0) {
    tests.push((i) => {
      const id = run.ids[i].toLowerCase();
      return words.every((word) => id.includes(word));
    });
  }
  if (trueClass >= 0) tests.push((i) => run.truth[i] === trueClass);
  if (predictedClass >= 0) tests.push((i) => at(i, epoch) === predictedClass);
  if (cell.length > 0) tests.push((i) => run.truth[i] === cell[0] && at(i, epoch) === cell[1]);
  if (link.length > 0) {
    tests.push((i) => at(i, link[0]) === link[1] && at(i, link[2]) === link[3]);
  }
  for (const name of measures) {
    const range = filters[name];
    // Ends are drawn with a mouse and written with two decimals: as wide as they read.
    if (range.length > 0) {
      const values = metrics[name];
      tests.push((i) => values[i] >= range[0] - 1e-9 && values[i] <= range[1] + 1e-9);
    }
  }
  const result = [];
  for (let i = 0; i < run.images; ++i) {
    if (tests.every((test) => test(i))) result.push(i);
  }
  return Uint32Array.from(result);
}

const ranks = new WeakMap();
// The place of each image in the order of names, 2.jpg before 10.jpg.
function nameRank(run) {
  if (!ranks.has(run.ids)) {
    const {compare} = new Intl.Collator("en", {numeric: true});
    const order = Uint32Array.from(run.ids.keys()).sort(
      (a, b) => compare(run.ids[a], run.ids[b]) || a - b);
    const rank = new Uint32Array(run.images);
    order.forEach((image, place) => (rank[image] = place));
    ranks.set(run.ids, rank);
  }
  return ranks.get(run.ids);
}

// Alike at a distance first: the commonest prediction of the whole window, of its later and earlier
// half, of the quarters and so on. Sorted by that sequence, rows that look alike lie together,
// whatever single epochs do.
function signatures(run, rows, first, last) {
  const pieces = [];
  for (let parts = 1; parts <= 16 && parts <= last - first + 1; parts *= 2) {
    for (let part = parts - 1; part >= 0; --part) {
      const begin = first + Math.floor(((last - first + 1) * part) / parts);
      const end = first + Math.floor(((last - first + 1) * (part + 1)) / parts);
      pieces.push([begin, end]);
    }
  }
  const width = pieces.length;
  const result = new Uint16Array(run.images * width);
  const votes = new Uint16Array(run.classes.length);
  for (const image of rows) {
    pieces.forEach(([begin, end], k) => {
      let best = run.predicted[image * run.epochs + end - 1];
      for (let e = end - 1; e >= begin; --e) {
        const c = run.predicted[image * run.epochs + e];
        if (++votes[c] > votes[best]) best = c;
      }
      for (let e = begin; e < end; ++e) votes[run.predicted[image * run.epochs + e]] = 0;
      result[image * width + k] = best;
    });
  }
  return {width, result};
}

// `rows` sorted: largest metrics first, the rest ascending; `reversed` turns that round. Ties follow
// the rate, then the name.
export function sorted(run, metrics, rows, sort, reversed) {
  const sign = reversed ? -1 : 1;
  const rank = nameRank(run);
  const {first, last, rate} = metrics;
  const tie = (a, b) => rate[b] - rate[a] || rank[a] - rank[b];
  let compare;
  if (measures.includes(sort)) {
    const values = metrics[sort];
    compare = (a, b) => sign * (values[b] - values[a]) || tie(a, b);
  } else if (sort === "learnt") {
    compare = (a, b) => sign * (metrics.learnt[a] - metrics.learnt[b]) || tie(a, b);
  } else if (sort === "final") {
    const final = (i) => run.predicted[i * run.epochs + last];
    compare = (a, b) => sign * (final(a) - final(b)) || tie(a, b);
  } else if (sort === "similarity") {
    const {width, result} = signatures(run, rows, first, last);
    compare = (a, b) => {
      for (let k = 0; k < width; ++k) {
        const difference = result[a * width + k] - result[b * width + k];
        if (difference !== 0) return sign * difference;
      }
      return tie(a, b);
    };
  } else {
    compare = (a, b) => sign * (rank[a] - rank[b]);
  }
  return rows.slice().sort(compare);
}

// The same rows, those of a true class together: {rows, groups: [{label class, start, count}]}.
// Ungrouped there is one group, of class -1.
export function grouped(run, rows, byClass) {
  if (!byClass || rows.length === 0) return {rows, groups: [{label: -1, start: 0, count: rows.length}]};
  const counts = new Uint32Array(run.classes.length + 1);
  for (const image of rows) ++counts[run.truth[image] + 1];
  for (let c = 0; c < run.classes.length; ++c) counts[c + 1] += counts[c];
  const groups = [];
  for (let c = 0; c < run.classes.length; ++c) {
    const count = counts[c + 1] - counts[c];
    if (count > 0) groups.push({label: c, start: counts[c], count});
  }
  const next = counts.slice();
  const result = new Uint32Array(rows.length);
  for (const image of rows) result[next[run.truth[image]]++] = image;
  return {rows: result, groups};
}
