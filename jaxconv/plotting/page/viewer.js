// A layer: its maps as thumbnails, and one of them large.

class Viewer {
  /** Hooks: moved(viewer) when it shows another neuron, compare() when its button is pressed. */
  constructor(letter, hooks) {
    this.root = document.importNode($("#viewer").content, true).firstElementChild;
    this.hooks = hooks;
    this.letter = letter;
    this.held = false;
    this.choices = 0;
    this.root.dataset.letter = letter;
    for (const part of ["layer", "sort", "own", "compare", "map", "thumbs", "about", "legend"])
      this[`${part}Part`] = $(`.${part}`, this.root);
    $(".letter", this.root).textContent = letter;
    this.layerPart.append(...DATA.layers.map(({name}) => new Option(name, name)));
    this.listen();
  }

  listen() {
    this.layerPart.addEventListener("change", () => this.choose(this.layerPart.value));
    this.sortPart.addEventListener("change", () => this.list());
    this.ownPart.addEventListener("change", () => this.recolour());
    this.comparePart.addEventListener("click", () => this.hooks.compare());
    this.mapPart.addEventListener("pointermove", (event) => this.hover(event));
    this.mapPart.addEventListener("click", (event) => this.hold(event));
    this.mapPart.addEventListener("keydown", (event) => this.press(event));
    this.thumbsPart.addEventListener("click", (event) => this.take(event.target.closest(".thumb")));
    this.thumbsPart.addEventListener("keydown", (event) => this.step(event));
    this.watcher = new IntersectionObserver((seen) => this.drawThumbs(seen), {
      root: this.thumbsPart, rootMargin: "150px",
    });
  }

  /** Show a layer: its strongest map, and the neuron that sees the same part of the photo. */
  async choose(name, channel) {
    const layer = LAYERS.get(name), choice = ++this.choices;
    this.layerPart.value = name;
    this.root.setAttribute("aria-busy", "true");
    const values = await maps(layer);
    if (choice !== this.choices) return; // another layer was chosen meanwhile
    const seen = this.layer && middle(field(this.layer, this.y, this.x));
    [this.layer, this.values] = [layer, values];
    this.channel = channel ?? layer.order[0];
    Object.assign(this, seen ? neuronAt(layer, seen) : strongest(layer, this.plane()));
    this.root.removeAttribute("aria-busy");
    this.list();
    this.pick(this.channel);
  }

  plane(channel = this.channel) {
    return plane(this.layer, this.values, channel);
  }

  /** List all maps; each is drawn when it becomes visible. */
  list() {
    const {count, height, width} = sides(this.layer);
    this.watcher.disconnect();
    const thumbs = order(this.layer, this.sortPart.value).map((channel) => this.thumb(channel));
    this.thumbsPart.replaceChildren(...thumbs);
    this.thumbsPart.setAttribute("aria-label", `The ${count} maps of ${this.layer.name}`);
    this.aboutPart.textContent =
      `${this.layer.kind}, ${count} map${count > 1 ? "s" : ""} of ${height} \u00d7 ${width}`;
    thumbs.forEach((thumb) => this.watcher.observe(thumb));
    this.select();
  }

  thumb(channel) {
    const {height, width} = sides(this.layer);
    const canvas = make("canvas");
    [canvas.width, canvas.height] = [width, height];
    const thumb = make("div", {name: "thumb", children: [canvas, make("span", {text: `${channel}`})]});
    thumb.dataset.channel = channel;
    thumb.setAttribute("role", "option");
    thumb.title = `map ${channel}, mean ${format(this.layer.means[channel], FEW_DIGITS)}`;
    thumb.setAttribute("aria-label", thumb.title);
    return thumb;
  }

  colours(channel) {
    return scaleOf(this.layer, this.ownPart.checked ? this.plane(channel) : null);
  }

  drawThumbs(seen) {
    for (const {target, isIntersecting} of seen) {
      if (!isIntersecting) continue;
      this.watcher.unobserve(target);
      const channel = Number(target.dataset.channel);
      paint($("canvas", target), this.plane(channel), sides(this.layer).width, this.colours(channel));
      target.dataset.drawn = "";
    }
  }

  recolour() {
    this.list();
    this.draw();
  }

  /** Choose a map. */
  pick(channel) {
    this.channel = channel;
    this.select();
    this.draw();
    this.move(this.y, this.x);
  }

