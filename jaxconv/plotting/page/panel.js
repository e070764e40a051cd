// The panel that tells of one neuron.

const NEURONS = ["convolution", "product", "pool"]; // the kinds that can be taken apart
const LISTED = 6; // the maps that add most to w.p
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
function tellPlace({layer, channel, y, x}) {
  const box = field(layer, y, x);
  $("#neuron-title").textContent = `Neuron of map ${channel} in ${layer.name}`;
  entries($("#place"), [
    ["at", `y ${y}, x ${x}`],
    ["sees", `${extent(box)} pixels: rows ${box.top} to ${box.bottom - 1}, ` +
      `columns ${box.left} to ${box.right - 1}`],
    ["field", `${layer.exact ? "" : "at most "}${layer.size.join(" \u00d7 ")}, stride ${layer.stride.join(" \u00d7 ")}`],
  ]);
  tellCrop(box);
}

function tellCrop(box) {
  const canvas = $("#crop"), height = box.bottom - box.top, width = box.right - box.left;
  [canvas.width, canvas.height] = [width, height];
  const image = $("#photo img");
  canvas.getContext("2d").drawImage(image, box.left, box.top, width, height, 0, 0, width, height);
  canvas.setAttribute("aria-label", `The ${extent(box)} pixels of the photo that it sees`);
  shape(canvas, height, width);
}

function sumRow(name, number, bound, key) {
  const row = make("tr", {children: [
    make("th", {text: name}), make("td", {text: written(number), name: "number"}),
    make("td", {text: writtenError(bound), name: "error"}),
  ]});
  row.dataset.number = key;
  row.firstChild.scope = "row";
  return row;
}

/** The numbers w.p, b, w.p + b and f(w.p + b). */
function tellSums(found) {
  const rows = [];
  if (found.parts) {
    rows.push(sumRow("w\u00b7p", found.product, found.bound, "product"));
    rows.push(sumRow("b", found.bias, 0, "bias"));
    rows.push(sumRow("w\u00b7p + b", found.product + found.bias, found.bound, "pre"));
  }
  const name = found.layer.filters ? "f(w\u00b7p + b)" : "value";
  rows.push(sumRow(name, found.value, found.valueError, "value"));
  $("#sums tbody").replaceChildren(...rows);
  $("#rounding").textContent = roundingOf(found);
}

/** What the numbers rest on, in a sentence or two. */
function roundingOf({layer, parts, valueError, bound}) {
  const value = layer.filters ? "f(w\u00b7p + b)" : "The value";
  const said = [valueError
    ? `${value} is read off the map, whose numbers are rounded to 8 bits in this page.`
    : `${value} is read off the map, whose numbers are exact in this page.`];
  const source = LAYERS.get(layer.source);
  if (parts) {
    const p = isExact(source) ? "exact numbers" : "numbers rounded to 8 bits";
    const w = layer.filters.coding === "float32" ? "exact weights" : "weights rounded to 16 bits";
    said.push(`w\u00b7p is computed here from ${p} of ${layer.source} and ${w}.`);
  }
  if (valueError || bound) said.push("\u00b1 is the most that the rounding can change.");
  if (layer.unknown) said.push(`${layer.unknown} numbers of this layer are NaN or infinite, shown as 0.`);
  return said.join(" ");
}

