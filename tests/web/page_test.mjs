// The page as a reader uses it; tests/web/run starts this. What is expected is computed here, from the
// data in the file and the definitions, as plainly as can be.
import assert from "node:assert/strict";
import {readFileSync} from "node:fs";
import {after, before, test} from "node:test";
import {pathToFileURL} from "node:url";

const {chromium} = await import(pathToFileURL(process.env.PLAYWRIGHT));
let browser;
before(async () => {
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM,
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"],
  });
});
after(() => browser.close());

// A page under `work`, in which nothing may be loaded and nothing may go wrong.
async function on(name, work, {hash = "", files = "none", ...options} = {}) {
  const page = await browser.newPage({viewport: {width: 1440, height: 900}, ...options});
  const troubles = [];
  page.on("pageerror", (error) => troubles.push(error.stack));
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) troubles.push(message.text());
  });
  const file = `${process.env.PAGES}/${name}.html`;
  page.on("request", (request) => {
    if (!request.url().startsWith("data:") && !request.url().startsWith("file:")) troubles.push(request.url());
    if (request.url().startsWith("file:") && !request.url().includes(`/${name}.html`) && !request.url().includes(`/${files}/`)) troubles.push(request.url());
  });
  page.on("dialog", (dialog) => troubles.push(dialog.message()));
  await page.goto(pathToFileURL(file).href + hash);
  await work(page, plainRuns(file));
  await settle(page);
  assert.deepEqual(troubles, []);
  await page.close();
}
const settle = (page) => page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
const state = async (page) => (await settle(page), page.evaluate(() => evolution.store.state));
const focused = (page) => page.evaluate(() =>
  document.activeElement.getAttribute("aria-label") ?? document.activeElement.textContent);
const rows = async (page) => (await settle(page), page.evaluate(() => Array.from(evolution.view().rows)));

function plainRuns(file) {
  const json = /<script type="application\/json" id="data">(.*?)<\/script>/s.exec(readFileSync(file, "utf8"))[1];
  return JSON.parse(json).runs.map((run) => {
    const numbers = ({bytes, data}) => {
      const buffer = Buffer.from(data, "base64");
      return Array.from({length: buffer.length / bytes}, (_, i) => buffer.readUIntLE(i * bytes, bytes));
    };
    const predicted = numbers(run.predicted);
    return {
      ...run,
      truth: numbers(run.truth),
      histories: run.ids.map((_, i) => predicted.slice(i * run.epochs, (i + 1) * run.epochs)),
    };
  });
}
function measured(history, truth) {
  return {
    frequency: history.length > 1 ? history.filter((c, e) => e > 0 && c !== history[e - 1]).length / (history.length - 1) : 0,
    variability: new Set(history).size,
    rate: history.filter((c) => c !== truth).length / history.length,
  };
}
async function expectMetrics(page, run, first, last) {
  const shown = await page.evaluate(() => {
    const {frequency, variability, rate} = evolution.view().metrics;
    return {frequency: Array.from(frequency), variability: Array.from(variability), rate: Array.from(rate)};
  });
  run.histories.forEach((history, i) => {
    const expected = measured(history.slice(first, last + 1), run.truth[i]);
    for (const name of Object.keys(expected)) {
      assert.ok(Math.abs(shown[name][i] - expected[name]) < 1e-12, `${name} of image ${i}`);
    }
  });
}
// Page coordinates of an epoch's column and a row's middle.
const columnX = (page, epoch) => page.evaluate((e) => evolution.heatmap.centreOf(e) + document.getElementById("rows").getBoundingClientRect().left, epoch);
const rowY = (page, place) => page.evaluate((at) => {
  const {layout, top} = evolution.heatmap;
  const band = layout.bands.find(({start, count}) => at < start + count);
  return band.y + (at - band.start + 0.5) * layout.rowHeight - top + document.getElementById("rows").getBoundingClientRect().top;
}, place);
async function drag(page, from, to, y) {
  await page.mouse.move(from, y);
  await page.mouse.down();
  await page.mouse.move((from + to) / 2, y);
  await page.mouse.move(to, y);
  await page.mouse.up();
  await settle(page);
}

