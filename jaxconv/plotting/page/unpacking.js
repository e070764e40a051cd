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

/** Bytes in the order of numbers; in the block all first bytes come first, then all second ones. */
function interleaved(bytes, width) {
  const count = bytes.length / width;
  const mixed = new Uint8Array(bytes.length);
  for (let byte = 0; byte < width; byte++)
    for (let i = 0; i < count; i++) mixed[i * width + byte] = bytes[byte * count + i];
  return mixed.buffer;
}

/** The prediction of a number: the median of left, up, and left + up - upperLeft. */
function predicted(left, up, upperLeft) {
  const low = Math.min(left, up), high = Math.max(left, up);
  return upperLeft >= high ? low : upperLeft <= low ? high : left + up - upperLeft;
}

/** Add its prediction to each difference, in place. */
function addPredictions(codes, [planes, height, width]) {
  for (let row = 0; row < planes * height; row++) {
    const start = row * width, first = row % height === 0;
    for (let x = 0; x < width; x++) {
      const i = start + x;
      const left = x ? codes[i - 1] : 0;
      const up = first ? 0 : codes[i - width];
      const upperLeft = first || !x ? 0 : codes[i - width - 1];
      codes[i] += predicted(left, up, upperLeft);
    }
  }
}

function scaled(codes, step) {
  const values = new Float32Array(codes.length);
  for (let i = 0; i < codes.length; i++) values[i] = codes[i] * step;
  return values;
}

function squared(codes, header) {
  if (header.predicted) addPredictions(codes, header.shape);
  const table = Float32Array.from({length: 256}, (_, code) => {
    const root = (code - header.zero) * header.step;
    return root * Math.abs(root);
  });
  const values = new Float32Array(codes.length);
  for (let i = 0; i < codes.length; i++) values[i] = table[codes[i]];
  return values;
}

// For each coding: how bytes become numbers, and the largest error of a number.
const CODINGS = {
  float32: {
    numbers: (bytes) => new Float32Array(interleaved(bytes, 4)),
    error: () => 0,
  },
  int16: {
    numbers: (bytes, header) => scaled(new Int16Array(interleaved(bytes, 2)), header.step),
    error: (header) => header.step / 2,
  },
  root8: {
    numbers: squared,
    error: (header, value) =>
      value ? Math.sqrt(Math.abs(value)) * header.step + header.step ** 2 / 4 : header.step ** 2 / 4,
  },
};

const unpacked = new Map();

/** A promise of the numbers that a header describes; each block is unpacked once, when needed. */
function numbers(header) {
  if (!unpacked.has(header.block)) {
    const {numbers: read} = CODINGS[header.coding];
    unpacked.set(header.block, inflated(header.block).then((bytes) => read(bytes, header)));
  }
  return unpacked.get(header.block);
}

/** The largest error of a number that was unpacked. */
function error(header, value) {
  return CODINGS[header.coding].error(header, value);
}
