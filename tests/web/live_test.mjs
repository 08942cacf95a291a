// The live page beside real trainings, in headless Chromium; tests/web/run starts this. Trainers are
// killed and go on, servers too; what the page shows at the end is compared with the run's files.
import assert from "node:assert/strict";
import {spawn} from "node:child_process";
import {existsSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync} from "node:fs";
import {createServer} from "node:net";
import {tmpdir} from "node:os";
import {join} from "node:path";
import {after, before, test} from "node:test";
import {pathToFileURL} from "node:url";

const {chromium} = await import(pathToFileURL(process.env.PLAYWRIGHT));
const folder = mkdtempSync(join(tmpdir(), "glassnet-live-"));
const started = [];
let browser;
before(async () => {
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM,
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"],
  });
  await glassnet("scenes", "scenes", "--train", "12", "--test", "8", "--size", "40").ended;
});
after(async () => {
  await browser.close();
  for (const child of started) child.kill("SIGKILL");
  rmSync(folder, {recursive: true});
});

// The program in the tests' folder: {child, ended, says(pattern)}, the last a promise of the match in
// what it writes.
function glassnet(...args) {
  const child = spawn(process.env.GLASSNET, args, {cwd: folder, stdio: ["ignore", "pipe", "pipe"]});
  started.push(child);
  let text = "";
  const waits = [];
  const hear = (bytes) => {
    text += bytes;
    for (const {pattern, resolve} of waits) if (pattern.test(text)) resolve(pattern.exec(text));
  };
  child.stdout.on("data", hear);
  child.stderr.on("data", hear);
  const ended = new Promise((resolve) => child.on("close", (code, signal) => resolve({code, signal, text})));
  const says = (pattern) => new Promise((resolve, reject) => {
    waits.push({pattern, resolve});
    hear("");
    ended.then(() => reject(new Error(`ended without saying ${pattern}: ${text}`)));
  });
  return {child, ended, says};
}
const training = (data, run, epochs, ...more) =>
  glassnet("train", data, "--out", run, "--model", "resnet18", "--image-size", "32", "--epochs", String(epochs),
    "--batch-size", "12", "--threads", "1", ...more);

// A page under `work`, in which nothing may go wrong but what `tolerated` names, and nothing be asked
// of anybody else.
async function on(port, work, tolerated = /^$/) {
  const page = await browser.newPage({viewport: {width: 1440, height: 900}});
  const troubles = [];
  const trouble = (text) => tolerated.test(text) || troubles.push(text);
  page.on("pageerror", (error) => trouble(error.stack));
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && trouble(message.text()));
  page.on("request", (request) => {
    if (!request.url().startsWith(`http://127.0.0.1:${port}/`) && !request.url().startsWith("data:")) trouble(request.url());
  });
  page.on("dialog", (dialog) => trouble(dialog.message()));
  await page.goto(`http://127.0.0.1:${port}/`);
  await work(page);
  assert.deepEqual(troubles, []);
  await page.close();
}
const says = (page, pattern) => page.waitForFunction(
  (source) => new RegExp(source).test(document.getElementById("live").textContent), pattern.source, {timeout: 60000});
const reaches = (page, epochs) => page.waitForFunction(
  (least) => globalThis.evolution && evolution.runs[0].epochs >= least, epochs, {timeout: 60000});
const epochsOf = (page) => page.evaluate(() => evolution.runs[0].epochs);

// (epochs, images) of a run's predictions.
function logged(run) {
  const bytes = readFileSync(join(folder, run, "predictions.npy"));
  const [, epochs, images] = /'shape': \((\d+), (\d+)\)/.exec(bytes.subarray(0, 128).toString("latin1")).map(Number);
  return Array.from({length: epochs}, (_, e) =>
    Array.from({length: images}, (_, i) => Number(bytes.readBigInt64LE(128 + 8 * (e * images + i)))));
}
// What is drawn is what the files hold.
async function expectLogged(page, run) {
  const expected = logged(run);
  const metrics = readFileSync(join(folder, run, "metrics.jsonl"), "utf8").trim().split("\n").map(JSON.parse);
  await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
  const shown = await page.evaluate(() => {
    const {run: {epochs, images, predicted, testLoss, trainAccuracy}, allCourses, state} = evolution.view();
    return {epochs, testLoss, trainAccuracy, accuracy: allCourses.accuracy, flux: allCourses.flux, state,
      predicted: Array.from({length: epochs}, (_, e) => Array.from({length: images}, (_, i) => predicted[i * epochs + e]))};
  });
  assert.deepEqual(shown.predicted, expected);
  assert.equal(shown.epochs, metrics.length);
  metrics.forEach((line, e) => {
    assert.ok(Math.abs(shown.testLoss[e] - line.test_loss) <= 1e-5 * line.test_loss);
    assert.ok(Math.abs(shown.trainAccuracy[e] - line.train_accuracy) < 1e-5);
    assert.ok(Math.abs(shown.accuracy[e] - line.test_accuracy) < 1e-9);
    if (e > 0) assert.ok(Math.abs(shown.flux[e] - line.flux) < 1e-9);
  });
  return shown.state;
}