test("the measures are those of the definitions", () => on("example", async (page, [run]) => {
  await expectMetrics(page, run, 0, 3);
  await page.keyboard.press("ArrowDown");
  await settle(page);
  const facts = await page.locator("#image-body dl").innerText();
  assert.match(facts.replace(/\s+/g, " "), /frequency 0\.67 variability 2 error rate 0\.25 first learnt epoch 1/);
}));

test("dragging on the curves measures the window again, a double click all epochs", () => on("small", async (page, [run]) => {
  await expectMetrics(page, run, 0, 29);
  const y = (await page.locator("#curves > svg").boundingBox()).y + 60;
  await drag(page, await columnX(page, 4), await columnX(page, 11), y);
  assert.deepEqual([(await state(page)).first, (await state(page)).last], [4, 11]);
  await expectMetrics(page, run, 4, 11);
  assert.equal(await page.locator("#chips").innerText().then((text) => text.replace(/\s+/g, " ")), "epochs 5–12 ×");
  await page.mouse.click(await columnX(page, 7), y);
  assert.equal((await state(page)).epoch, 7);
  assert.deepEqual([(await state(page)).first, (await state(page)).last], [4, 11]);
  await page.mouse.dblclick(await columnX(page, 20), y);
  assert.deepEqual([(await state(page)).first, (await state(page)).last], [0, 29]);
  await expectMetrics(page, run, 0, 29);
}));

test("curves are accuracy and flux", () => on("small", async (page, [run]) => {
  const {accuracy, flux} = await page.evaluate(() => evolution.view().allCourses);
  for (let e = 0; e < run.epochs; ++e) {
    const share = (holds) => run.histories.filter(holds).length / run.ids.length;
    assert.ok(Math.abs(accuracy[e] - share((history, i) => history[e] === run.truth[i])) < 1e-12);
    if (e > 0) assert.ok(Math.abs(flux[e] - share((history) => history[e] !== history[e - 1])) < 1e-12);
  }
  assert.equal(flux[0], null);
}));

test("every order is one", () => on("small", async (page, [run]) => {
  const all = run.ids.map((_, i) => measured(run.histories[i], run.truth[i]));
  const learnt = (i) => (run.histories[i].indexOf(run.truth[i]) + run.epochs + 1) % (run.epochs + 1);
  const keys = {
    rate: (i) => -all[i].rate,
    frequency: (i) => -all[i].frequency,
    variability: (i) => -all[i].variability,
    learnt,
    final: (i) => run.histories[i].at(-1),
    similarity: null,
    name: (i) => Number(/(\d+)\.jpg/.exec(run.ids[i])[1]),
  };
  for (const [sort, key] of Object.entries(keys)) {
    for (const grouped of [true, false]) {
      await page.selectOption("#sort", sort);
      await page.locator("#grouped").setChecked(grouped);
      const order = await rows(page);
      assert.deepEqual([...order].sort((a, b) => a - b), run.ids.map((_, i) => i));
      for (let k = 1; k < order.length; ++k) {
        const [a, b] = [order[k - 1], order[k]];
        if (grouped) assert.ok(run.truth[a] <= run.truth[b]);
        if (key && (!grouped || run.truth[a] === run.truth[b])) assert.ok(key(a) <= key(b), `${sort} at ${k}`);
      }
    }
  }
  // Alike rows lie together: fewer steps from row to row than in the order of names.
  const steps = (order) => order.slice(1).reduce((sum, i, k) =>
    sum + run.histories[i].filter((c, e) => c !== run.histories[order[k]][e]).length, 0);
  await page.selectOption("#sort", "similarity");
  const alike = await rows(page);
  await page.selectOption("#sort", "name");
  assert.ok(steps(alike) < 0.5 * steps(await rows(page)));
  await page.locator(".range .sort").first().click();
  assert.equal((await state(page)).sort, "frequency");
  await page.locator(".range .sort").first().click();
  assert.equal((await state(page)).reversed, true);
}));

