// Sliders over the semantics of a generated face.
import { ask, at, History, Latest, say, shown, showMeters, slidersOfPage } from "./common.js";

const sliders = slidersOfPage();
const ranges = new Map([...sliders].map(([name, { input }]) => [name, [Number(input.min), Number(input.max)]]));
let state = { seed: 0, values: {}, keep: true };

function showSlider(name, measured) {
  const { input, output, clear, unit } = sliders.get(name);
  const [low, high] = ranges.get(name);
  const asked = state.values[name];
  const value = asked ?? measured;
  input.min = Math.min(low, value);
  input.max = Math.max(high, value);
  if (document.activeElement !== input || asked === undefined) input.value = value;
  output.textContent = (asked === undefined ? "" : `${shown(asked)}${unit}, measured `) + shown(measured) + unit;
  clear.hidden = asked === undefined;
}

function show(content, request, last) {
  at("after").src = content.image;
  at("after").alt = Object.keys(request.values).length
    ? `Face ${request.seed}, edited: ${Object.keys(request.values).join(", ")}`
    : `Face ${request.seed}, not edited`;
  for (const [name, measured] of Object.entries(content.measured)) if (sliders.has(name)) showSlider(name, measured);
  showMeters(content.meters);
  at("reset").disabled = Object.keys(state.values).length === 0;
  document.body.dataset.settled = String(request.settle && last); // for those who wait for the picture
}

const edits = new Latest("face/edit", show);
const history = new History(state, apply);

async function choose(seed) {
  state.seed = seed;
  at("seed").value = seed;
  at("before").src = `face/${seed}.png`;
  at("before").alt = `Face ${seed}, as it was`;
  for (const choice of document.querySelectorAll(".choice"))
    choice.setAttribute("aria-pressed", String(Number(choice.dataset.seed) === seed));
}

function render(settle) {
  document.body.dataset.settled = "false";
  edits.send({ ...structuredClone(state), settle });
}

function apply(next) {
  state = next;
  at("keep").checked = state.keep;
  choose(state.seed);
  document.activeElement?.blur?.();
  render(true);
}

function changed() {
  history.push(state);
  render(true);
}

for (const [name, slider] of sliders) {
  slider.input.addEventListener("input", () => {
    state.values[name] = Number(slider.input.value);
    slider.output.textContent = shown(state.values[name]) + slider.unit;
    render(false);
  });
  slider.input.addEventListener("change", changed);
  slider.clear.addEventListener("click", () => {
    delete state.values[name];
    slider.input.focus();
    changed();
  });
}

at("keep").addEventListener("change", () => {
  state.keep = at("keep").checked;
  changed();
});
at("reset").addEventListener("click", () => {
  state.values = {};
  changed();
});
for (const choice of document.querySelectorAll(".choice"))
  choice.addEventListener("click", () => {
    choose(Number(choice.dataset.seed));
    changed();
  });
at("seed").addEventListener("change", () => {
  const seed = Number(at("seed").value);
  if (!Number.isInteger(seed) || seed < 0 || seed > 2147483647) {
    say("The number of a face is a whole number from 0 to 2147483647.", true);
    return;
  }
  choose(seed);
  changed();
});
at("save").addEventListener("submit", (event) => {
  event.preventDefault();
  ask("face/edit", { ...state, settle: true, save: at("save-name").value }).catch(() => {});
});
at("save-recipe").addEventListener("submit", async (event) => {
  event.preventDefault();
  const saved = await ask("face/edit", { ...state, save_recipe: at("recipe-name").value }).catch(() => null);
  if (saved?.left_out.length)
    say(`Saved as ${saved.saved}, without ${saved.left_out.join(", ").replaceAll("_", " ")}: a recipe counts by view and light alone.`);
});

choose(0);
render(true);
