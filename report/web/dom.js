// Building DOM. Names come from strangers' files, so text only ever becomes a text node.

// el("button", {class: "quiet", onclick: f}, "text", child, null): attributes whose value is null or
// false are left out, functions become listeners, children may be nodes, strings, null or lists of them.
export function el(tag, attributes = {}, ...children) {
  return dressed(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return dressed(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function dressed(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false && value !== undefined) {
      node.setAttribute(name, value === true ? "" : value);
    }
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return node;
}

// A name that a direction mark in it cannot carry over to its neighbours.
export const named = (text, attributes = {}) => el("bdi", attributes, brief(text));

// What no line has room for anyway; the whole text is in the image's panel.
export const brief = (text, most = 200) => (text.length > most ? text.slice(0, most) + "…" : text);

// "1 image", "1,200 images".
export const counted = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;

export const byId = (id) => document.getElementById(id);

// Gives `parent` other children. What had the focus in it has it again if it is still there, else what
// stands in its place, else `parent` itself if it can.
export function refill(parent, ...children) {
  const targets = () => [...parent.querySelectorAll("button, [tabindex]")];
  const focused = document.activeElement;
  const place = targets().indexOf(focused);
  parent.replaceChildren(...children);
  if (place < 0) return;
  const next = parent.contains(focused) ? focused : targets()[place] ?? parent;
  next.focus({preventScroll: true});
}

export function swatch(colour) {
  const node = el("i", {class: "swatch", "aria-hidden": "true"});
  node.style.background = colour;
  return node;
}

// `make` remembers its last answer for the same arguments.
export function memo(make) {
  let last = null;
  let answer;
  return (...values) => {
    if (last === null || values.some((value, i) => value !== last[i])) {
      answer = make(...values);
      last = values;
    }
    return answer;
  };
}

// `draw(view)`, left out as long as what `inputs(view)` lists stays the same.
export function whenChanged(inputs, draw) {
  let last = null;
  return (view) => {
    const now = inputs(view);
    if (last !== null && now.every((value, i) => value === last[i])) return;
    last = now;
    draw(view);
  };
}

// A canvas of `width` x `height` CSS pixels at the screen's resolution, cleared; 2d context in CSS
// pixels.
export function sized(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  const w = Math.max(1, Math.round(width * ratio));
  const h = Math.max(1, Math.round(height * ratio));
  const fresh = canvas.width !== w || canvas.height !== h;
  if (fresh) {
    canvas.width = w;
    canvas.height = h;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  if (!fresh) context.clearRect(0, 0, width, height);
  return context;
}

const fits = new Map();
// `text` cut so that it is at most `room` wide in the context's font.
export function fitted(context, text, room) {
  const key = `${context.font}|${Math.round(room)}|${text.slice(0, 300)}|${text.length}`;
  const known = fits.get(key);
  if (known !== undefined) return known;
  let result = text.slice(0, 300);
  if (text.length > 300 || context.measureText(result).width > room) {
    let low = 0;
    let high = result.length;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (context.measureText(result.slice(0, middle) + "…").width <= room) low = middle;
      else high = middle - 1;
    }
    result = low > 0 ? result.slice(0, low) + "…" : "";
  }
  if (fits.size > 20000) fits.clear();
  fits.set(key, result);
  return result;
}
