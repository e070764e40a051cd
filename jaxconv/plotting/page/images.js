// Maps as images.

/** A palette as 32-bit pixels, red first in memory. */
function pixels(palette) {
  return Uint32Array.from(palette, ([r, g, b]) => ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0);
}

const PALETTES = {
  positive: pixels(DATA.palettes.positive),
  signed: pixels(DATA.palettes.signed),
};

/** The colours of numbers up to top, by their square root, so that small ones are visible. */
function scale(top, signed) {
  const colours = signed ? PALETTES.signed : PALETTES.positive;
  const shade = (value) => Math.min(Math.sqrt(Math.abs(value) / top), 1);
  const at = signed
    ? (value) => Math.round(127.5 + 127.5 * Math.sign(value) * shade(value))
    : (value) => (value > 0 ? Math.round(255 * shade(value)) : 0);
  return {top, signed, colour: (value) => colours[at(value)]};
}

/** The scale of all maps of a layer, or of one of them alone. */
function scaleOf(layer, map) {
  const top = map ? map.reduce((top, value) => Math.max(top, Math.abs(value)), 0) : layer.top;
  return scale(top || 1, layer.signed);
}

/** Paint rows of numbers; where there is no number (NaN, as in padding) nothing is painted. */
function paint(canvas, values, width, colours) {
  const height = values.length / width;
  [canvas.width, canvas.height] = [width, height];
  const image = new ImageData(width, height);
  const painted = new Uint32Array(image.data.buffer);
  for (let i = 0; i < values.length; i++)
    painted[i] = Number.isNaN(values[i]) ? 0 : colours.colour(values[i]);
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** Paint a bar of all colours of a scale, and write its ends. */
function paintLegend(legend, colours) {
  const [low, bar, high] = legend.children;
  const bottom = colours.signed ? -1 : 0;
  const roots = Float32Array.from({length: 256}, (_, i) => bottom + ((1 - bottom) * i) / 255);
  paint(bar, roots.map((root) => root * Math.abs(root) * colours.top), 256, colours);
  low.textContent = colours.signed ? `\u2264 \u2212${format(colours.top, FEW_DIGITS)}` : "0";
  high.textContent = `\u2265 ${format(colours.top, FEW_DIGITS)}`;
}

const SVG = "http://www.w3.org/2000/svg";

/** Lay boxes over a picture; each one {top, bottom, left, right, kind}. */
function mark(svg, height, width, boxes) {
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.replaceChildren(...boxes.flatMap((box) => ["halo", "box"].map((part) => rectangle(box, part))));
}

function rectangle({top, bottom, left, right, kind}, part) {
  const drawn = document.createElementNS(SVG, "rect");
  const sides = {x: left, y: top, width: right - left, height: bottom - top};
  for (const [name, value] of Object.entries(sides)) drawn.setAttribute(name, value);
  drawn.setAttribute("class", `${part} ${kind}`);
  return drawn;
}

/** Make a frame as wide as its image allows; explorer.css limits its height. */
function shape(frame, height, width) {
  frame.style.setProperty("--ratio", width / height);
}