test("a page waits for a run, follows it, and stays through the trainer's death", {timeout: 240000}, async () => {
  const watch = glassnet("watch", "run", "--port", "0");
  const port = Number((await watch.says(/http:\/\/127\.0\.0\.1:(\d+)\//))[1]);
  await on(port, async (page) => {
    await says(page, /^waiting for the run to begin$/);
    let trainer = training("scenes", "run", 9);
    await says(page, /^live, epoch 1 of 9 in training$/);
    await reaches(page, 1);
    await says(page, /^live, epoch \d of 9 in training, about \d+ s each$/);
    // Somebody looks at all that there is, the image of a row among it.
    await page.locator("#rows").press("ArrowDown");
    await page.waitForFunction(() => {
      const image = document.querySelector("#image-body img");
      return image && image.complete && image.naturalWidth === 192;
    });
    const chosen = await page.locator("#image-title").innerText();
    await reaches(page, 3);
    trainer.child.kill("SIGKILL");
    assert.equal((await trainer.ended).signal, "SIGKILL");
    await says(page, /^training stopped after epoch \d of 9; waiting for it to go on$/);
    const stopped = await expectLogged(page, "run");
    assert.equal(stopped.last, logged("run").length - 1);
    assert.equal(stopped.epoch, stopped.last);
    // They ask for its explanation, which costs a click and stays while epochs come.
    assert.equal(await page.locator(".explanations img").count(), 0);
    await page.locator(".explanations button").press("Enter");
    await page.waitForSelector(".maps img", {timeout: 60000});
    assert.match(await page.locator("#announcement").innerText(), /^Explained: \w+ with \d+ %$/);
    const focused = () => page.evaluate(() => document.activeElement.getAttribute("aria-label"));
    assert.equal(await focused(), "Explanation");
    const names = await page.locator(".explanations figcaption b").allInnerTexts();
    assert.deepEqual(names, ["Photograph", "Grad-CAM", "Saliency", "LIME"]);
    assert.ok(await page.locator(".explanations img").evaluateAll((images) => images.every((image) => image.naturalWidth === 224)));
    assert.match(await page.locator(".asked").innerText(), /asked of the weights of epoch \d/);

    // What is not at the end stays where it is, and so does the focus.
    await page.getByRole("button", {name: "Saliency, larger"}).focus();
    await page.evaluate(() => evolution.store.set({first: 1, epoch: 0}));
    trainer = training("scenes", "run", 9, "--resume");
    await says(page, /^live, epoch \d of 9 in training/);
    await says(page, /^finished after epoch 9 of 9$/);
    assert.equal((await trainer.ended).code, 0);
    const finished = await expectLogged(page, "run");
    assert.deepEqual([finished.first, finished.last, finished.epoch], [1, 8, 0]);
    assert.equal(await page.locator("#image-title").innerText(), chosen);
    assert.equal(await page.locator(".explanations img").count(), 4);
    assert.equal(await focused(), "Saliency, larger");
    // The explanation is as old as before when they come back from another image.
    const {image} = finished;
    for (const other of [image > 0 ? 0 : 1, image]) {
      await page.evaluate((next) => evolution.store.set({image: next}), other);
      await page.waitForSelector(`.explanations[data-image="${other}"]`);
    }
    await page.getByRole("button", {name: "Explain again"}).click();
    await page.waitForSelector(".explanations:not(:has(> button:visible)) .maps img", {timeout: 60000});
    assert.match(await page.locator("#summary").innerText(), /9 epochs$/);
    await page.evaluate(readFileSync(process.env.AXE, "utf8"));
    const {violations} = await page.evaluate(() => axe.run());
    assert.deepEqual(violations.map(({id, nodes}) => [id, ...nodes.map(({html}) => html)]), []);
    // Beginning again shows the same.
    await page.reload();
    const again = await expectLogged(page, "run");
    assert.deepEqual([again.first, again.last, again.epoch], [1, 8, 0]);
  });
  watch.child.kill("SIGTERM");
  assert.equal((await watch.ended).code, 0);
});

test("train --watch serves as long as it trains, and a page goes on with its successor", {timeout: 240000}, async () => {
  const taken = createServer().listen(0, "127.0.0.1");
  await new Promise((done) => taken.once("listening", done));
  const port = taken.address().port;
  const refused = await training("scenes", "beside", 6, "--watch", "--port", String(port)).ended;
  assert.equal(refused.code, 1);
  assert.match(refused.text, new RegExp(`^glassnet: port ${port} is taken, .*--port.*\n$`));
  assert.ok(!existsSync(join(folder, "beside")));
  await new Promise((done) => taken.close(done));

  let trainer = training("scenes", "beside", 6, "--watch", "--port", String(port));
  await trainer.says(new RegExp(`watch it at http://127.0.0.1:${port}/\n`));
  await on(port, async (page) => {
    await reaches(page, 2);
    trainer.child.kill("SIGKILL");
    await trainer.ended;
    await says(page, /^connection lost, trying again …$/);
    trainer = training("scenes", "beside", 6, "--resume", "--watch", "--port", String(port));
    await says(page, /^live, epoch \d of 6 in training/);
    await says(page, /^finished after epoch 6 of 6/);
    await expectLogged(page, "beside");
    assert.equal((await trainer.ended).code, 0);
    await says(page, /^finished after epoch 6 of 6; the server has ended$/);
  }, /net::ERR_(CONNECTION_REFUSED|CONNECTION_RESET|EMPTY_RESPONSE|INCOMPLETE_CHUNKED_ENCODING)/);
});

test("hostile names only show themselves while a run goes on", {timeout: 240000}, async () => {
  const names = ["<script>globalThis.trapped=1<script>", "\"><img src=x onerror=trapped=1>", "\u202eright to left",
    "\u0001\u007f\u2028", "W".repeat(240), "'; trapped=1; '\\\n<!--"];
  await glassnet("scenes", "hostile", "--train", "4", "--test", "2", "--size", "40").ended;
  const classes = ["buildings", "forest", "glacier", "mountain", "sea", "street"];
  for (const split of ["train", "test"]) {
    classes.forEach((name, i) => renameSync(join(folder, "hostile", split, name), join(folder, "hostile", split, names[i])));
  }
  // A file's name need not even be text.
  const pictures = join(folder, "hostile", "test", names[1]);
  renameSync(join(pictures, readdirSync(pictures)[0]), Buffer.concat([Buffer.from(pictures), Buffer.from("/\xff\xfe\xc0.jpg", "latin1")]));
  const run = "<b>run<b>\u202e";
  const trainer = training("hostile", run, 12, "--watch", "--port", "0");
  const port = Number((await trainer.says(/127\.0\.0\.1:(\d+)/))[1]);
  await on(port, async (page) => {
    await reaches(page, 2);
    for (let image = 0; image < 12; ++image) {
      await page.evaluate((chosen) => evolution.store.set({image: chosen, trueClass: chosen % 6}), image);
      await page.waitForFunction(() => document.querySelector("#image-body img")?.naturalWidth === 192);
    }
    await says(page, /^finished/);
    assert.equal(await page.evaluate(() => globalThis.trapped), undefined);
    assert.equal(await page.locator("img:not(#image-body img), iframe, object").count(), 0);
    assert.equal(await page.locator("script").count(), 1);
    const legend = await page.locator("#legend button").allInnerTexts();
    assert.deepEqual([...legend].sort(), ["<script>globalThis.trapped=1<script>", "\"><img src=x onerror=trapped=1>",
      "⟨U+202E⟩right to left", "⟨U+0001⟩⟨U+007F⟩⟨U+2028⟩", "W".repeat(200) + "…", "'; trapped=1; '\\⟨U+000A⟩<!--"].sort());
    assert.equal(await page.locator("#title").innerText(), "Confusion Evolution: <b>run<b>⟨U+202E⟩");
  }, /net::ERR_(CONNECTION_REFUSED|CONNECTION_RESET|EMPTY_RESPONSE|INCOMPLETE_CHUNKED_ENCODING)/);
});