test("filters keep what they name", () => on("small", async (page, [run]) => {
  const expected = (holds) => run.ids.map((_, i) => i).filter(holds);
  const shown = async () => (await rows(page)).sort((a, b) => a - b);
  await page.selectOption("#true-class", "2");
  assert.deepEqual(await shown(), expected((i) => run.truth[i] === 2));
  await page.selectOption("#predicted-class", "3");
  await page.keyboard.press("Tab");
  for (const key of ["Home", "ArrowRight", "ArrowRight"]) await page.locator("#rows").press(key);
  assert.equal((await state(page)).epoch, 2);
  assert.deepEqual(await shown(), expected((i) => run.truth[i] === 2 && run.histories[i][2] === 3));
  await page.keyboard.press("r");
  assert.equal((await rows(page)).length, 600);
  await page.keyboard.press("/");
  await page.keyboard.type("sea 45");
  assert.deepEqual(await shown(), expected((i) => run.ids[i].includes("sea") && run.ids[i].includes("45")));
  await page.locator(".chip").click();
  assert.equal((await rows(page)).length, 600);
  const box = await page.locator(".range svg").nth(2).boundingBox();
  await drag(page, box.x + 0.25 * box.width, box.x + 0.6 * box.width, box.y + 60);
  const [from, to] = (await state(page)).rate;
  assert.ok(from < to);
  const rate = (i) => measured(run.histories[i], run.truth[i]).rate;
  assert.deepEqual(await shown(), expected((i) => rate(i) >= from - 1e-9 && rate(i) <= to + 1e-9));
  await page.locator("#reset").click();
  await page.fill("#query", "no such image");
  assert.deepEqual(await shown(), []);
  assert.ok(await page.locator("#empty").isVisible());
  await page.locator("#reset").click();
  assert.equal((await rows(page)).length, 600);
  assert.ok(await page.locator("#empty").isHidden());
}));

test("the matrix counts, and a cell keeps its images", () => on("small", async (page, [run]) => {
  await page.locator("#rows").press("Home");
  await settle(page);
  const counted = () => page.evaluate(() =>
    Array.from({length: 36}, (_, cell) => evolution.view().counts.cells.get(cell) ?? 0));
  const counts = await counted();
  for (let t = 0; t < 6; ++t) {
    for (let p = 0; p < 6; ++p) {
      assert.equal(counts[6 * t + p], run.histories.filter((history, i) => run.truth[i] === t && history[0] === p).length);
    }
  }
  const geometry = await page.evaluate(() => evolution.matrix.geometry);
  await page.locator("#matrix").click({position: {x: geometry.label + 2.5 * geometry.cell, y: 1.5 * geometry.cell}});
  const expected = run.ids.map((_, i) => i).filter((i) => run.truth[i] === 1 && run.histories[i][0] === 2);
  assert.deepEqual((await rows(page)).sort((a, b) => a - b), expected);
  assert.deepEqual(await counted(), counts);
  await page.locator("#confusions button").first().click();
  const [t, p] = (await state(page)).cell;
  const most = Math.max(...counts.filter((_, i) => Math.floor(i / 6) !== i % 6));
  assert.equal(counts[6 * t + p], most);
  await page.locator("#confusions button[aria-pressed=true]").click();
  assert.equal((await rows(page)).length, 600);
}));

test("playing runs through the window and stops", () => on("small", async (page) => {
  await page.evaluate(() => evolution.store.set({first: 3, last: 6, epoch: 20}));
  await settle(page);
  await page.locator("#rows").press(" ");
  await page.waitForFunction(() => evolution.store.state.epoch === 5);
  await page.waitForFunction(() => evolution.store.state.epoch === 6 && document.getElementById("play").textContent === "▶");
}));

test("pointing tells of an image, a click opens it, arrows go on", () => on("small", async (page, [run]) => {
  const order = await rows(page);
  const [x, y] = [await columnX(page, 3), await rowY(page, 250)];
  await page.mouse.move(x, y);
  await page.waitForSelector("#tooltip:not([hidden])");
  const hovered = await page.evaluate(() => evolution.heatmap.hovered);
  assert.equal(hovered.epoch, 3);
  assert.equal(hovered.image, order[hovered.place]);
  const text = await page.locator("#tooltip").innerText();
  assert.ok(text.includes(run.ids[hovered.image]));
  assert.ok(text.includes(run.classes[run.histories[hovered.image][3]]));
  assert.equal(await page.locator("#tooltip img").count(), 1);
  await page.mouse.click(x, y);
  assert.equal((await state(page)).image, hovered.image);
  assert.equal(await page.locator("#image-title").innerText(), run.ids[hovered.image]);
  assert.ok(await page.locator("#image-body img").evaluate((image) => image.complete && image.naturalWidth === 24));
  await page.locator("#rows").press("ArrowDown");
  assert.equal((await state(page)).image, order[hovered.place + 1]);
  await page.locator("#rows").press("Escape");
  await settle(page);
  assert.ok(await page.locator("#image").isHidden());
}));

