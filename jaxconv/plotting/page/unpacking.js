"use strict";
// Arrays out of the page's text blocks, as jaxconv/plotting/packing.py wrote them.

/** The bytes of a block. */
async function inflated(id) {
  const text = atob(document.getElementById(id).textContent);
  const packed = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) packed[i] = text.charCodeAt(i);
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Bytes in the order of numbers, where all first bytes came first, then all second ones ... */
function interleaved(bytes, width) {
  const count = bytes.length / width;
  const mixed = new Uint8Array(bytes.length);
  for (let byte = 0; byte < width; byte++)
    for (let i = 0; i < count; i++) mixed[i * width + byte] = bytes[byte * count + i];
  return mixed.buffer;
}

/** What the neighbours of a number let one expect: the median of left, up, left + up - between. */
function expected(left, up, between) {
  const low = Math.min(left, up), high = Math.max(left, up);
  return between >= high ? low : between <= low ? high : left + up - between;
}

/** Add to each difference what was expected, in place. */
function addExpected(codes, [planes, height, width]) {
  for (let row = 0; row < planes * height; row++) {
    const start = row * width, first = row % height === 0;
    for (let x = 0; x < width; x++) {
      const i = start + x;
      const left = x ? codes[i - 1] : 0;
      const up = first ? 0 : codes[i - width];
      const between = first || !x ? 0 : codes[i - width - 1];
      codes[i] += expected(left, up, between);
    }
  }
}

function scaled(codes, step) {
  const values = new Float32Array(codes.length);
  for (let i = 0; i < codes.length; i++) values[i] = codes[i] * step;
  return values;
}

function squared(codes, form) {
  if (form.predicted) addExpected(codes, form.shape);
  const table = Float32Array.from({length: 256}, (_, code) => {
    const root = (code - form.zero) * form.step;
    return root * Math.abs(root);
  });
  const values = new Float32Array(codes.length);
  for (let i = 0; i < codes.length; i++) values[i] = table[codes[i]];
  return values;
}

// Of each coding, how bytes become numbers, and by how much a number may be off.
const CODINGS = {
  float32: {
    numbers: (bytes) => new Float32Array(interleaved(bytes, 4)),
    error: () => 0,
  },
  int16: {
    numbers: (bytes, form) => scaled(new Int16Array(interleaved(bytes, 2)), form.step),
    error: (form) => form.step / 2,
  },
  root8: {
    numbers: squared,
    error: (form, value) =>
      value ? Math.sqrt(Math.abs(value)) * form.step + form.step ** 2 / 4 : form.step ** 2 / 4,
  },
};

const unpacked = new Map();

/** A promise of the numbers that a form describes; each block is unpacked once, when asked for. */
function numbers(form) {
  if (!unpacked.has(form.block)) {
    const {numbers: read} = CODINGS[form.coding];
    unpacked.set(form.block, inflated(form.block).then((bytes) => read(bytes, form)));
  }
  return unpacked.get(form.block);
}

/** How far the true number may be from the one that was unpacked. */
function error(form, value) {
  return CODINGS[form.coding].error(form, value);
}
