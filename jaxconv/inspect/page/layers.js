// The layers, where their neurons look, and how numbers are written.

const DATA = JSON.parse(document.getElementById("data").textContent);
const LAYERS = new Map(DATA.layers.map((layer) => [layer.name, layer]));

function sides(layer) {
  const [count, height, width] = layer.maps.shape;
  return {count, height, width};
}

/** One map out of the numbers of all maps of a layer. */
function plane(layer, values, channel) {
  const {height, width} = sides(layer);
  return values.subarray(channel * height * width, (channel + 1) * height * width);
}

/** The pixels of the photo that a neuron sees, half-open. */
function field(layer, y, x) {
  const [top, bottom] = layer.rows[y];
  const [left, right] = layer.columns[x];
  return {top, bottom, left, right};
}

/** The index of the range whose middle is nearest to a place. */
function nearest(ranges, place) {
  const distance = ([low, high]) => Math.abs((low + high) / 2 - place);
  return ranges.reduce((best, range, i) => (distance(range) < distance(ranges[best]) ? i : best), 0);
}

/** The neuron of a layer that looks at a place of the photo. */
function looking(layer, {row, column}) {
  return {y: nearest(layer.rows, row), x: nearest(layer.columns, column)};
}

function middle({top, bottom, left, right}) {
  return {row: (top + bottom) / 2, column: (left + right) / 2};
}

/** The channels of a layer in an order: by falling mean, or by number. */
function order(layer, by) {
  return by === "strength" ? layer.order : [...layer.order].sort((a, b) => a - b);
}

/** The place of the largest number of a map. */
function strongest(layer, map) {
  let best = 0;
  for (let i = 0; i < map.length; i++) if (map[i] > map[best]) best = i;
  const {width} = sides(layer);
  return {y: Math.floor(best / width), x: best % width};
}

const DIGITS = new Intl.NumberFormat("en", {maximumSignificantDigits: 5});
const FEW_DIGITS = new Intl.NumberFormat("en", {maximumSignificantDigits: 2});

function written(number, format = DIGITS) {
  return format.format(number).replace("-", "\u2212");
}

function writtenError(bound) {
  return bound ? `\u00b1 ${written(bound, FEW_DIGITS)}` : "";
}
