// The panel that describes one neuron.

const NEURONS = ["convolution", "product", "pool"]; // the kinds that can be taken apart
const LISTED = 6; // the maps with the largest contributions to w.p
const $ = (selector, root = document) => root.querySelector(selector);

function make(tag, {text = "", name = "", children = []} = {}) {
  const made = document.createElement(tag);
  made.textContent = text;
  if (name) made.className = name;
  made.append(...children);
  return made;
}

function entries(list, pairs) {
  list.replaceChildren(
    ...pairs.flatMap(([term, text]) => [make("dt", {text: term}), make("dd", {text})]));
}

function extent({top, bottom, left, right}) {
  return `${bottom - top} \u00d7 ${right - left}`;
}

/** Where the neuron is and what it sees. */
function showPosition({layer, channel, y, x}) {
  const box = field(layer, y, x);
  $("#neuron-title").textContent = `Neuron of map ${channel} in ${layer.name}`;
  entries($("#place"), [
    ["at", `y ${y}, x ${x}`],
    ["sees", `${extent(box)} pixels: rows ${box.top} to ${box.bottom - 1}, ` +
      `columns ${box.left} to ${box.right - 1}`],
    ["field", `${layer.exact ? "" : "at most "}${layer.size.join(" \u00d7 ")}, stride ${layer.stride.join(" \u00d7 ")}`],
  ]);
  showCrop(box);
}

function showCrop(box) {
  const canvas = $("#crop"), height = box.bottom - box.top, width = box.right - box.left;
  [canvas.width, canvas.height] = [width, height];
  const image = $("#photo img");
  canvas.getContext("2d").drawImage(image, box.left, box.top, width, height, 0, 0, width, height);
  canvas.setAttribute("aria-label", `The ${extent(box)} pixels of the photo that the neuron sees`);
  shape(canvas, height, width);
}

function sumRow(name, number, bound, key) {
  const row = make("tr", {children: [
    make("th", {text: name}), make("td", {text: format(number), name: "number"}),
    make("td", {text: formatError(bound), name: "error"}),
  ]});
  row.dataset.number = key;
  row.firstChild.scope = "row";
  return row;
}

/** The numbers w.p, b, w.p + b and f(w.p + b). */
function showSums(result) {
  const rows = [];
  if (result.parts) {
    rows.push(sumRow("w\u00b7p", result.product, result.bound, "product"));
    rows.push(sumRow("b", result.bias, 0, "bias"));
    rows.push(sumRow("w\u00b7p + b", result.product + result.bias, result.bound, "pre"));
  }
  const name = result.layer.filters ? "f(w\u00b7p + b)" : "value";
  rows.push(sumRow(name, result.value, result.valueError, "value"));
  $("#sums tbody").replaceChildren(...rows);
  $("#rounding").textContent = roundingText(result);
}

/** How exact the numbers are, in a few sentences. */
function roundingText({layer, parts, valueError, bound}) {
  const value = layer.filters ? "f(w\u00b7p + b)" : "The value";
  const sentences = [valueError
    ? `${value} is read from the map. This page stores its numbers rounded to 8 bits.`
    : `${value} is read from the map. This page stores its numbers exactly.`];
  const source = LAYERS.get(layer.source);
  if (parts) {
    const p = isExact(source) ? "exact numbers" : "numbers rounded to 8 bits";
    const w = layer.filters.coding === "float32" ? "exact weights" : "weights rounded to 16 bits";
    sentences.push(`w\u00b7p is computed from ${p} of ${layer.source} and ${w}.`);
  }
  if (valueError || bound) sentences.push("\u00b1 is the largest error due to rounding.");
  if (layer.unknown) sentences.push(`${layer.unknown} numbers of this layer are NaN or infinite; they are shown as 0.`);
  return sentences.join(" ");
}

function patchImage(values, width, colours, label) {
  const canvas = make("canvas", {name: "patch"});
  paint(canvas, values, width, colours);
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", label);
  return canvas;
}

function cells(parts) {
  return parts.map((part) => make("td", {children: [part]}));
}

function largest(arrays) {
  return Math.max(...arrays.map((array) => array.reduce((t, v) => Math.max(t, Math.abs(v) || 0), 0)));
}

