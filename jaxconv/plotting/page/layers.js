// The layers, their receptive fields, and the format of numbers.

const DATA = JSON.parse(document.getElementById("data").textContent);
const LAYERS = new Map(DATA.layers.map((layer) => [layer.name, layer]));

function sides(layer) {
  const [count, height, width] = layer.maps.shape;
  return {count, height, width};
}

/** One map from the numbers of all maps of a layer. */
function plane(layer, values, channel) {
  const {height, width} = sides(layer);
  return values.subarray(channel * height * width, (channel + 1) * height * width);
}

const pooled = new Map();

/** A promise of the numbers of all maps of a layer. */
function maps(layer) {
  if (layer.maps.coding !== "largest") return numbers(layer.maps);
  if (!pooled.has(layer)) {
    const source = LAYERS.get(layer.source);
    pooled.set(layer, maps(source).then((values) => largestInWindows(layer, source, values)));
  }
  return pooled.get(layer);
}

/** The largest error of a number of a map. */
function mapError(layer, value) {
  const {coding} = layer.maps;
  return coding === "largest" ? mapError(LAYERS.get(layer.source), value) : error(layer.maps, value);
}

function isExact(layer) {
  return mapError(layer, 1) === 0;
}

/** For each position along an axis of a layer, the positions along the source that it reads. */
function windowPositions({kernel, stride, dilation, low}, count, size) {
  return Array.from({length: count}, (_, at) =>
    Array.from({length: kernel}, (_, element) => at * stride - low + element * dilation)
      .filter((place) => place >= 0 && place < size));
}

/** The largest number of each window on the source. */
function largestInWindows(layer, source, values) {
  const {count, height, width} = sides(layer), from = sides(source);
  const down = windowPositions(layer.windows[0], height, from.height);
  const across = windowPositions(layer.windows[1], width, from.width);
  const maxima = new Float32Array(count * height * width).fill(-Infinity);
  for (let i = 0; i < maxima.length; i++) {
    const start = Math.floor(i / (height * width)) * from.height * from.width;
    for (const row of down[Math.floor(i / width) % height])
      for (const column of across[i % width])
        maxima[i] = Math.max(maxima[i], values[start + row * from.width + column]);
  }
  return maxima;
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

/** The neuron of a layer whose receptive field is centred nearest to a place of the photo. */
function neuronAt(layer, {row, column}) {
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

function format(number, digits = DIGITS) {
  return digits.format(number).replace("-", "\u2212");
}

function formatError(bound) {
  return bound ? `\u00b1 ${format(bound, FEW_DIGITS)}` : "";
}
