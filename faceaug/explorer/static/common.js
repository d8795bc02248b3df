// What the pages of the explorer share. Texts come into the page as text alone, never as HTML.

export const at = (id) => document.getElementById(id);

export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

const message = at("message");

export function say(text, isError = false) {
  message.textContent = text;
  message.hidden = !text;
  message.classList.toggle("error", isError);
}

/** Ask for JSON; what is refused becomes a message on the page, and an exception here. */
export async function ask(path, body) {
  const options = body === undefined ? {} : { method: "POST", body: body instanceof Blob ? body : JSON.stringify(body) };
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    say("The explorer does not answer: it was stopped, or is busy. Start it again in the terminal.", true);
    throw new Error("no answer");
  }
  const content = await answer.json().catch(() => ({ error: "The explorer does not know this page any more." }));
  if (content.error !== undefined) {
    say(content.error, true);
    throw new Error(content.error);
  }
  if (message.classList.contains("error")) say("");
  if (content.saved !== undefined) say(`Saved as ${content.saved}`);
  return content;
}

/**
 * One request at a time: while one is answered, only the last of those that came meanwhile is kept.
 *
 * `show` gets the answer, its request, and whether that is the last.
 */
export class Latest {
  constructor(path, show) {
    this.path = path;
    this.show = show;
    this.busy = false;
    this.waiting = null;
  }

  async send(body) {
    if (this.busy) {
      this.waiting = body;
      return;
    }
    this.busy = true;
    try {
      for (let next = body; next !== null; ) {
        this.waiting = null;
        const content = await ask(this.path, next).catch(() => null);
        if (content !== null) this.show(content, next, this.waiting === null);
        else if (this.waiting === null) document.body.dataset.settled = "true"; // no picture will come
        next = this.waiting;
      }
    } finally {
      this.busy = false;
    }
  }
}

/** States that can be gone back to; `apply` shows one. The buttons `undo` and `redo` and the usual keys move in them. */
export class History {
  constructor(state, apply) {
    this.apply = apply;
    this.restart(state);
    at("undo").addEventListener("click", () => this.move(-1));
    at("redo").addEventListener("click", () => this.move(1));
    document.addEventListener("keydown", (event) => {
      const isText = event.target.matches("input:not([type=range]):not([type=checkbox])");
      if (!(event.ctrlKey || event.metaKey) || isText) return;
      const key = event.key.toLowerCase();
      const step = key === "y" || (key === "z" && event.shiftKey) ? 1 : key === "z" ? -1 : 0;
      if (step) {
        event.preventDefault();
        this.move(step);
      }
    });
  }

  restart(state) {
    this.states = [structuredClone(state)];
    this.place = 0;
    this.mark();
  }

  push(state) {
    if (JSON.stringify(state) === JSON.stringify(this.states[this.place])) return;
    this.states = [...this.states.slice(0, this.place + 1), structuredClone(state)];
    this.place += 1;
    this.mark();
  }

  move(step) {
    const place = this.place + step;
    if (place < 0 || place >= this.states.length) return;
    this.place = place;
    this.mark();
    this.apply(structuredClone(this.states[place]));
  }

  mark() {
    at("undo").disabled = this.place === 0;
    at("redo").disabled = this.place === this.states.length - 1;
  }
}

export function shown(value) {
  const digits = Math.abs(value) < 2 ? 2 : 1;
  return (Math.abs(value) < 0.005 ? 0 : value).toFixed(digits);
}

/** A slider of the page with what belongs to it. */
export function slidersOfPage() {
  return new Map(
    [...document.querySelectorAll(".slider")].map((place) => [
      place.dataset.name,
      {
        input: place.querySelector("input"),
        output: place.querySelector("output"),
        clear: place.querySelector(".clear"),
        unit: place.dataset.unit,
      },
    ]),
  );
}

export function showMeters(meters) {
  const refused = meters.filter((meter) => !meter.passes).map((meter) => meter.name);
  at("verdict").textContent = refused.length ? `A run would refuse it: ${refused.join(", ")}` : "Passes every gate that is measured here";
  at("verdict").classList.toggle("refused", refused.length > 0);
  at("meters").replaceChildren(
    ...meters.map((meter) => {
      // How much of what is allowed is used; where nothing is, or the scale is open below, whether it passes.
      const share = meter.limit > 0 ? meter.value / meter.limit : meter.passes ? 0.5 + meter.value / 20 : 1 + meter.value / 10;
      const bar = element("i");
      bar.style.setProperty("--share", Math.min(Math.max(share, 0.02), 1).toFixed(3));
      const words = element("span", { textContent: meter.name });
      const verdict = element("b", { textContent: meter.passes ? "passes" : "refused" });
      const figures = element("small", { textContent: `${shown(meter.value)}, at most ${shown(meter.limit)}` });
      const item = element("li", { title: meter.meaning, className: meter.passes ? "" : "refused" });
      item.append(words, element("span", { className: "track", ariaHidden: "true" }, bar), verdict, figures);
      return item;
    }),
  );
}
