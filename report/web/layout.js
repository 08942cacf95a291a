// Where things lie, in CSS pixels. Curves, heatmap and bars share the columns.

// {width, gutter, plot: {x, width}, bars: [{x, width} x 3]}
export function columns(width, epochs) {
  const narrow = width < 720;
  const gutter = narrow ? 96 : 150;
  const gap = narrow ? 10 : 16;
  const least = narrow ? 48 : 76;
  const room = width - gutter - 3 * (gap + least) - 8;
  // A few epochs need no whole page; the bars take what is left, up to a point.
  const plot = Math.max(40, Math.min(room, Math.max(240, 44 * epochs)));
  const bar = Math.min(180, least + Math.max(0, room - plot) / 3);
  return {
    width,
    gutter,
    plot: {x: gutter, width: plot},
    bars: [0, 1, 2].map((i) => ({x: gutter + plot + gap + i * (bar + gap), width: bar})),
  };
}

export const epochWidth = (geometry, run) => geometry.plot.width / run.epochs;
export const epochCentre = (geometry, run, epoch) =>
  geometry.plot.x + (epoch + 0.5) * epochWidth(geometry, run);
// The epoch under x, the nearest one beside the plot.
export function epochAt(geometry, run, x) {
  const epoch = Math.floor((x - geometry.plot.x) / epochWidth(geometry, run));
  return Math.min(run.epochs - 1, Math.max(0, epoch));
}

export const tallestRow = 28;

// Groups below each other: {rowHeight, fit, height, bands: [{label, start, count, y, height}]}. `fit`
// is the row height at which all of them are seen at once; `zoom` multiplies it.
export function layOut(groups, images, room, zoom) {
  const gap = groups.length > 1 ? Math.min(5, (0.15 * room) / (groups.length - 1)) : 0;
  const gaps = gap * (groups.length - 1);
  const fit = Math.min(18, (room - gaps) / Math.max(1, images));
  const rowHeight = Math.max(fit, Math.min(tallestRow, fit * zoom));
  let y = 0;
  const bands = groups.map((group) => {
    const band = {...group, y, height: group.count * rowHeight};
    y += band.height + gap;
    return band;
  });
  return {rowHeight, fit, bands, height: Math.max(0, y - gap)};
}

// The place among the rows that lies at y; -1 beside them.
export function rowAt(layout, y) {
  const {bands, rowHeight} = layout;
  let low = 0;
  let high = bands.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (bands[middle].y <= y) low = middle;
    else high = middle - 1;
  }
  const band = bands[low];
  if (!band || y < band.y || y >= band.y + band.height) return -1;
  return band.start + Math.min(band.count - 1, Math.floor((y - band.y) / rowHeight));
}

export function topOf(layout, place) {
  const band = layout.bands.find(({start, count}) => place < start + count);
  return band.y + (place - band.start) * layout.rowHeight;
}
