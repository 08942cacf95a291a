// Keys, wherever the focus is but in a field. In a report they are for the page's own part, `root`,
// while it has the focus or the pointer.
import {byId} from "./dom.js";

export function listen({store, matrix, panel, heatmap, reset, root}) {
  const actions = {
    ArrowLeft: () => matrix.step(-1),
    ArrowRight: () => matrix.step(1),
    Home: () => store.set({epoch: 0}),
    End: () => matrix.step(Infinity),
    ArrowUp: () => panel.step(-1),
    ArrowDown: () => panel.step(1),
    " ": () => matrix.togglePlay(),
    "[": () => store.set({first: store.state.epoch, last: Math.max(store.state.epoch, store.state.last)}),
    "]": () => store.set({last: store.state.epoch, first: Math.min(store.state.epoch, store.state.first)}),
    "/": () => byId("query").focus(),
    "?": () => byId("help").showModal(),
    "+": () => heatmap.zoomBy(1.6),
    "=": () => heatmap.zoomBy(1.6),
    "-": () => heatmap.zoomBy(1 / 1.6),
    0: () => store.set({zoom: 1}),
    d: () => store.set({dim: !store.state.dim}),
    g: () => store.set({grouped: !store.state.grouped}),
    r: reset,
    Escape: () => store.set({image: -1}),
  };
  document.addEventListener("keydown", (event) => {
    const {target, key} = event;
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (!root.contains(target) && !root.matches(":hover")) return;
    if (target.matches("input[type=search], input[type=text], select")) {
      if (key === "Escape") target.blur();
      return;
    }
    // A button and a box keep the space bar, a slider and a row that scrolls their arrows.
    if (key === " " && target.matches("button, input, [role=button]")) return;
    if (target.matches("input[type=range], .kept") && key.startsWith("Arrow")) return;
    const action = actions[key];
    if (!action) return;
    event.preventDefault();
    action();
  });
}