test("zooming keeps the row under the pointer", () => on("small", async (page) => {
  const [x, y] = [await columnX(page, 5), await rowY(page, 320)];
  await page.mouse.move(x, y);
  const before = await page.evaluate(() => evolution.heatmap.hovered.place);
  await page.keyboard.down("Control");
  for (let i = 0; i < 4; ++i) {
    await page.mouse.wheel(0, -100);
    await settle(page);
  }
  await page.keyboard.up("Control");
  await page.mouse.move(x + 1, y);
  await settle(page);
  const {place, zoom} = await page.evaluate(() => ({place: evolution.heatmap.hovered.place, zoom: evolution.store.state.zoom}));
  assert.ok(zoom > 5);
  assert.ok(Math.abs(place - before) <= 1, `${place} and ${before}`);
}));

test("flows add up, and a ribbon keeps its images", () => on("small", async (page, [run]) => {
  await page.selectOption("#flow-class", "4");
  await page.fill("#flow-epochs", "1, 10");
  await page.locator("#flow-epochs").press("Enter");
  assert.deepEqual((await state(page)).flowEpochs, [0, 9]);
  const labels = await page.locator(".ribbon").evaluateAll((list) => list.map((path) => path.getAttribute("aria-label")));
  const total = labels.reduce((sum, label) => sum + Number(/: (\d+) images?$/.exec(label)[1]), 0);
  assert.equal(total, run.truth.filter((t) => t === 4).length);
  await page.locator(".ribbon").first().focus();
  await page.keyboard.press("Enter");
  const [from, a, to, b] = (await state(page)).link;
  assert.deepEqual((await rows(page)).sort((x, y) => x - y), run.ids.map((_, i) => i).filter(
    (i) => run.histories[i][from] === a && run.histories[i][to] === b));
}));

test("the address keeps what is chosen", () => on("small", async (page) => {
  await page.selectOption("#sort", "variability");
  await page.fill("#query", "a&b=#%");
  await page.locator("#dim").uncheck();
  await page.evaluate(() => evolution.store.set({rate: [0.25, 0.5], cell: [1, 2], first: 2, last: 9, epoch: 4, image: 7, theme: "dark"}));
  const chosen = await state(page);
  await page.reload();
  assert.deepEqual(await state(page), chosen);
}));

test("an address that makes no sense does no harm", () => on("small", async (page) => {
  assert.equal((await rows(page)).length, 600);
}, {hash: "#run=9&epoch=-1&first=40&last=zz&sort=__proto__&cell=1~99&image=1e9&zoom=NaN&rate=a~b&query=%&link=1~2&theme=<b>&flowEpochs=3~x"}));

test("several runs: tabs, and what is hard for all", () => on("runs", async (page, runs) => {
  const rates = runs.map((run) => run.histories.map((history, i) => measured(history, run.truth[i]).rate));
  const least = (i) => Math.min(...rates.map((rate) => rate[i]));
  const hard = await page.evaluate(() => evolution.view().hard.map(({id, least: value}) => ({id, value})));
  assert.equal(hard.length, runs[0].ids.filter((_, i) => least(i) > 0).length);
  hard.forEach(({id, value}, k) => {
    assert.ok(Math.abs(value - least(runs[0].ids.indexOf(id))) < 1e-12);
    assert.ok(k === 0 || hard[k - 1].value >= value);
  });
  await page.locator("#hard button").first().click();
  await page.locator("#runs button").nth(1).click();
  const now = await state(page);
  assert.equal(now.run, 1);
  assert.equal(runs[1].ids[now.image], hard[0].id);
  await expectMetrics(page, runs[1], 0, 19);
  assert.equal(await page.locator(".elsewhere").count(), 2);
}));