  select() {
    for (const thumb of this.thumbsPart.children) {
      const chosen = Number(thumb.dataset.channel) === this.channel;
      thumb.setAttribute("aria-selected", chosen);
      thumb.tabIndex = chosen ? 0 : -1;
      if (chosen) this.show(thumb);
    }
  }

  /** Scroll the list, and nothing else, until a thumbnail is visible. */
  show(thumb) {
    const box = this.thumbsPart, top = thumb.offsetTop - box.offsetTop;
    if (top < box.scrollTop) box.scrollTop = top;
    const bottom = top + thumb.offsetHeight - box.clientHeight;
    if (bottom > box.scrollTop) box.scrollTop = bottom;
  }

  draw() {
    const {height, width} = sides(this.layer), colours = this.colours(this.channel);
    shape(this.mapPart, height, width);
    paint($("canvas", this.mapPart), this.plane(), width, colours);
    paintLegend(this.legendPart, colours);
    this.mapPart.setAttribute("aria-label",
      `Map ${this.channel} of ${this.layer.name}, ${height} by ${width} neurons; move with the arrow keys`);
  }

  /** Show another neuron of this map. */
  move(y, x) {
    this.point(y, x);
    this.hooks.moved(this);
  }

  point(y, x) {
    const {height, width} = sides(this.layer);
    this.y = Math.min(Math.max(y, 0), height - 1);
    this.x = Math.min(Math.max(x, 0), width - 1);
    const box = {top: this.y, bottom: this.y + 1, left: this.x, right: this.x + 1};
    mark($(".marks", this.mapPart), height, width, [{...box, kind: this.letter}]);
  }

  under(event) {
    const {height, width} = sides(this.layer), box = $("canvas", this.mapPart).getBoundingClientRect();
    return [
      Math.floor(((event.clientY - box.top) / box.height) * height),
      Math.floor(((event.clientX - box.left) / box.width) * width),
    ];
  }

  hover(event) {
    if (!this.layer || this.held || event.pointerType === "touch") return;
    this.move(...this.under(event));
  }

  hold(event) {
    const [y, x] = this.under(event), again = this.held && y === this.y && x === this.x;
    this.held = !again || event.pointerType === "touch";
    this.move(y, x);
  }

  letGo() {
    this.held = false;
  }

  press(event) {
    const far = event.shiftKey ? 10 : 1, action = KEYS[event.key];
    if (!action || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    action(this, far);
  }

  /** Choose the map that is so many positions further. */
  changeMap(by) {
    const sorted = order(this.layer, this.sortPart.value);
    const at = sorted.indexOf(this.channel) + by;
    if (sorted[at] !== undefined) this.pick(sorted[at]);
  }

  /** Choose the layer that is so many positions further. */
  changeLayer(by) {
    const next = DATA.layers[DATA.layers.indexOf(this.layer) + by];
    if (next) this.choose(next.name);
  }

  take(thumb) {
    if (!thumb) return;
    this.pick(Number(thumb.dataset.channel));
    thumb.focus({preventScroll: true});
  }

  /** Move between the thumbnails with the keyboard. */
  step(event) {
    const thumbs = [...this.thumbsPart.children], columns = this.across(thumbs);
    const ways = {ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns,
      Home: -thumbs.length, End: thumbs.length};
    if (!(event.key in ways)) return;
    event.preventDefault();
    const at = thumbs.indexOf(event.target.closest(".thumb")) + ways[event.key];
    this.take(thumbs[Math.min(Math.max(at, 0), thumbs.length - 1)]);
  }

  across(thumbs) {
    const below = thumbs.findIndex((thumb) => thumb.offsetTop > thumbs[0].offsetTop);
    return below < 0 ? thumbs.length : below;
  }
}

const KEYS = {
  ArrowLeft: (viewer, far) => viewer.move(viewer.y, viewer.x - far),
  ArrowRight: (viewer, far) => viewer.move(viewer.y, viewer.x + far),
  ArrowUp: (viewer, far) => viewer.move(viewer.y - far, viewer.x),
  ArrowDown: (viewer, far) => viewer.move(viewer.y + far, viewer.x),
  Home: (viewer) => viewer.move(viewer.y, 0),
  End: (viewer) => viewer.move(viewer.y, Infinity),
  PageUp: (viewer) => viewer.changeMap(-1),
  PageDown: (viewer) => viewer.changeMap(1),
  "[": (viewer) => viewer.changeLayer(-1),
  "]": (viewer) => viewer.changeLayer(1),
};
