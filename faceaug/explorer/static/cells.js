// Cells as a map: of a data set with its plan, or of an output folder.
import { ask, at, element, History, Latest, say, shown } from "./common.js";

const isOutput = at("plan") === null;
let axes = [];
let cells = [];
let open = null; // the cell whose faces are shown, and the page

/** The parts of the bar of a cell, by the class that colours them. */
const parts = isOutput
  ? (cell) => ({ real: cell.real, planned: cell.accepted, open: cell.short })
  : (cell) => ({ real: cell.real, planned: cell.planned, open: cell.wanted - cell.planned });
const words = isOutput
  ? (cell) => `${count(cell.real)} real, ${count(cell.accepted)} synthetic, ${count(cell.short)} short`
  : (cell) => `${count(cell.real)} real, ${count(cell.planned)} planned, ${count(cell.wanted)} wanted`;

function count(number) {
  return number.toLocaleString("en");
}

function levelsOf(index) {
  const levels = {};
  for (const axis of [...axes].reverse()) {
    levels[axis.name] = axis.levels[index % axis.levels.length];
    index = Math.floor(index / axis.levels.length);
  }
  return levels;
}

function title(index) {
  return Object.entries(levelsOf(index)).map(([name, level]) => `${name} ${level}`).join(", ");
}

/** Draw the map: the last axis across, all others down. With one axis, its levels are the rows. */
function draw() {
  const across = axes.length > 1 ? axes[axes.length - 1] : { name: "", levels: [""] };
  const down = axes.length > 1 ? axes.slice(0, -1) : axes;
  const width = across.levels.length;
  const head = element("tr", {}, ...down.map((axis) => element("th", { scope: "col", textContent: axis.name })));
  head.append(...across.levels.map((level) => element("th", { scope: "col", textContent: level, className: "level" })));
  const rows = [];
  for (let start = 0; start < cells.length; start += width) {
    const levels = levelsOf(start);
    const row = element("tr", {}, ...down.map((axis) => element("th", { scope: "row", textContent: levels[axis.name] })));
    for (let index = start; index < start + width; index += 1) row.append(element("td", {}, cellButton(index)));
    rows.push(row);
  }
  const caption = element("caption", { textContent: across.name ? `across: ${across.name}` : "" });
  at("map").replaceChildren(caption, element("thead", {}, head), element("tbody", {}, ...rows));
  update();
}

function cellButton(index) {
  const bar = element("span", { className: "track", ariaHidden: "true" });
  bar.append(...["real", "planned", "open"].map((name) => element("i", { className: name })));
  const button = element("button", { type: "button", className: "cell" }, element("span", { className: "figures" }), bar);
  button.addEventListener("click", () => showFaces(index, 0));
  return button;
}

/** Bring figures and bars up to date; the buttons stay, so that a limit can be dragged smoothly. */
function update() {
  const largest = Math.max(1, ...cells.map((cell) => Object.values(parts(cell)).reduce((a, b) => a + b)));
  at("map").querySelectorAll(".cell").forEach((button, index) => {
    const cell = cells[index];
    const added = parts(cell).planned;
    button.firstChild.replaceChildren(
      element("b", { textContent: count(cell.real) }),
      element("span", { textContent: added ? ` +${count(added)}` : "" }),
    );
    for (const [name, value] of Object.entries(parts(cell)))
      button.querySelector(`.${name}`).style.setProperty("width", `${(100 * value) / largest}%`);
    button.setAttribute("aria-label", `${title(index)}: ${words(cell)}`);
    button.setAttribute("aria-pressed", String(open?.cell === index));
    button.title = words(cell) + (cell.note ? `. ${cell.note}` : "");
  });
}

async function showFaces(cell, page) {
  const body = isOutput ? { cell, page } : { cell, page, by: at("by").dataset.counted };
  const content = await ask(isOutput ? "output/faces" : "dataset/faces", body).catch(() => null);
  if (content === null) return;
  const isFirst = open?.cell !== cell;
  open = { cell, page };
  update();
  const groups = isOutput
    ? [["Synthetic", content, true], ...(content.real ? [["Real", content.real, false]] : [])]
    : [["Real", content, false]];
  const most = Math.max(...groups.map(([, group]) => group.total));
  at("faces").hidden = false;
  at("faces").replaceChildren(
    element("h2", { textContent: title(cell), tabIndex: -1 }),
    ...reasons(cells[cell]),
    ...groups.flatMap(([name, group, synthetic]) => faces(name, group, synthetic)),
    turner(cell, page, most),
  );
  if (isFirst) {
    at("faces").firstChild.focus({ preventScroll: true });
    at("faces").scrollIntoView({ block: "nearest" });
  }
}

function reasons(cell) {
  if (!isOutput) return [];
  const refused = Object.entries(cell.rejected).sort((a, b) => b[1] - a[1]);
  const list = refused.map(([reason, number]) => `${reason} ${count(number)}`).join(", ");
  const lines = [words(cell) + (list ? `. Refused attempts: ${list}` : ""), cell.note];
  return lines.filter(Boolean).map((line) => element("p", { className: "faint", textContent: line }));
}

function faces(name, group, synthetic) {
  const grid = element("div", { className: "faces" });
  for (const [k, face] of group.faces.entries()) {
    const alt = `${synthetic ? "Synthetic" : "Real"} face ${k + 1}`;
    const button = element("button", { type: "button", className: "face" }, element("img", { src: face.src, alt, loading: "lazy" }));
    button.addEventListener("click", () => showFace(alt, face));
    grid.append(button);
  }
  return [element("h3", { textContent: `${name}: ${count(group.total)}` }), grid];
}

