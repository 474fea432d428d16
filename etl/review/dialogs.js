// What opens over the grid: the large view with an image's story, the classes, the reasons, the keys.

import * as grid from "./grid.js";

const find = (id) => document.getElementById(id);
export const view = find("view");
const palette = find("palette");
const reasons = find("reasons");
export const classes = [...document.querySelectorAll("#legend tr[data-class]")].map((row) => row.dataset.class);
export const isOpen = () => document.querySelector("dialog[open]") !== null;

// The large view follows the current tile; compared images stand side by side, the one that is kept on the left.
export function openView() {
  const tile = grid.current();
  if (!tile) return;
  if (!view.open) view.showModal();
  fill(tile);
  view.focus();
}

function fill(tile) {
  const against = tile.dataset.against && inGroup(tile, `[data-id="${tile.dataset.against}"]`);
  const member = !against && inGroup(tile, `[data-against="${tile.dataset.id}"]`);
  find("left").hidden = !against && !member;
  if (against || member) picture(find("left"), against || tile);
  picture(find("right"), member || tile);
  const isLeft = Boolean(member);
  find("left").classList.toggle("here", isLeft);
  find("right").classList.toggle("here", !isLeft && Boolean(against));
  refreshStory();
  const next = grid.tiles[grid.tiles.indexOf(tile) + 1];
  if (next) new Image().src = source(next);
}

const inGroup = (tile, selector) => tile.closest(".group").querySelector(selector);
const source = (tile) => `v/${tile.dataset.id}?v=${tile.dataset.v}`;

function picture(figure, tile) {
  const image = figure.querySelector("img");
  if (image.getAttribute("src") !== source(tile)) image.src = source(tile);
  image.alt = tile.getAttribute("aria-label");
  const note = tile.querySelector("i").textContent;
  const name = tile.getAttribute("aria-label");
  const file = name.split(/\/|, /).pop();
  figure.querySelector("figcaption").textContent = note === file ? `${file} · ${name.split(", ")[0]}` : `${note} · ${file}`;
  figure.dataset.id = tile.dataset.id;
  figure.dataset.mark = tile.dataset.mark || "";
}

let asked = 0;
export async function refreshStory() {
  const tile = grid.current();
  if (!view.open || !tile) return;
  const number = ++asked;
  for (const side of ["left", "right"]) {
    const shown = grid.of(find(side).dataset.id)[0];
    if (shown) find(side).dataset.mark = shown.dataset.mark || "";
  }
  let text;
  try {
    const answer = await fetch(`story/${tile.dataset.id}?v=${tile.dataset.v}`, { cache: "no-store" });
    if (!answer.ok) return;
    text = await answer.text();
  } catch {
    return; // the banner says that nothing answers
  }
  if (number !== asked) return;
  const story = new DOMParser().parseFromString(text, "text/html"); // ours, and escaped where it was made
  find("story").replaceChildren(...story.body.childNodes);
}

grid.onMove((tile) => view.open && fill(tile));
view.addEventListener("close", () => grid.current()?.focus({ preventScroll: true }));

// The classes, narrowed by what is typed.
let took = () => {};
const input = palette.querySelector("input");
const options = find("palette-list");
let marked = 0;

export function openPalette(take) {
  took = take;
  input.value = "";
  narrow();
  palette.showModal();
  input.focus();
}

function narrow() {
  const typed = input.value.trim().toLowerCase();
  const found = classes.filter((name) => name.toLowerCase().includes(typed));
  found.sort((one, two) => two.toLowerCase().startsWith(typed) - one.toLowerCase().startsWith(typed));
  options.replaceChildren(...found.slice(0, 12).map(option));
  point(0);
}

function option(name, index) {
  const item = document.createElement("li");
  item.id = `class-${index}`;
  item.setAttribute("role", "option");
  const key = document.createElement("kbd");
  const place = classes.indexOf(name) + 1;
  key.textContent = place <= 9 ? place : "";
  key.classList.toggle("none", place > 9);
  key.setAttribute("aria-hidden", "true");
  const text = document.createElement("span");
  text.textContent = name;
  text.className = "given";
  item.append(key, text);
  item.dataset.class = name;
  return item;
}

function point(index) {
  const items = [...options.children];
  marked = items.length ? (index + items.length) % items.length : -1;
  items.forEach((item, at) => item.setAttribute("aria-selected", String(at === marked)));
  input.setAttribute("aria-activedescendant", marked < 0 ? "" : items[marked].id);
  items[marked]?.scrollIntoView({ block: "nearest" });
}

function takeClass(item) {
  if (!item) return;
  palette.close();
  took(item.dataset.class);
}

input.addEventListener("input", narrow);
input.addEventListener("keydown", (event) => {
  if (event.key === "ArrowDown") point(marked + 1);
  else if (event.key === "ArrowUp") point(marked - 1);
  else if (event.key === "Enter") takeClass(options.children[marked]);
  else return;
  event.preventDefault();
});
options.addEventListener("click", (event) => takeClass(event.target.closest("li")));

// The reasons, by number or by typing another.
let because = () => {};
export function openReasons(take) {
  because = take;
  reasons.querySelector("input").value = "";
  reasons.showModal();
  reasons.querySelector("button").focus();
}

function takeReason(text) {
  reasons.close();
  if (text) because(text);
}

reasons.addEventListener("click", (event) => {
  const button = event.target.closest("[data-reason]");
  if (button) takeReason(button.dataset.reason);
});
reasons.addEventListener("keydown", (event) => {
  const buttons = [...reasons.querySelectorAll("[data-reason]")];
  if (event.target.tagName === "INPUT") return;
  const at = buttons.indexOf(document.activeElement);
  if (/^[1-9]$/.test(event.key) && buttons[event.key - 1]) takeReason(buttons[event.key - 1].dataset.reason);
  else if (event.key === "ArrowDown") (buttons[at + 1] || buttons[0]).focus();
  else if (event.key === "ArrowUp") (buttons[at - 1] || buttons[buttons.length - 1]).focus();
  else return;
  event.preventDefault();
});
reasons.querySelector("form").addEventListener("submit", (event) => {
  event.preventDefault();
  takeReason(reasons.querySelector("input").value.trim());
});

export const openHelp = () => find("help").showModal();
for (const dialog of document.querySelectorAll("dialog")) {
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close()); // beside it
}
