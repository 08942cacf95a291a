// From the JSON inside the page to typed arrays. report/evolution_page.cpp writes it. `live` is null but
// on a page that a server shows while the run is trained.
//
// A run: `images`, `epochs`, `classes` and `ids` as they can be shown; `truth` [image];
// `predicted`, `probability`, `trueProbability` [image * epochs + epoch], the last two null or in
// steps of 1/254 with 255 for not known; `testLoss`, `trainLoss`, `trainAccuracy` [epoch] or null.

export function decode(text) {
  const {title, runs, live} = JSON.parse(text);
  return {title: shown(title), runs: runs.map((run) => decodeRun(run, live)), live: live ?? null};
}

function decodeRun(run, live) {
  const classes = run.classes.map(shown);
  return {
    name: shown(run.name),
    split: shown(run.split),
    classes,
    ids: run.ids.map(shown),
    images: run.ids.length,
    epochs: run.epochs,
    firstEpoch: run.firstEpoch,
    truth: numbers(run.truth),
    predicted: numbers(run.predicted),
    probability: probabilities(run.probability),
    trueProbability: probabilities(run.trueProbability),
    testLoss: run.testLoss || null,
    trainLoss: run.trainLoss || null,
    trainAccuracy: run.trainAccuracy || null,
    // A server is asked for those that are looked at.
    thumbnails: live && live.pictures ? run.ids.map((_, image) => `/picture/${image}`) : run.thumbnails || null,
  };
}

export function numbers({bytes, data}) {
  const binary = atob(data);
  const result = new (bytes === 1 ? Uint8Array : Uint16Array)(binary.length / bytes);
  for (let i = 0; i < result.length; ++i) {
    result[i] = bytes === 1 ? binary.charCodeAt(i)
                            : binary.charCodeAt(2 * i) | (binary.charCodeAt(2 * i + 1) << 8);
  }
  return result;
}

export const unknown = 255;

function probabilities(packed) {
  const values = packed ? numbers(packed) : null;
  return values && values.some((value) => value !== unknown) ? values : null;
}

// null where it is not known.
export function probabilityAt(values, index) {
  return values === null || values[index] === unknown ? null : values[index] / 254;
}

const silent = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g;
// Characters that do something instead of being seen (controls, direction marks) are named.
export function shown(text) {
  return text.replace(silent, (c) =>
    `⟨U+${c.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);
}
