// The heatmap: a row an image, a column an epoch, the predicted class's colour; left of it the names
// of groups and images, right of it bars of the three measures. Only what is in view is drawn.
import {counted, fitted, sized, whenChanged} from "./dom.js";
import {epochAt, epochCentre, epochWidth, layOut, rowAt, tallestRow, topOf} from "./layout.js";
import {measures} from "./order.js";
import {mixed} from "./palette.js";

// So many rows of one pixel are blended, evenly chosen; more would not fit the packed sums.
const mostBlended = 256;

export class Heatmap {
  // `scroller` holds `spacer`, as high as all rows, in which the canvases stay in view.
  constructor({scroller, spacer, canvas, overlay}, store, tooltip) {
    Object.assign(this, {scroller, spacer, canvas, overlay, store, tooltip});
    this.buffer = document.createElement("canvas");
    this.setTable = whenChanged(({rgb, theme, state}) => [rgb, theme, state.dim],
      (view) => (this.table = this.colourTable(view)));
    this.paint = whenChanged(
      ({rows, table, layout, top, pixels}) => [rows, table, layout.rowHeight, layout.height, top, pixels],
      (job) => this.paintCells(job));
    this.hovered = null;  // {place, image, epoch or -1}
    this.drawTime = 0;    // ms that the last draw() took
    scroller.addEventListener("scroll", () => this.soon(), {passive: true});
    scroller.addEventListener("wheel", (event) => this.wheel(event), {passive: false});
    scroller.addEventListener("pointermove", (event) => this.hover(event));
    scroller.addEventListener("pointerleave", () => this.hover(null));
    scroller.addEventListener("click", (event) => this.click(event));
  }

  render(view) {
    const {state, groups, rows} = view;
    const room = this.scroller.clientHeight;
    const before = this.view;
    this.view = view;
    if (before && before.rows !== rows) {  // another row lies under the pointer now
      this.hovered = null;
      this.tooltip.hide();
    }
    const old = this.layout;
    this.layout = layOut(groups, rows.length, room - 2, state.zoom);
    this.spacer.style.height = `${Math.max(room, Math.ceil(this.layout.height))}px`;
    if (this.anchor && old) {
      // The row under the pointer stays there.
      const {place, share, y} = this.anchor;
      this.scroller.scrollTop = topOf(this.layout, place) + share * this.layout.rowHeight - y;
    }
    this.anchor = null;
    if (before && before.state.image !== state.image) this.reveal();
    this.setTable(view);
    this.draw();
  }

  // Colours by class * 2 + (1 when that is right), the channels 16 bits apart: a double sums up to
  // mostBlended of them exactly, all three at once.
  colourTable({rgb, theme, state}) {
    const table = new Float64Array(2 * rgb.length);
    rgb.forEach((colour, c) => {
      for (const right of [0, 1]) {
        const [r, g, b] = right && state.dim ? mixed(colour, theme.backgroundRgb, 0.8) : colour;
        table[2 * c + right] = r + g * 0x10000 + b * 0x100000000;
      }
    });
    return table;
  }