test("hostile names only show themselves", () => on("hostile", async (page) => {
  for (let i = 0; i < 90; i += 10) {
    await page.evaluate((image) => evolution.store.set({image, trueClass: image / 10 | 0, query: "<img src=x onerror=trapped=1>".slice(0, image)}), i);
    await settle(page);
    await page.evaluate(() => evolution.store.set({query: ""}));
    await settle(page);
    await page.mouse.move(300, 400 + i);
  }
  assert.equal(await page.evaluate(() => globalThis.trapped), undefined);
  assert.equal(await page.locator("img, iframe, object").count(), 0);
  assert.equal(await page.locator("script").count(), 1);
  const legend = await page.locator("#legend button").allInnerTexts();
  assert.equal(legend[0], "</script><script>globalThis.trapped=1</script>");
  assert.equal(legend[2], "⟨U+202E⟩right to left⟨U+2066⟩");
  assert.equal(legend[3], "\uFFFD\uFFFD broken \uFFFD\uFFFD");
  assert.equal(legend[4].length, 201);
  assert.equal(legend[7], "a⟨U+0000⟩b⟨U+000A⟩c⟨U+0009⟩d");
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 1440);
}));

test("a click leads to an explanation, and its maps over time", () => on("explained", async (page, [run]) => {
  const explained = run.explanations.map(({image}) => image);
  assert.ok(await page.locator("#explained-only").isVisible());
  await page.locator("#explained").check();
  assert.deepEqual((await rows(page)).sort((a, b) => a - b), explained);
  assert.match(await page.locator(".chip").innerText(), /^explained/);
  await page.mouse.click(await columnX(page, 3), await rowY(page, 4));
  const {image} = await state(page);
  const one = run.explanations.find((other) => other.image === image);
  await page.waitForSelector(".explanations .maps");
  assert.equal(await page.locator(".explanations").getAttribute("data-image"), String(image));
  assert.deepEqual(await page.locator(".explanations figcaption b").allInnerTexts(), ["Photograph", "Grad-CAM", "Saliency", "LIME"]);
  assert.ok(await page.locator(".explanations img").evaluateAll((list) => list.every((img) => img.complete && img.naturalWidth > 0)));
  const text = await page.locator(".explanations").innerText();
  assert.ok(text.includes(run.classes[one.predicted]) && text.includes(`${(100 * one.probability).toFixed(0)} %`));
  assert.ok(text.includes("Chosen because it is wavering"));
  assert.equal(await page.locator(".explanations .worse").count(), 3);
  // Drift: a point for each kept epoch but the first, at the correlation's height.
  const drifts = one.kept.slice(1).map(({maps}) => maps[0].drift);
  const points = await page.locator(".drifts circle title").allTextContents();
  assert.deepEqual(points, one.kept.slice(1).map(({epoch}, k) => `epoch ${epoch}: ${drifts[k].toFixed(2)}`));
  assert.equal(await page.locator(".kept figure").count(), 3);
  assert.equal(await page.locator(".kept img").first().getAttribute("src"), one.kept[0].maps[0].picture);
  assert.equal(await page.locator(".explanations .worse .fault").count(), 3);
  await page.locator(".choice button").nth(2).press("Enter");
  assert.equal(await page.locator(".kept img").first().getAttribute("src"), one.kept[0].maps[2].picture);
  assert.equal(await focused(page), "LIME");
  // The row of maps scrolls by the arrows.
  const {epoch} = await state(page);
  await page.locator(".kept").press("ArrowLeft");
  assert.equal((await state(page)).epoch, epoch);
  // The choice stays for the next image, and the keys of the epoch keep the maps.
  await page.locator("#rows").press("ArrowDown");
  await settle(page);
  assert.equal(await page.locator(".choice button[aria-pressed=true]").innerText(), "LIME");
  await page.locator("#rows").press("ArrowLeft");
  await settle(page);
  assert.equal(await page.locator(".explanations img").count(), 4);
  await page.getByRole("button", {name: "Grad-CAM, larger"}).press("Enter");
  assert.equal(await page.locator("#large img").count(), 4);
  await page.locator("#large button").press("Enter");
  assert.ok(await page.locator("#large").isHidden());
  assert.equal(await focused(page), "Grad-CAM, larger");
  // Where there is none, the panel says how to get some.
  await page.locator(".chip").click();
  await page.evaluate(() => evolution.store.set({image: 1}));
  await settle(page);
  assert.match(await page.locator(".explanations").innerText(), /--explain/);
  const dots = await page.evaluate(() => evolution.view().explained.size);
  assert.equal(dots, explained.length);
}));

