"use strict";
/* The faces of the report. Everything from the data is set as text or as a number, never as markup. */
(() => {
  const folder = document.currentScript.dataset.folder;
  const data = window.faceaugReport;
  const CELLS_AT_ONCE = 8, FACES_AT_ONCE = 24;

  const element = (tag, properties = {}, ...children) => {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (name === "class") made.className = value;
      else if (name.startsWith("aria-") || name === "role" || name === "for" || name === "scope") made.setAttribute(name, value);
      else made[name] = value;
    }
    made.append(...children.filter((child) => child !== null && child !== undefined));
    return made;
  };
  const shown = (value) => {
    if (value === null || value === undefined) return "\u2013";
    if (Number.isInteger(value)) return value.toLocaleString("en");
    return String(Number(value.toPrecision(3)));
  };

  /* Tables whose heads sort their rows. */
  for (const table of document.querySelectorAll("table.sortable")) {
    const body = table.tBodies[0];
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = element("button", { type: "button" }, head.textContent);
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const key = (row) => {
          const text = row.cells[column].textContent, number = Number(text.replaceAll(",", ""));
          return text !== "" && Number.isFinite(number) ? number : text;
        };
        const order = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));
        const rows = [...body.rows].sort((a, b) => order(key(a), key(b)));
        body.append(...(down ? rows.reverse() : rows));
      });
    });
  }
  if (!data) return;

  /* Thumbnails: a window on a sheet. */
  const width = data.shape[1];
  const PLAIN = width <= 64 ? 1 : Math.min(1, 96 / width), LARGE = width <= 64 ? 3 : 2, BESIDE = width <= 64 ? 2 : 1;
  const paint = (target, kind, number, scale) => {
    const place = number % data.perSheet, name = data.sheets[kind][Math.floor(number / data.perSheet)];
    const column = place % data.columns, row = Math.floor(place / data.columns);
    const [h, w] = (kind === "strips" ? data.stripShape : data.shape).map((side) => side * scale);
    Object.assign(target.style, {
      width: `${w}px`,
      height: `${h}px`,
      backgroundImage: `url("${folder}/${name}")`,
      backgroundSize: `${w * data.columns}px auto`,
      backgroundPosition: `${-column * w}px ${-row * h}px`,
    });
    if (Number.isInteger(scale) && scale > 1) target.classList.add("crisp");
    return target;
  };
  const picture = (kind, number, scale, words) =>
    paint(element("span", { class: "thumb", role: "img", "aria-label": words }), kind, number, scale);

  const samples = data.samples, count = samples.cell.length;
  const fields = Object.fromEntries(data.fields.map((field) => [field.key, field]));
  const distance = {
    key: "nearest", name: "distance to the nearest real face", group: "gate", unit: "", limit: "", values: samples.nearestDistance,
    meaning: "one minus the correlation of small grey pictures, 0 for the same picture; those that it was made from do not count",
  };
  if (distance.values.some((value) => value !== null)) fields.nearest = distance;

  /* What is shown, and in which order. */
  const state = { cell: "", engine: "", sort: "", down: false, limits: {} };
  const FILTERS = [["confidence", "at least"], ["plausibility", "at most"], ["realism", "at most"], ["nearest", "at least"]];
  const passes = (i) => {
    if (state.engine !== "" && samples.engine[i] !== Number(state.engine)) return false;
    return FILTERS.every(([key, side]) => {
      const limit = state.limits[key], value = fields[key]?.values[i];
      if (limit === undefined || value === null || value === undefined) return limit === undefined;
      return side === "at least" ? value >= limit : value <= limit;
    });
  };
  const ordered = (indices) => {
    const values = fields[state.sort]?.values;
    if (!values) return indices;
    const known = indices.filter((i) => values[i] !== null).sort((a, b) => values[a] - values[b] || a - b);
    if (state.down) known.reverse();
    return [...known, ...indices.filter((i) => values[i] === null)];
  };

  const cellsElement = document.getElementById("face-cells"), moreCells = document.getElementById("more-cells");
  let byCell = [], waiting = [];
  const update = () => {
    byCell = data.cells.map(() => []);
    for (let i = 0; i < count; i++) if (passes(i)) byCell[samples.cell[i]].push(i);
    byCell = byCell.map(ordered);
    waiting = data.cells.map((_, k) => k).filter((k) => (state.cell === "" ? byCell[k].length : k === Number(state.cell)));
    const total = waiting.reduce((sum, k) => sum + byCell[k].length, 0);
    document.getElementById("face-count").textContent =
      `${total.toLocaleString("en")} of ${count.toLocaleString("en")} synthetic faces in ${waiting.length.toLocaleString("en")} cells.`;
    cellsElement.replaceChildren();
    showCells();
  };
  const showCells = () => {
    for (const k of waiting.splice(0, CELLS_AT_ONCE)) cellsElement.append(cellBlock(k));
    moreCells.hidden = !waiting.length;
  };
  moreCells.addEventListener("click", showCells);

  const faceButton = (indices, position) => {
    const i = indices[position];
    const words = `synthetic face ${position + 1} of ${indices.length}, ${data.cells[samples.cell[i]].label}`;
    const button = paint(element("button", { class: "thumb", type: "button", "aria-label": words }), "faces", i, PLAIN);
    button.addEventListener("click", () => open(indices, position, button));
    return button;
  };
  const cellBlock = (k) => {
    const cell = data.cells[k], indices = byCell[k];
    const thumbs = element("div", { class: "thumbs" });
    const show = (most) => {
      const from = thumbs.querySelectorAll("button.thumb").length;
      thumbs.querySelector(".button")?.remove();
      for (let position = from; position < Math.min(most, indices.length); position++) thumbs.append(faceButton(indices, position));
      if (most < indices.length) {
        const more = element("button", { type: "button", class: "button" }, `Show all ${indices.length.toLocaleString("en")}`);
        more.addEventListener("click", () => { show(Infinity); thumbs.children[most]?.focus(); });
        thumbs.append(more);
      }
    };
    show(FACES_AT_ONCE);
    const real = element("div", { class: "thumbs" });
    cell.beside.forEach((number, position) => real.append(picture("real", number, PLAIN, `real face ${position + 1}, ${cell.label}`)));
    const counts = `${cell.real.toLocaleString("en")} real, ${cell.accepted.toLocaleString("en")} of ${cell.planned.toLocaleString("en")} planned`;
    return element(
      "section", { class: "cell-faces" },
      element("h3", {}, cell.label, " ", element("small", {}, counts)),
      cell.beside.length ? element("div", { class: "kind" }, element("span", {}, "real"), real) : null,
      element("div", { class: "kind" }, element("span", {}, "synthetic"), indices.length ? thumbs : element("span", {}, "none")),
    );
  };

  /* Controls. */
  const controls = document.getElementById("face-controls");
  controls.addEventListener("submit", (event) => event.preventDefault());
  const choice = (words, options, change) => {
    const select = element("select", { "aria-label": words }, ...options.map(([value, text]) => element("option", { value }, text)));
    select.addEventListener("change", () => { change(select.value); update(); });
    controls.append(element("label", {}, words, select));
  };
  choice("cell", [["", "all cells"], ...data.cells.map((cell, k) => [String(k), cell.label])], (value) => { state.cell = value; });
  if (samples.engines.length > 1)
    choice("engine", [["", "all engines"], ...samples.engines.map((name, k) => [String(k), name])], (value) => { state.engine = value; });
  const first = ["confidence", "plausibility", "realism", "nearest"].filter((key) => fields[key]);
  const others = Object.keys(fields).filter((key) => !first.includes(key));
  const orders = [...first, ...others].flatMap((key) => [
    [`${key}\n+`, `${fields[key].name}, lowest first`], [`${key}\n-`, `${fields[key].name}, highest first`],
  ]);
  choice("order", [["", "as they were made"], ...orders], (value) => {
    const [key, side] = value.split("\n");
    state.sort = key; state.down = side === "-";
  });
  for (const [key, side] of FILTERS) {
    if (!fields[key]) continue;
    const words = `${fields[key].name}, ${side}`;
    const input = element("input", { type: "number", step: "any", "aria-label": words });
    const known = fields[key].values.filter((value) => value !== null);
    input.placeholder = `${shown(known.reduce((a, b) => Math.min(a, b)))} to ${shown(known.reduce((a, b) => Math.max(a, b)))}`;
    input.style.width = "10em";
    input.addEventListener("input", () => {
      if (input.value === "") delete state.limits[key]; else state.limits[key] = Number(input.value);
      update();
    });
    controls.append(element("label", {}, words, input));
  }

  /* One face and where it comes from. */
  const detail = document.getElementById("detail");
  let shownFaces = [], at = 0, opener = null;
  const open = (indices, position, from) => {
    [shownFaces, at, opener] = [indices, position, from ?? opener];
    detail.replaceChildren(...detailOf(indices[position], position, indices.length));
    if (!detail.open) detail.showModal();
    detail.scrollTop = 0;
    detail.querySelector(".close").focus();
  };
  const move = (by) => { if (at + by >= 0 && at + by < shownFaces.length) open(shownFaces, at + by); };
  detail.addEventListener("close", () => opener?.focus());
  detail.addEventListener("click", (event) => { if (event.target === detail) detail.close(); });
  detail.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") move(-1);
    if (event.key === "ArrowRight") move(1);
  });
  const button = (words, name, action) => {
    const made = element("button", { type: "button", class: `button ${name}` }, words);
    made.addEventListener("click", action);
    return made;
  };
  const person = (number, title, note) =>
    element("span", { class: "person" }, picture("real", number, BESIDE, `${title}: ${data.real[number]}`), element("b", {}, title), note ?? "", element("span", {}, data.real[number]));
  const table = (rows) =>
    element("table", {}, element("tbody", {}, ...rows.map(([name, ...values]) =>
      element("tr", {}, element("th", { scope: "row" }, name), ...values.map((value, k) => element("td", { class: ["value", "limit", "meaning"][k] }, value))))));
  const readings = (i, group) =>
    data.fields.concat(fields.nearest ? [distance] : [])
      .filter((field) => field.group === group && field.values[i] !== null)
      .map((field) => [field.name, `${shown(field.values[i])}${field.unit && field.unit !== "as labelled" ? ` ${field.unit}` : ""}`, field.limit, field.meaning]);
  const strip = (i) => {
    const last = data.stripImages - 1, shares = [...Array(last + 1).keys()];
    const words = (k) => (k === 0 ? "before" : k === last ? "after" : `${Math.round((100 * k) / last)} %`);
    const scale = Math.min(1, 60 / data.stripShape[1]); // five beside each other on a phone
    return element("div", { class: "people strip-of-edit" }, ...shares.map((k) =>
      element("span", { class: "person" }, picture("strips", samples.strip[i] * (last + 1) + k, scale, `the edit: ${words(k)}`), words(k))));
  };
  const detailOf = (i, position, of) => {
    const cell = data.cells[samples.cell[i]], engine = samples.engines[samples.engine[i]];
    const [shard, row] = samples.place[i], made = samples.madeOf[i], near = samples.nearest[i] ?? [];
    const roles = engine === "rerender" ? ["photograph before its turn"] : made.length > 1 ? ["host", ...made.slice(1).map((_, k) => `donor ${k + 1}`)] : ["photograph"];
    const origin = [
      ["engine", engine], ["file", `shards/${samples.shards[shard]}, row ${row}`], ["seed", samples.seed[i]],
    ];
    if (samples.edit[i] !== null) origin.push(["length of the edit", `${shown(samples.edit[i])} in the latent space`]);
    if (samples.sources[i] > made.length) origin.push(["photographs", `${samples.sources[i]}, of which ${made.length} are shown here`]);
    const part = (title, ...children) => [element("h3", {}, title), ...children];
    const asked = Object.entries(cell.levels).map(([axis, level]) => {
      const field = fields[axis] ?? fields[`semantic/${axis}`], confidence = fields[`attr_confidence/${axis}`]?.values[i];
      const value = field && field.group === "measured" && field.values[i] !== null ? shown(field.values[i]) : "";
      return [axis, level, [value && `measured ${value}`, confidence !== null && confidence !== undefined && `confidence ${shown(confidence)}`].filter(Boolean).join("; ")];
    });
    const gates = readings(i, "gate"), measured = readings(i, "measured"), harmonization = readings(i, "harmonization");
    return [
      element("div", { class: "detail-head" },
        element("h2", { id: "detail-title" }, `${cell.label} `, element("small", {}, `${position + 1} of ${of}`)),
        element("div", {}, button("Previous", "previous", () => move(-1)), " ", button("Next", "next", () => move(1)), " ", button("Close", "close", () => detail.close()))),
      element("div", { class: "detail" },
        element("div", {}, picture("faces", i, LARGE, "the synthetic face")),
        element("div", {},
          ...part("What was asked for", table(asked)),
          ...part("Where it comes from", table(origin)),
          ...(made.length ? [element("div", { class: "people" }, ...made.map((number, k) => person(number, roles[k] ?? "photograph")))] : []),
          ...(samples.strip[i] !== null ? part("The edit, before harmonization", strip(i)) : []),
          ...(near.length ? part(made.length ? "Other real faces that are nearest" : "Nearest real faces", element("div", { class: "people" }, ...near.map(([number, gap]) => person(number, `distance ${shown(gap)}`)))) : []),
          ...(gates.length ? part("Checks that it passed", table(gates)) : []),
          ...(measured.length ? part("Measured", table(measured)) : []),
          ...(harmonization.length ? part("Harmonization", table(harmonization)) : []))),
    ];
  };

  /* Pictures that were refused, once their reason is opened. */
  for (const reason of document.querySelectorAll("details.reason")) {
    reason.addEventListener("toggle", () => {
      const thumbs = reason.querySelector(".thumbs");
      if (!reason.open || thumbs.children.length) return;
      data.refused.forEach((example, number) => {
        if (example.reason !== reason.dataset.name) return;
        const label = data.cells[example.cell].label;
        thumbs.append(element("span", { class: "person" }, picture("refused", number, PLAIN, `refused: ${example.reason}, ${label}`), label));
      });
    });
  }
  update();
})();