function patchPicture(values, width, colours, label) {
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

/** One map of the source: its patch, the weights on it, and what they add. */
function inputRow(part, source, width, looks, choose) {
  const from = make("button", {text: `${part.from}`, name: "from"});
  from.type = "button";
  from.setAttribute("aria-label", `Show map ${part.from} of ${source.name}`);
  from.addEventListener("click", () => choose(part.from));
  const pictures = [
    patchPicture(part.seen, width, looks.seen, `patch of map ${part.from}`),
    patchPicture(part.weights, width, looks.weights, `weights on map ${part.from}`),
    patchPicture(part.seen.map((p, i) => p * part.weights[i]), width, looks.products, "products"),
  ];
  const number = make("td", {text: written(part.sum), name: "number"});
  return make("tr", {children: [...cells([from, ...pictures]), number, bar(part.sum, looks.most)]});
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
  const number = make("td", {text: written(sum), name: "number"});
  return make("tr", {name: "rest", children: [name, number, bar(sum, most)]});
}

/** How the pictures of a neuron are coloured: patches as the map they are of, all else by size. */
function looksOf(parts, source, rest) {
  const products = parts.map(({seen, weights}) => seen.map((p, i) => p * weights[i] || 0));
  return {
    seen: scaleOf(source),
    weights: scale(largest(parts.map(({weights}) => weights)) || 1, true),
    products: scale(largest(products) || 1, true),
    most: Math.max(...parts.map(({sum}) => Math.abs(sum)), Math.abs(rest)),
  };
}

/** The maps that add most to w.p. */
function tellInputs(found, choose) {
  const source = LAYERS.get(found.layer.source);
  const sorted = [...found.parts].sort((a, b) => Math.abs(b.sum) - Math.abs(a.sum));
  const [listed, rest] = [sorted.slice(0, LISTED), sorted.slice(LISTED)];
  const looks = looksOf(listed, source, rest.reduce((sum, part) => sum + part.sum, 0));
  const width = found.layer.windows[1].kernel;
  const rows = listed.map((part) => inputRow(part, source, width, looks, choose));
  if (rest.length) rows.push(restRow(rest, looks.most));
  const heads = ["map", "p", "w", "w\u00b7p", "sum", ""].map((text) => make("th", {text}));
  const head = make("thead", {children: [make("tr", {children: heads})]});
  return [
    make("h3", {text: `What adds most to w\u00b7p: maps of ${source.name}`}),
    make("table", {name: "inputs", children: [head, make("tbody", {children: rows})]}),
  ];
}

/** What is said where the weights are not in the page. */
function tellMissing(found) {
  const {filters, kind} = found.layer;
  if (!NEURONS.includes(kind)) return [];
  const text = filters
    ? `The weights of filter ${found.channel} are not in this page, which has those of the ` +
      `${filters.of.length} strongest maps of this layer. This command tells them:`
    : "What it reads is no map of this page. This command tells it:";
  return [make("p", {text}), make("code", {text: commandFor(found), name: "command"})];
}

async function tellWindow({layer, channel, y, x}, choose) {
  const seen = await windowOf(layer, channel, y, x);
  const source = LAYERS.get(layer.source), width = layer.windows[1].kernel;
  const picture = patchPicture(seen, width, scaleOf(source), `Its window on ${source.name}`);
  const from = make("button", {text: `Map ${channel} of ${source.name}`, name: "from"});
  from.type = "button";
  from.addEventListener("click", () => choose(channel));
  const numbers = [...seen].filter((value) => !Number.isNaN(value)).map((value) => written(value));
  const text = make("p", {text: numbers.join(", "), name: "window"});
  return [make("h3", {text: "What it takes"}), make("p", {children: [from]}), picture, text];
}

/** All of the panel below the numbers. */
async function inputsOf(found, choose) {
  if (found.parts) return tellInputs(found, choose);
  const isPool = !found.layer.filters && found.layer.source && found.layer.windows;
  return isPool ? tellWindow(found, choose) : tellMissing(found);
}

/** A neuron in a sentence, for those who hear the page. */
function sentence(found) {
  const {top, bottom, left, right} = field(found.layer, found.y, found.x);
  const pre = found.parts ? `, w.p + b is ${written(found.product + found.bias)}` : "";
  return `${found.layer.name}, map ${found.channel}, y ${found.y}, x ${found.x}: ` +
    `${written(found.value)}${pre}. It sees rows ${top} to ${bottom - 1}, ` +
    `columns ${left} to ${right - 1}.`;
}
