// What the page says: a line for each decision, and a banner for what must not be missed.

import { current } from "./grid.js";

export const say = (id, text) => {
  const element = document.getElementById(id);
  if (element && element.textContent !== text) element.textContent = text;
};

// The same words again are another text, so that they are read out again.
function again(id, text) {
  const element = document.getElementById(id);
  if (element) element.textContent = text && element.textContent === text ? `${text}\u00a0` : text;
}

export const announce = (text) => { again("said", text); again("viewsaid", text); };

const element = document.getElementById("banner");
export const kind = () => (element.hidden ? "" : element.dataset.kind);
export const words = () => element.querySelector("span")?.textContent || "";

export function banner(text, of = "") {
  if (words() === text && kind() === of) return;
  element.replaceChildren();
  element.hidden = !text;
  element.dataset.kind = of;
  if (!text) return;
  const sentence = document.createElement("span");
  sentence.textContent = text;
  element.append(sentence);
  if (of !== "refused") return;
  const close = document.createElement("button");
  close.type = "button";
  close.textContent = "Close";
  close.addEventListener("click", () => {
    banner("");
    current()?.focus({ preventScroll: true });
  });
  element.append(close);
}