test("pages without explanations say how to get them", () => on("small", async (page) => {
  assert.ok(await page.locator("#explained-only").isHidden());
  await page.keyboard.press("ArrowDown");
  await settle(page);
  assert.match(await page.locator(".explanations").innerText(), /glassnet report RUN/);
}));

test("a report has its parts, and they lead to each other", () => on("report", async (page, [run]) => {
  const headings = await page.locator(".report h2").allInnerTexts();
  assert.deepEqual(headings, ["Configuration", "Model", "Curves", "Confusion Evolution", "Confusion matrix", "Examples", "Trust checks", "Methods"]);
  assert.deepEqual(await page.locator("#contents button:not(#theme)").allInnerTexts(), headings);
  assert.equal(await page.locator(".example").count(), run.explanations.length);
  assert.ok(await page.locator(".report").first().innerText().then((text) => text.includes("/photographs")));
  assert.equal(await page.locator(".charts svg").count(), 4);
  assert.ok(await page.locator(".charts path").evaluateAll((list) => list.every((path) => path.getAttribute("d").length > 8)));
  assert.match(await page.locator("#after").innerText(), /fails: no better than random maps/);
  const ids = await page.locator("[id]").evaluateAll((list) => list.map(({id}) => id));
  assert.equal(new Set(ids).size, ids.length);
  assert.equal(await page.locator(".report th:not([scope])").count(), 0);
  await page.locator("#contents button").nth(5).press("Enter");
  assert.equal(await focused(page), "Examples");
  await page.locator(".matrix .cell button").nth(1).press("Enter");
  assert.deepEqual((await state(page)).cell, [0, 1]);
  assert.match(await focused(page), /^Heatmap/);
  await page.waitForFunction(() => document.getElementById("evolution").getBoundingClientRect().top < 60);
  await page.locator(".example .quiet-button").first().click();
  assert.ok((await state(page)).image >= 0);
  // Keys are the page's own part's only while it is looked at.
  const {epoch} = await state(page);
  await page.locator("#contents button").first().focus();
  await page.mouse.move(700, 20);
  await page.keyboard.press("ArrowLeft");
  assert.equal((await state(page)).epoch, epoch);
  await page.locator("#rows").press("ArrowLeft");
  assert.equal((await state(page)).epoch, epoch - 1);
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
}));

test("a report fits a narrow screen", () => on("report", async (page) => {
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
}, {viewport: {width: 480, height: 900}}));

test("hostile names in a report only show themselves", () => on("hostile-report", async (page) => {
  await page.evaluate(() => evolution.store.set({image: 7}));
  await page.waitForSelector(".explanations .maps");
  await page.locator(".choice button").nth(1).click();
  assert.match(await page.locator(".explanations .warning").innerText(), /^The photograph has changed\.<img/);
  assert.equal(await page.evaluate(() => globalThis.trapped), undefined);
  assert.equal(await page.locator("script").count(), 1);
  assert.equal(await page.locator("img[src=x], iframe, object").count(), 0);
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 1440);
}));

test("thumbnails beside the page are loaded when they are shown", () => on("beside", async (page) => {
  const wanted = [];
  page.on("request", (request) => wanted.push(request.url()));
  await page.locator("#rows").press("ArrowDown");
  await settle(page);
  const {image} = await state(page);
  await page.waitForFunction(() => document.querySelector("#image-body img")?.naturalWidth === 24);
  assert.deepEqual(wanted.map((url) => url.split("/").slice(-2).join("/")), [`beside_files/${image}.png`]);
}, {files: "beside_files"}));

