// Plain SVG. Nothing is said by colour alone: what succeeded stands on the line, what failed hangs below it.
const SVG = "http://www.w3.org/2000/svg";

function draw(tag, attributes, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// A drawing that fills its place. Text is not drawn: it would be stretched.
function drawing(width, height, label, shapes) {
  const hidden = label ? { role: "img", "aria-label": label } : { "aria-hidden": "true" };
  return draw("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", ...hidden }, ...shapes);
}

const GLYPHS = {
  fresh: () => draw("circle", { cx: 8, cy: 8, r: 5 }),
  refreshing: () => draw("path", { d: "M8 3a5 5 0 1 1-5 5", class: "line" }),
  failing: () => draw("path", { d: "M8 2.2 14.4 13.6H1.6Z" }),
  unread: () => draw("circle", { cx: 8, cy: 8, r: 4.4, class: "line" }),
};

// The mark of a state: a shape of its own for each.
const glyph = (kind) => draw("svg", { viewBox: "0 0 16 16", class: "glyph " + kind, "aria-hidden": "true" }, GLYPHS[kind]());

const took = (entry) => (entry.solve_ms || 0) + (entry.extract_ms || 0) + (entry.verify_ms || 0);

// The attempts, oldest first, in `slots` places from the right.
function attemptBars(entries, slots, label, down = 14) {
  const [pitch, up] = [8, 22];
  const longest = Math.max(1000, ...entries.map(took));
  const shapes = [draw("rect", { x: 0, y: up, width: slots * pitch, height: 1, class: "axis" })];
  const recent = entries.slice(-slots);
  recent.forEach((entry, n) => {
    const x = (slots - recent.length + n) * pitch + 1;
    const part = Math.sqrt(took(entry) / longest);
    const bar = entry.outcome === "refreshed" ? { y: up - 3 - part * (up - 3), height: 3 + part * (up - 3), class: "good" }
      : entry.outcome === "failed" ? { y: up + 1, height: 3 + part * (down - 4), class: "bad" }
      : { y: up - 7, height: 6, class: "hollow" };
    const hint = draw("title", {});
    hint.textContent = [word(entry.outcome), duration(took(entry)), stamp(entry.at), entry.error && shown(entry.error)].filter(Boolean).join(" · ");
    shapes.push(draw("rect", { x, width: pitch - 2, ...bar }, hint));
  });
  return drawing(slots * pitch, up + down, label, shapes);
}

// Numbers side by side, the last one of now.
function columns(numbers, label) {
  const most = Math.max(1, ...numbers);
  const shapes = [draw("rect", { x: 0, y: 39, width: numbers.length * 8, height: 1, class: "axis" })];
  numbers.forEach((number, n) => {
    const height = number ? 2 + 35 * number / most : 0;
    shapes.push(draw("rect", { x: n * 8 + 1, y: 39 - height, width: 6, height, class: "report" }));
  });
  return drawing(numbers.length * 8, 40, label, shapes);
}

// Parts of a whole, as [class, number].
function shares(parts, label) {
  const sum = parts.reduce((all, [, number]) => all + number, 0) || 1;
  let x = 0;
  const shapes = parts.map(([kind, number]) => {
    const width = 1000 * number / sum;
    const shape = draw("rect", { x, y: 0, width: Math.max(0, width - 3), height: 10, class: kind });
    x += width;
    return shape;
  });
  return drawing(1000, 10, label, shapes);
}

// Lives as { from, to, end, reported } in milliseconds, oldest first; what is left of the last one is drawn lighter.
function lifeLine(lives, from, to, now, label) {
  const place = (at) => 1000 * Math.min(1, Math.max(0, (at - from) / (to - from)));
  const shapes = [];
  lives.forEach((life, n) => {
    const [begin, end] = [place(life.from), place(Math.min(life.to, now))];
    if (end > begin) shapes.push(draw("rect", { x: begin, y: 4, width: Math.max(1.5, end - begin - 2), height: 12, class: n % 2 ? "lived odd" : "lived" }));
    if (life.to > now) shapes.push(draw("rect", { x: place(now), y: 4, width: Math.max(0, place(life.to) - place(now)), height: 12, class: "left" }));
    if (life.reported) shapes.push(draw("rect", { x: Math.max(0, end - 2.5), y: 18, width: 3, height: 6, class: "bad" }));
  });
  shapes.push(draw("rect", { x: place(now) - 1, y: 0, width: 2.5, height: 24, class: "now" }));
  return drawing(1000, 24, label, shapes);
}
