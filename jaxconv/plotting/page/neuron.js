// The arithmetic of one neuron: f(w.p + b).

/** The numbers of one map that a filter sees from its place; NaN on padding. */
function patch(layer, source, map, y, x) {
  const [rows, columns] = layer.windows;
  const {height, width} = sides(source);
  const seen = new Float32Array(rows.kernel * columns.kernel);
  for (let i = 0; i < seen.length; i++) {
    const [down, right] = [Math.floor(i / columns.kernel), i % columns.kernel];
    const row = y * rows.stride - rows.low + down * rows.dilation;
    const column = x * columns.stride - columns.low + right * columns.dilation;
    const inside = row >= 0 && row < height && column >= 0 && column < width;
    seen[i] = inside ? map[row * width + column] : NaN;
  }
  return seen;
}

/** The channels of the source that a filter reads: all, except for grouped convolutions. */
function read(layer, source, channel) {
  const each = layer.filters.shape[1];
  const groups = sides(source).count / each;
  const first = Math.floor((channel * groups) / layer.filters.count) * each;
  return Array.from({length: each}, (_, i) => first + i);
}

/** The contribution of one map to w.p, and the largest error due to the rounding of p and w. */
function contribution(layer, source, seen, weights) {
  let sum = 0, bound = 0;
  for (let i = 0; i < seen.length; i++) {
    if (Number.isNaN(seen[i])) continue;
    const [p, w] = [mapError(source, seen[i]), error(layer.filters, weights[i])];
    sum += weights[i] * seen[i];
    bound += Math.abs(weights[i]) * p + Math.abs(seen[i]) * w + p * w;
  }
  return {sum, bound};
}

/** The contribution of each map of the source to w.p. */
async function contributions(layer, channel, y, x) {
  const source = LAYERS.get(layer.source);
  const [values, kernels] = await Promise.all([maps(source), numbers(layer.filters)]);
  const elements = layer.filters.shape[2] * layer.filters.shape[3];
  const first = layer.filters.of.indexOf(channel) * layer.filters.shape[1];
  return read(layer, source, channel).map((from, i) => {
    const seen = patch(layer, source, plane(source, values, from), y, x);
    const weights = kernels.subarray((first + i) * elements, (first + i + 1) * elements);
    return {from, seen, weights, ...contribution(layer, source, seen, weights)};
  });
}

/** Whether the weights of a map's filter are in the page. */
function isKnown(layer, channel) {
  return Boolean(layer.filters && layer.source && layer.filters.of.includes(channel));
}

/** A neuron: its value, and w.p + b if the weights are in the page. */
async function neuron(layer, channel, y, x) {
  const values = await maps(layer);
  const value = plane(layer, values, channel)[y * sides(layer).width + x];
  const result = {layer, channel, y, x, value, valueError: mapError(layer, value)};
  if (!isKnown(layer, channel)) return result;
  const parts = await contributions(layer, channel, y, x);
  const product = parts.reduce((sum, part) => sum + part.sum, 0);
  const bound = parts.reduce((sum, part) => sum + part.bound, 0);
  return {...result, parts, product, bound, bias: layer.filters.bias[channel]};
}

/** What a layer without weights sees: the window on the map with the same number. */
async function windowOf(layer, channel, y, x) {
  const source = LAYERS.get(layer.source);
  return patch(layer, source, plane(source, await maps(source), channel), y, x);
}

/** A command line's argument, quoted where a shell needs it. */
function quoted(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\"'\"'")}'`;
}

/** What prints a neuron: a command line, or, for a page made in Python, a call. */
function commandFor({layer, channel, y, x}) {
  if (!DATA.command)
    return `jc.neuron(fn, image, layer=${JSON.stringify(layer.name)}, at=(${y}, ${x}), channel=${channel})`;
  return `${DATA.command} --layer ${quoted(layer.name)} --channel ${channel} --at ${y},${x}`;
}