  soon() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.draw();
    });
  }

  draw() {
    const begin = performance.now();
    const {view, layout, scroller} = this;
    const {geometry, run, theme} = view;
    const height = scroller.clientHeight;
    const context = sized(this.canvas, geometry.width, height);
    const pixels = this.canvas.height;
    this.top = Math.min(scroller.scrollTop, Math.max(0, layout.height - 1));
    this.paint({rows: view.rows, table: this.table, layout, top: this.top, pixels, step: height / pixels});
    const {x, width} = geometry.plot;
    // More epochs than pixels: neighbours are mixed.
    context.imageSmoothingEnabled = run.epochs > width;
    context.drawImage(this.buffer, 0, 0, run.epochs, pixels, x, 0, width, height);
    this.rule(context, height);
    this.labels(context, height, theme);
    this.bars(context, height, theme);
    this.dots(context, height, theme);
    this.drawOverlay();
    this.drawTime = performance.now() - begin;
  }

  // One pixel for each epoch and line of the screen into `buffer`.
  paintCells({rows, table, layout, top, pixels, step}) {
    const {buffer} = this;
    const {epochs, predicted, truth} = this.view.run;
    if (buffer.width !== epochs || buffer.height !== pixels) {
      buffer.width = epochs;
      buffer.height = pixels;
      this.image = new ImageData(epochs, pixels);
      this.words = new Uint32Array(this.image.data.buffer);
    }
    const words = this.words.fill(0);
    const sums = new Float64Array(epochs);
    let earlier = -1;  // the row that the line above shows alone
    for (const {from, to, line} of this.lines(pixels, step, top, layout)) {
      const at = line * epochs;
      if (to === from + 1 && from === earlier) {
        words.copyWithin(at, at - epochs, at);
        continue;
      }
      earlier = to === from + 1 ? from : -1;
      const stride = Math.ceil((to - from) / mostBlended);
      sums.fill(0);
      let count = 0;
      for (let place = from; place < to; place += stride) {
        const image = rows[place];
        const t = truth[image];
        const begin = image * epochs;
        for (let e = 0; e < epochs; ++e) {
          const c = predicted[begin + e];
          sums[e] += table[2 * c + (c === t ? 1 : 0)];
        }
        ++count;
      }
      for (let e = 0; e < epochs; ++e) {
        const low = sums[e] % 0x100000000;
        const r = ((low & 0xffff) / count) | 0;
        const g = ((low >>> 16) / count) | 0;
        const b = (sums[e] / 0x100000000 / count) | 0;
        words[at + e] = 0xff000000 | (b << 16) | (g << 8) | r;
      }
    }
    buffer.getContext("2d").putImageData(this.image, 0, 0);
  }

  // The rows [from, to) of each of `count` lines of height `step`; lines between groups are left out.
  // A line may hold several thin groups: their rows follow each other.
  *lines(count, step, top, layout) {
    const {bands, rowHeight} = layout;
    let b = 0;
    for (let line = 0; line < count; ++line) {
      const y = top + line * step;
      while (b < bands.length && y >= bands[b].y + bands[b].height) ++b;
      if (b === bands.length) return;
      if (y + step <= bands[b].y) continue;
      let last = b;
      while (last + 1 < bands.length && y + step > bands[last + 1].y) ++last;
      const {start, count: most, y: begin} = bands[b];
      const end = bands[last];
      const from = start + Math.max(0, Math.min(most - 1, Math.floor((y - begin) / rowHeight)));
      const to = end.start + Math.min(end.count, Math.floor((y + step - end.y) / rowHeight));
      yield {line, from, to: Math.max(from + 1, to), y: line * step};
    }
  }

  // Gaps between rows and columns where there is room for them.
  rule(context, height) {
    const {view: {geometry, run, theme}, layout, top} = this;
    const {x, width} = geometry.plot;
    context.fillStyle = theme.background;
    const column = epochWidth(geometry, run);
    if (column >= 14) {
      for (let e = 1; e < run.epochs; ++e) context.fillRect(Math.round(x + e * column) - 0.5, 0, 1, height);
    }
    if (layout.rowHeight < 6) return;
    for (const band of layout.bands) {
      const first = Math.max(1, Math.floor((top - band.y) / layout.rowHeight));
      for (let i = first; i < band.count; ++i) {
        const y = band.y + i * layout.rowHeight - top;
        if (y > height) break;
        context.fillRect(x, y - 0.5, width, 1);
      }
    }
  }

  labels(context, height, theme) {
    const {view: {run, rows, geometry, colours}, layout, top} = this;
    const {gutter} = geometry;
    const names = layout.rowHeight >= 11;
    const half = names ? 0.45 * gutter : gutter - 16;
    let free = 0;  // where the next label may begin
    context.textBaseline = "alphabetic";
    for (const band of layout.bands) {
      const from = Math.max(0, band.y - top);
      const to = Math.min(height, band.y + band.height - top);
      if (to < 0 || from > height) continue;
      if (band.label >= 0) {
        context.fillStyle = colours[band.label];
        context.fillRect(gutter - 7, from, 3, Math.max(1, to - from));
        const y = Math.max(free, from, Math.min(from, to - 12));
        if (y + 11 <= height && y < to) {
          context.textAlign = "left";
          // Groups too thin for a name each: some are named, and quietly.
          const thin = band.height < 12;
          context.font = thin ? theme.font(11) : theme.font(12, 600);
          context.fillStyle = thin ? theme.faint : theme.ink;
          context.fillText(fitted(context, run.classes[band.label], half), 0, y + 10);
          free = y + 15;
          if (to - from >= 28) {
            context.font = theme.font(11);
            context.fillStyle = theme.faint;
            context.fillText(fitted(context, counted(band.count, "image"), half), 0, y + 23);
            free = y + 26;
          }
        }
      }
      if (!names) continue;
      context.textAlign = "right";
      context.font = theme.font(Math.min(11, layout.rowHeight - 1));
      context.fillStyle = theme.faint;
      const room = band.label >= 0 ? gutter - half - 20 : gutter - 14;
      for (let i = Math.max(0, Math.floor((top - band.y) / layout.rowHeight)); i < band.count; ++i) {
        const y = band.y + (i + 0.5) * layout.rowHeight - top;
        if (y > height + layout.rowHeight) break;
        const id = run.ids[rows[band.start + i]];
        // Of a path, the end tells more than the beginning.
        const whole = fitted(context, id, room);
        const text = whole.endsWith("…") ? fitted(context, id.slice(id.lastIndexOf("/") + 1), room) : whole;
        context.fillText(text, gutter - 13, y + 3.5);
      }
    }
  }

  bars(context, height, theme) {
    const {view: {rows, metrics, domains, geometry}, layout, top} = this;
    const thick = layout.rowHeight >= 3;
    for (const [k, name] of measures.entries()) {
      const values = metrics[name];
      const {x, width} = geometry.bars[k];
      const scale = width / domains[name][1];
      context.fillStyle = theme.rule;
      context.fillRect(x - 1, 0, 1, Math.min(height, layout.height - top));
      context.fillStyle = theme.bar;
      if (thick) {
        const gap = Math.min(1, layout.rowHeight / 5);
        for (const band of layout.bands) {
          for (let i = Math.max(0, Math.floor((top - band.y) / layout.rowHeight)); i < band.count; ++i) {
            const y = band.y + i * layout.rowHeight - top;
            if (y > height) break;
            context.fillRect(x, y + gap / 2, values[rows[band.start + i]] * scale, layout.rowHeight - gap);
          }
        }
        continue;
      }
      for (const {from, to, y} of this.lines(Math.ceil(height), 1, top, layout)) {
        let sum = 0;
        for (let place = from; place < to; ++place) sum += values[rows[place]];
        context.fillRect(x, y, (sum / (to - from)) * scale, 1);
      }
    }
  }

  // Right of the columns, at each image that has an explanation.
  dots(context, height, theme) {
    const {view: {explained, places, geometry}, layout, top} = this;
    const radius = Math.min(3, Math.max(1.5, layout.rowHeight / 3));
    context.fillStyle = theme.accent;
    for (const image of explained) {
      if (places[image] < 0) continue;
      const y = topOf(layout, places[image]) + layout.rowHeight / 2 - top;
      if (y < -radius || y > height + radius) continue;
      context.beginPath();
      context.arc(geometry.plot.x + geometry.plot.width + 6, y, radius, 0, 2 * Math.PI);
      context.fill();
    }
  }

  // What changes with the pointer and the chosen epoch.
  drawOverlay() {
    const {view, layout, top, hovered} = this;
    const {state, run, geometry, theme} = view;
    const height = this.scroller.clientHeight;
    const context = sized(this.overlay, geometry.width, height);
    const bottom = Math.min(height, layout.height - top);
    const column = epochWidth(geometry, run);
    const {x, width} = geometry.plot;
    context.fillStyle = theme.veil;
    const begin = x + state.first * column;
    const end = x + (state.last + 1) * column;
    context.fillRect(x, 0, begin - x, bottom);
    context.fillRect(end, 0, x + width - end, bottom);

    const edge = (left, w) => {
      context.fillRect(left - 1, 0, 1.5, bottom);
      context.fillRect(left + w - 0.5, 0, 1.5, bottom);
    };
    context.fillStyle = theme.ink;
    edge(x + state.epoch * column, column);
    if (hovered && hovered.epoch >= 0) {
      context.fillStyle = theme.trace;
      context.fillRect(x + hovered.epoch * column, 0, column, bottom);
    }
    const row = (place, style, weight) => {
      const y = topOf(layout, place) - top;
      const h = Math.max(layout.rowHeight, 1);
      if (y + h < 0 || y > height) return;
      // Thin rows are kept free.
      const line = h < 5 ? 1 : weight;
      context.strokeStyle = style;
      context.lineWidth = line;
      context.strokeRect(x - line / 2, y - line / 2, width + line, h + line);
    };
    if (hovered) row(hovered.place, theme.ink, 1);
    const place = state.image >= 0 ? view.places[state.image] : -1;
    if (place >= 0) {
      row(place, theme.accent, 2);
      const y = topOf(layout, place) - top + layout.rowHeight / 2;
      context.fillStyle = theme.accent;
      context.beginPath();
      context.moveTo(x - 2, y);
      context.lineTo(x - 9, y - 4.5);
      context.lineTo(x - 9, y + 4.5);
      context.fill();
    }
  }

  // {place, image, epoch} under the pointer; epoch -1 beside the columns.
  locate(event) {
    const box = this.scroller.getBoundingClientRect();
    const x = event.clientX - box.left;
    const {view: {geometry, rows, run}, layout} = this;
    const place = rowAt(layout, event.clientY - box.top + this.top);
    if (place < 0 || x > geometry.width) return null;
    const inside = x >= geometry.plot.x && x < geometry.plot.x + geometry.plot.width;
    return {place, image: rows[place], epoch: inside ? epochAt(geometry, run, x) : -1};
  }

  hover(event) {
    if (!this.view) return;
    const found = event && this.locate(event);
    const same = found && this.hovered && found.place === this.hovered.place && found.epoch === this.hovered.epoch;
    this.hovered = found;
    if (!found) this.tooltip.hide();
    else if (same) this.tooltip.move(event);
    else this.tooltip.showImage(this.view, found.image, found.epoch, event);
    if (!same) this.drawOverlay();
  }

  click(event) {
    const found = this.locate(event);
    if (found) this.store.set({image: found.image, ...(found.epoch >= 0 ? {epoch: found.epoch} : {})});
  }

  wheel(event) {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const y = event.clientY - this.scroller.getBoundingClientRect().top;
    this.zoomBy(Math.exp(-event.deltaY * 0.005), y);
  }

  // Around the row at `y`, of the chosen image or of the middle of the view.
  zoomBy(factor, y = null) {
    const {state, places} = this.view;
    const {layout} = this;
    if (y === null) {
      const chosen = state.image >= 0 ? places[state.image] : -1;
      const at = chosen >= 0 ? topOf(layout, chosen) - this.top : -1;
      y = at >= 0 && at < this.scroller.clientHeight ? at : this.scroller.clientHeight / 2;
    }
    const most = Math.max(1, tallestRow / layout.fit);
    const zoom = Math.min(most, Math.max(1, this.store.state.zoom * factor));
    const place = rowAt(layout, y + this.top);
    if (place >= 0 && !this.anchor) {
      this.anchor = {place, y, share: (y + this.top - topOf(layout, place)) / layout.rowHeight};
    }
    this.store.set({zoom: Number(zoom.toPrecision(4))});
  }

  // Scrolls as little as it takes to see the chosen image's row.
  reveal() {
    const {view: {state, places}, layout, scroller} = this;
    const place = state.image >= 0 ? places[state.image] : -1;
    if (place < 0) return;
    const y = topOf(layout, place);
    const margin = 2 * layout.rowHeight + 8;
    if (y < scroller.scrollTop + margin) scroller.scrollTop = y - margin;
    else if (y + layout.rowHeight > scroller.scrollTop + scroller.clientHeight - margin) {
      scroller.scrollTop = y + layout.rowHeight - scroller.clientHeight + margin;
    }
  }

  centreOf(epoch) {
    return epochCentre(this.view.geometry, this.view.run, epoch);
  }
}
