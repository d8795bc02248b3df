// A photograph of the user's own: turn it, light it, mix it with another.
import { ask, at, History, Latest, say, shown, showMeters, slidersOfPage } from "./common.js";

const sliders = slidersOfPage();
const nothing = { change: {}, share: 0 };
let state = structuredClone(nothing);
let photograph = null;
let donor = null;
let before = {};

function show(content, request, last) {
  at("after").src = content.image;
  const done = Object.keys(request.change).concat(request.share ? ["mixed"] : []);
  at("after").alt = done.length ? `The photograph, edited: ${done.join(", ")}` : "The photograph, not edited";
  showMeters(content.meters);
  showSliders(content.measured);
  document.body.dataset.settled = String(request.measure && last);
}

function showSliders(measured = {}) {
  for (const [name, { input, output, clear, unit }] of sliders) {
    const value = name === "share" ? 100 * state.share : (state.change[name] ?? 0);
    if (document.activeElement !== input) input.value = value;
    const now = measured[name] ?? (Object.keys(state.change).length || state.share ? undefined : before[name]);
    const words = value || name === "share" ? [`${value > 0 && name !== "share" ? "+" : ""}${shown(value)}${unit}`] : [];
    if (now !== undefined) words.push(`measured ${shown(now)}${unit}`);
    output.textContent = words.join(", ");
    clear.hidden = value === 0;
  }
  at("reset").disabled = Object.keys(state.change).length === 0 && state.share === 0;
}

const edits = new Latest("photograph/edit", show);
const history = new History(state, (next) => {
  state = next;
  document.activeElement?.blur?.();
  render(true);
});

function request(measure) {
  const wish = { photograph, change: { ...state.change }, share: state.share, measure };
  return donor === null ? { ...wish, share: 0 } : { ...wish, donor };
}

function render(measure) {
  if (photograph === null) return;
  document.body.dataset.settled = "false";
  showSliders();
  edits.send(request(measure));
}

function changed() {
  history.push(state);
  render(true);
}

function set(name, value) {
  if (name === "share") state.share = value / 100;
  else if (value === 0) delete state.change[name];
  else state.change[name] = value;
}

for (const [name, { input, clear }] of sliders) {
  input.addEventListener("input", () => {
    set(name, Number(input.value));
    render(false);
  });
  input.addEventListener("change", changed);
  clear.addEventListener("click", () => {
    set(name, 0);
    input.value = 0;
    input.focus();
    changed();
  });
}
at("reset").addEventListener("click", () => {
  state = structuredClone(nothing);
  changed();
});

async function load(input) {
  const file = input.files[0];
  if (file === undefined) return null;
  say("Reading the photograph …");
  try {
    const content = await ask(`photograph/load?name=${encodeURIComponent(file.name)}`, file);
    say("");
    return content;
  } catch {
    input.value = "";
    return null;
  }
}

at("file").addEventListener("change", async () => {
  const content = await load(at("file"));
  if (content === null) return;
  photograph = content.photograph;
  before = content.measured;
  at("before").src = content.image;
  at("before").alt = `${content.name}, as it was`;
  at("studio").hidden = false;
  state = structuredClone(nothing);
  history.restart(state);
  render(true);
});
at("other-file").addEventListener("change", async () => {
  const content = await load(at("other-file"));
  if (content === null) return;
  donor = content.photograph;
  at("other-picture").src = content.image;
  at("other-picture").alt = `The other face: ${content.name}`;
  at("other").hidden = false;
  at("other-none").hidden = true;
  if (state.share === 0) state.share = 0.5;
  changed();
});
at("save").addEventListener("submit", (event) => {
  event.preventDefault();
  ask("photograph/edit", { ...request(true), save: at("save-name").value }).catch(() => {});
});
