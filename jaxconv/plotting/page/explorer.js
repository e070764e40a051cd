// The page as a whole: the drawn network, the photo, one viewer or two, and the panel.

const viewers = [];
let active; // the viewer whose neuron the panel describes
let updates = 0, announcement;

/** A viewer shows another neuron: the photo, the other viewer and the panel follow. */
function moved(viewer) {
  active = viewer;
  const seen = middle(field(viewer.layer, viewer.y, viewer.x));
  for (const other of viewers)
    if (other !== viewer && other.layer) {
      const {y, x} = neuronAt(other.layer, seen);
      other.point(y, x);
    }
  markPhoto();
  markDrawing();
  $(".held").hidden = !viewer.held;
  updatePanel(viewer);
}

function markPhoto() {
  const {height, width} = DATA.photo;
  const boxes = viewers.filter(({layer}) => layer).map((viewer) => (
    {...field(viewer.layer, viewer.y, viewer.x), kind: viewer.letter}));
  mark($("#photo .marks"), height, width, boxes);
}

async function updatePanel(viewer) {
  const update = ++updates;
  const result = await neuron(viewer.layer, viewer.channel, viewer.y, viewer.x);
  if (update !== updates) return; // superseded
  const inputs = await inputsOf(result, (channel) => viewer.choose(viewer.layer.source, channel));
  if (update !== updates) return;
  showPosition(result);
  showSums(result);
  $("#inputs").replaceChildren(...inputs);
  clearTimeout(announcement);
  announcement = setTimeout(() => ($("#announcement").textContent = sentence(result)), 400);
  document.documentElement.dataset.ready = "";
}

/** Layers of the drawing are buttons; arrows lead from one to the next. */
function drawnLayers() {
  return [...document.querySelectorAll("#network [data-layer]")]
    .filter((group) => LAYERS.has(group.dataset.layer));
}

/** Show the layers and arrows of the drawing, without title and small print. */
function crop(svg) {
  const boxes = [...svg.querySelectorAll("[data-layer], .edge")].map((group) => group.getBBox());
  const border = 8;
  if (!boxes.length) return;
  const left = Math.min(...boxes.map(({x}) => x)), top = Math.min(...boxes.map(({y}) => y));
  const right = Math.max(...boxes.map(({x, width}) => x + width));
  const bottom = Math.max(...boxes.map(({y, height}) => y + height));
  const size = [right - left + 2 * border, bottom - top + 2 * border];
  svg.setAttribute("viewBox", [left - border, top - border, ...size].join(" "));
  svg.removeAttribute("height");
  svg.style.setProperty("--width", size[0]);
}

function wireDrawing() {
  const svg = $("#network svg");
  $("#network").hidden = !svg;
  if (svg) crop(svg);
  for (const group of drawnLayers()) {
    group.setAttribute("role", "button");
    group.setAttribute("aria-label", `Show ${group.getAttribute("aria-label") ?? group.dataset.layer}`);
    group.addEventListener("click", () => active.choose(group.dataset.layer));
    group.addEventListener("keydown", pressDrawing);
  }
}

function pressDrawing(event) {
  const groups = drawnLayers(), at = groups.indexOf(event.currentTarget);
  const next = {ArrowLeft: groups[at - 1], ArrowRight: groups[at + 1]}[event.key];
  if (next) next.focus();
  const chosen = event.key === "Enter" || event.key === " ";
  if (chosen) active.choose(event.currentTarget.dataset.layer);
  if (next || chosen) event.preventDefault();
}

function markDrawing() {
  const groups = drawnLayers(), of = ({layer}) => groups.find((group) => layer?.name === group.dataset.layer);
  for (const group of groups) {
    const shown = viewers.find((viewer) => of(viewer) === group);
    group.setAttribute("aria-pressed", Boolean(shown));
    group.setAttribute("tabindex", group === (of(active) ?? groups[0]) ? "0" : "-1"); // one stop
    group.dataset.shown = shown ? shown.letter : "";
  }
  if (of(active)) reveal(of(active));
}

/** Scroll the drawing sideways until a layer is visible. */
function reveal(group) {
  const part = $("#network"), [inner, outer] = [group, part].map((one) => one.getBoundingClientRect());
  if (inner.left < outer.left) part.scrollLeft -= outer.left - inner.left + 40;
  if (inner.right > outer.right) part.scrollLeft += inner.right - outer.right + 40;
}

/** Find the neuron whose receptive field is nearest to the pointer on the photo. */
function pointAtPhoto(event, hold) {
  if (!active.layer || (!hold && (active.held || event.pointerType === "touch"))) return;
  const box = $("#photo img").getBoundingClientRect(), {height, width} = DATA.photo;
  const {y, x} = neuronAt(active.layer, {
    row: ((event.clientY - box.top) / box.height) * height,
    column: ((event.clientX - box.left) / box.width) * width,
  });
  active.held ||= hold;
  active.move(y, x);
}

function wirePhoto() {
  const {name, height, width} = DATA.photo;
  shape($("#photo"), height, width);
  $("#photo").classList.toggle("small", width < 160);
  $("#photo img").alt = `The photo ${name}`;
  $("#photo-size").textContent = `${height} \u00d7 ${width} pixels (height \u00d7 width)`;
  $("#photo").addEventListener("pointermove", (event) => pointAtPhoto(event, false));
  $("#photo").addEventListener("click", (event) => pointAtPhoto(event, true));
}

/** What the network says is in the photo, or why it says nothing. */
function showClasses() {
  const {top, note} = DATA.classes;
  const entries = top.map(([name, share]) => {
    const bar = make("meter");
    bar.value = share;
    const text = share < 0.0005 ? "< 0.1\u2009%" : `${(100 * share).toFixed(1)}\u2009%`;
    bar.setAttribute("aria-hidden", "true");
    return make("li", {children: [make("span", {text: name}), make("b", {text}), bar]});
  });
  $("#classes ol").replaceChildren(...entries);
  $("#classes .note").textContent = note;
  $("#classes").hidden = !top.length && !note;
}

function letGo() {
  viewers.forEach((viewer) => viewer.letGo());
  $(".held").hidden = true;
}

/** Add a second viewer beside the first, or remove it. */
function compare() {
  if (viewers.length > 1) viewers.pop().root.remove();
  else add("B").choose(viewers[0].layer.name);
  active = viewers[0];
  $("main").classList.toggle("comparing", viewers.length > 1);
  moved(active);
}

function add(letter) {
  const viewer = new Viewer(letter, {moved, compare});
  viewer.comparePart.textContent = letter === "A" ? "Compare" : "Close";
  viewers.push(viewer);
  $("#viewers").append(viewer.root);
  if (viewers[0].layer && viewer !== viewers[0])
    Object.assign(viewer, {layer: viewers[0].layer, y: viewers[0].y, x: viewers[0].x});
  return viewer;
}

function start() {
  $("#model-name").textContent = DATA.model;
  $("#photo-name").textContent = DATA.photo.name;
  active = add("A");
  wireDrawing();
  wirePhoto();
  showClasses();
  $("#let-go").addEventListener("click", letGo);
  document.addEventListener("keydown", (event) => event.key === "Escape" && letGo());
  return active.choose(DATA.layers[Math.floor(DATA.layers.length / 2)].name);
}

$("#photo img").decode().then(start);