test("extremes: one epoch and thousands, no probabilities, as many classes as there may be", async () => {
  await on("single", async (page, [run]) => {
    await expectMetrics(page, run, 0, 0);
    await page.keyboard.press("ArrowDown");
    await page.mouse.move(await columnX(page, 0), await rowY(page, 3));
    await settle(page);
  });
  await on("thousand", async (page, [run]) => {
    await expectMetrics(page, run, 0, 29);
    await page.mouse.move(1200, 300);
    await page.locator("#confusions button").first().click();
    assert.ok((await rows(page)).length > 0);
  });
  await on("many", async (page, [run]) => {
    assert.equal((await rows(page)).length, 70000);
    await page.mouse.move(1200, 300);
    await page.locator("#confusions button").first().click();
    const [t, p] = (await state(page)).cell;
    assert.deepEqual(await rows(page), run.ids.map((_, i) => i).filter((i) => run.truth[i] === t && run.histories[i][1] === p));
  });
  await on("long", async (page, [run]) => {
    await expectMetrics(page, run, 0, 2999);
    await page.keyboard.press("ArrowLeft");
    assert.equal((await state(page)).epoch, 2998);
  });
});

test("those who do not see it, or have no mouse, can use it", async () => {
  const axe = readFileSync(process.env.AXE, "utf8");
  for (const [name, colorScheme] of [["runs", "light"], ["runs", "dark"], ["report", "light"], ["report", "dark"]]) {
    await on(name, async (page) => {
      await page.locator("#rows").press("ArrowDown");
      await page.waitForSelector(name === "report" ? ".explanations .maps, .explanations p" : ".explanations");
      await page.evaluate(axe);
      const {violations} = await page.evaluate(() => axe.run());
      assert.deepEqual(violations.map(({id, nodes}) => [id, ...nodes.map(({html}) => html)]), []);
    }, {colorScheme});
  }
  await on("small", async (page, [run]) => {
    for (const key of ["Home", "ArrowRight", "ArrowRight", "[", "End", "ArrowLeft", "]"]) {
      await page.keyboard.press(key);
      await settle(page);
    }
    assert.deepEqual([(await state(page)).first, (await state(page)).last], [2, 28]);
    await expectMetrics(page, run, 2, 28);
    assert.match(await page.locator("#announcement").innerText(), /^Epoch 29, 600 images shown/);
  });
});

test("dark, on paper and on a narrow screen", async () => {
  await on("small", async (page) => {
    const paper = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const dark = await paper();
    await page.locator("#theme").click();
    await settle(page);
    assert.notEqual(await paper(), dark);
    await page.emulateMedia({media: "print"});
    assert.ok(await page.locator("#query").isHidden());
  }, {colorScheme: "dark"});
  await on("small", async (page) => {
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= 480));
    await page.keyboard.press("?");
    assert.ok(await page.locator("#help").isVisible());
    await page.locator("#help-close").click();
    assert.ok(await page.locator("#help").isHidden());
  }, {viewport: {width: 480, height: 900}});
});

if (process.env.FIGURES) {
  for (const [name, limit] of [["mid", 16], ["big", 33]]) {
    test(`a frame of ${name} takes less than ${limit} ms`, () => on(name, async (page) => {
      const frames = await page.evaluate(async () => {
        const {store, heatmap, view} = evolution;
        const scroller = document.getElementById("rows");
        const next = () => new Promise((done) => requestAnimationFrame(done));
        const times = {fit: [], scroll: [], zoom: [], paced: []};
        for (let i = 0; i < 30; ++i) {
          store.set({reversed: i % 2 === 0});  // so that every cell is painted again
          store.flush();
          times.fit.push(heatmap.drawTime);
          await next();
        }
        for (const zoom of [1.5, 4, 40]) {
          store.set({zoom});
          await next();
          await next();
          let before = performance.now();
          for (let i = 0; i < 40; ++i) {
            scroller.scrollTop += 37;
            await next();
            await next();
            const now = performance.now();
            times.paced.push((now - before) / 2);
            before = now;
            times.scroll.push(heatmap.drawTime);
          }
        }
        for (let i = 0; i < 40; ++i) {
          store.set({zoom: 1.05 ** i});
          const begin = performance.now();
          store.flush();
          times.zoom.push(performance.now() - begin);
          await next();
        }
        return {...times, rows: view().rows.length};
      });
      for (const kind of ["fit", "scroll", "zoom", "paced"]) {
        const sorted = frames[kind].sort((a, b) => a - b);
        const [middle, high] = [0.5, 0.95].map((q) => sorted[Math.floor(q * (sorted.length - 1))]);
        console.log(`${name}: ${kind} ${middle.toFixed(1)} ms, 95 % below ${high.toFixed(1)} ms`);
        if (kind !== "paced") assert.ok(middle < limit);
      }
    }));
  }
}