function showFace(alt, face) {
  const facts = element("dl", { className: "facts" });
  for (const [name, value] of Object.entries(face.facts))
    facts.append(element("dt", { textContent: name }), element("dd", { textContent: value }));
  const close = element("button", { type: "button", textContent: "Close" });
  close.addEventListener("click", () => at("face").close());
  at("face").replaceChildren(
    element("h2", { id: "face-title", textContent: alt }),
    element("img", { src: face.src, alt: "" }),
    facts,
    close,
  );
  at("face").showModal();
}

function turner(cell, page, total) {
  const pages = Math.ceil(total / 60);
  if (pages < 2) return "";
  const turn = (text, to) => {
    const button = element("button", { type: "button", textContent: text, disabled: to < 0 || to >= pages });
    button.addEventListener("click", () => showFaces(cell, to));
    return button;
  };
  return element("p", { className: "tools" }, turn("Earlier", page - 1), ` page ${page + 1} of ${pages} `, turn("Later", page + 1));
}

// The plan of a data set.

let state = null;
const limits = new Map(
  [...document.querySelectorAll(".limit")].map((place) => [
    place.dataset.limit,
    { box: place.querySelector("[type=checkbox]"), range: place.querySelector("[type=range]"), output: place.querySelector("output") },
  ]),
);

function read() {
  const kind = at("strategy").value;
  const argument = { uniform: "", "uniform-within": `:${at("within").value}`, min: `:${at("least").value}` }[kind];
  const wish = { by: at("by").value, strategy: kind + argument };
  for (const [name, { box, range }] of limits) if (box.checked) wish[name] = Number(range.value);
  return wish;
}

function write(wish) {
  const [kind, argument] = wish.strategy.split(/:(.*)/s);
  at("by").value = wish.by;
  at("strategy").value = kind;
  if (kind === "uniform-within") at("within").value = argument;
  if (kind === "min") at("least").value = argument;
  for (const [name, { box, range }] of limits) {
    box.checked = wish[name] !== undefined;
    if (box.checked) {
      range.max = Math.max(range.max, wish[name]);
      range.value = wish[name];
    }
  }
  enable();
}

function enable() {
  at("within-place").hidden = at("strategy").value !== "uniform-within";
  at("least-place").hidden = at("strategy").value !== "min";
  for (const { box, range, output } of limits.values()) {
    range.disabled = !box.checked;
    output.textContent = box.checked ? shownLimit(range) : "no limit";
  }
}

function shownLimit(range) {
  return range.step.includes(".") ? shown(Number(range.value)) : count(Number(range.value));
}

function showPlan(content, request) {
  const isNew = JSON.stringify(axes) !== JSON.stringify(content.axes);
  axes = content.axes;
  cells = content.cells;
  at("by").dataset.counted = request.by;
  if (isNew) {
    open = null;
    at("faces").hidden = true;
    const names = axes.map((axis) => element("option", { value: axis.name, textContent: axis.name }));
    const chosen = at("within").value;
    at("within").replaceChildren(...names);
    if (axes.some((axis) => axis.name === chosen)) at("within").value = chosen;
  }
  isNew ? draw() : update();
  const { real, wanted, planned } = content.totals;
  at("totals").textContent = `${count(real)} real, ${count(planned)} planned of ${count(wanted)} wanted`;
  at("notes").replaceChildren(...content.notes.map((note) => element("li", { textContent: note })));
  at("command").textContent = content.command;
  const ends = { max_per_cell: Math.max(...cells.map((cell) => cell.wanted)), max_total: wanted };
  for (const [name, end] of Object.entries(ends)) {
    const { box, range } = limits.get(name);
    range.max = Math.max(end, box.checked ? Number(range.value) : 0, 1);
    if (!box.checked) range.value = range.max;
  }
  enable();
}

function startPlan() {
  const plans = new Latest("dataset/plan", showPlan);
  const drawPlan = () => {
    enable();
    plans.send(read());
  };
  const history = new History(read(), (wish) => {
    write(wish);
    drawPlan();
  });
  const changed = () => {
    enable();
    state = read();
    history.push(state);
    plans.send(state);
  };
  for (const id of ["by", "strategy", "within", "least"]) at(id).addEventListener("change", changed);
  for (const { box, range } of limits.values()) {
    box.addEventListener("change", changed);
    range.addEventListener("input", drawPlan);
    range.addEventListener("change", changed);
  }
  at("plan").addEventListener("submit", (event) => event.preventDefault());
  for (const [form, key, field] of [["save-recipe", "save_recipe", "recipe-name"], ["save-plan", "save_plan", "plan-name"]])
    at(form).addEventListener("submit", (event) => {
      event.preventDefault();
      ask("dataset/plan", { ...read(), [key]: at(field).value }).catch(() => {});
    });
  drawPlan();
}

async function startOutput() {
  const content = await ask("output/cells");
  axes = content.axes;
  cells = content.cells;
  draw();
  const sum = (name) => count(cells.reduce((total, cell) => total + cell[name], 0));
  at("totals").textContent = `${sum("real")} real, ${sum("accepted")} synthetic of ${sum("planned")} planned, ${sum("short")} short`;
}

if (isOutput) startOutput().catch(() => {});
else startPlan();
say("");
