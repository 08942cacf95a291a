// The page before the first epoch: says how far the run is, and makes room for the whole page.
import {shown} from "./data.js";
import {byId} from "./dom.js";
import {Stream} from "./live.js";

const {title, live} = JSON.parse(byId("data").textContent);
byId("title").textContent = shown(title);
const dark = matchMedia("(prefers-color-scheme: dark)");
const dress = () => (document.documentElement.dataset.theme = dark.matches ? "dark" : "light");
dark.addEventListener("change", dress);
dress();
new Stream(live, byId("live"), {epochs: () => 0}).open();