/** One map of the source: its patch, the weights on it, and its contribution. */
function inputRow(part, source, width, scales, choose) {
  const from = make("button", {text: `${part.from}`, name: "from"});
  from.type = "button";
  from.setAttribute("aria-label", `Show map ${part.from} of ${source.name}`);
  from.addEventListener("click", () => choose(part.from));
  const pictures = [
    patchImage(part.seen, width, scales.seen, `patch of map ${part.from}`),
    patchImage(part.weights, width, scales.weights, `weights on map ${part.from}`),
    patchImage(part.seen.map((p, i) => p * part.weights[i]), width, scales.products, "products"),
  ];
  const number = make("td", {text: format(part.sum), name: "number"});
  return make("tr", {children: [...cells([from, ...pictures]), number, bar(part.sum, scales.most)]});
}

function bar(sum, most) {
  const drawn = make("i", {name: sum < 0 ? "minus" : "plus"});
  drawn.style.width = `${(50 * Math.abs(sum)) / (most || 1)}%`;
  return make("td", {name: "share", children: [drawn]});
}

function restRow(rest, most) {
  const sum = rest.reduce((total, part) => total + part.sum, 0);
  const name = make("td", {text: `${rest.length} other${rest.length > 1 ? "s" : ""}`});
  name.colSpan = 4;
  const number = make("td", {text: format(sum), name: "number"});
  return make("tr", {name: "rest", children: [name, number, bar(sum, most)]});
}

/** The colours of a neuron's images: patches as their map, all others by size. */
function scalesOf(parts, source, rest) {
  const products = parts.map(({seen, weights}) => seen.map((p, i) => p * weights[i] || 0));
  return {
    seen: scaleOf(source),
    weights: scale(largest(parts.map(({weights}) => weights)) || 1, true),
    products: scale(largest(products) || 1, true),
    most: Math.max(...parts.map(({sum}) => Math.abs(sum)), Math.abs(rest)),
  };
}

/** The maps with the largest contributions to w.p. */
function contributionParts(result, choose) {
  const source = LAYERS.get(result.layer.source);
  const sorted = [...result.parts].sort((a, b) => Math.abs(b.sum) - Math.abs(a.sum));
  const [listed, rest] = [sorted.slice(0, LISTED), sorted.slice(LISTED)];
  const scales = scalesOf(listed, source, rest.reduce((sum, part) => sum + part.sum, 0));
  const width = result.layer.windows[1].kernel;
  const rows = listed.map((part) => inputRow(part, source, width, scales, choose));
  if (rest.length) rows.push(restRow(rest, scales.most));
  const heads = ["map", "p", "w", "w\u00b7p", "sum", ""].map((text) => make("th", {text}));
  const head = make("thead", {children: [make("tr", {children: heads})]});
  return [
    make("h3", {text: `Largest contributions to w\u00b7p, by map of ${source.name}`}),
    make("table", {name: "inputs", children: [head, make("tbody", {children: rows})]}),
  ];
}

/** What the panel says if the weights are not in the page. */
function missingParts(result) {
  const {filters, kind} = result.layer;
  if (!NEURONS.includes(kind)) return [];
  const text = filters
    ? `This page has the weights of the ${filters.of.length} strongest maps of this layer only, ` +
      `not those of filter ${result.channel}. This shows them:`
    : "This page does not have the input of this layer. This shows it:";
  return [make("p", {text}), make("code", {text: commandFor(result), name: "command"})];
}

async function windowParts({layer, channel, y, x}, choose) {
  const seen = await windowOf(layer, channel, y, x);
  const source = LAYERS.get(layer.source), width = layer.windows[1].kernel;
  const picture = patchImage(seen, width, scaleOf(source), `The window on ${source.name}`);
  const from = make("button", {text: `Map ${channel} of ${source.name}`, name: "from"});
  from.type = "button";
  from.addEventListener("click", () => choose(channel));
  const numbers = [...seen].filter((value) => !Number.isNaN(value)).map((value) => format(value));
  const text = make("p", {text: numbers.join(", "), name: "window"});
  return [make("h3", {text: "Input"}), make("p", {children: [from]}), picture, text];
}

/** All of the panel below the numbers. */
async function inputsOf(result, choose) {
  if (result.parts) return contributionParts(result, choose);
  const isPool = !result.layer.filters && result.layer.source && result.layer.windows;
  return isPool ? windowParts(result, choose) : missingParts(result);
}

/** A neuron in a sentence, for screen readers. */
function sentence(result) {
  const {top, bottom, left, right} = field(result.layer, result.y, result.x);
  const pre = result.parts ? `, w.p + b is ${format(result.product + result.bias)}` : "";
  return `${result.layer.name}, map ${result.channel}, y ${result.y}, x ${result.x}: ` +
    `${format(result.value)}${pre}. It sees rows ${top} to ${bottom - 1}, ` +
    `columns ${left} to ${right - 1}.`;
}
