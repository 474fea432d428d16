// Keys, buttons and pointers become decisions. `grid.js` has the tiles, `sync.js` writes, `dialogs.js` opens.

import * as dialogs from "./dialogs.js";
import * as grid from "./grid.js";
import * as sync from "./sync.js";
import { announce } from "./words.js";

const queue = document.body.dataset.queue;
const LOOKED_AT = "looked at";
const short = (tile) => tile.getAttribute("aria-label").split(/\/|, /).pop();
const about = (tiles) => (tiles.length === 1 ? short(tiles[0]) : `${tiles.length} images`);
const op = (tile, what, to) => ({ id: Number(tile.dataset.id), v: tile.dataset.v, what, to });

function reject(reason) {
  const tiles = unique(grid.chosen());
  const isOff = !reason && tiles.every((tile) => tile.dataset.mark === "reject");
  const own = isOff ? tiles.filter((tile) => !tile.dataset.foreign) : tiles;
  if (isOff && !own.length) return announce("Rejected by another list: p pins it, so that it stays.");
  const wanted = reason || isOff ? own : own.filter((tile) => tile.dataset.mark !== "reject");
  const to = isOff ? null : { decision: "reject", reason: reason || LOOKED_AT };
  sync.decide(wanted.map((tile) => op(tile, "stays", to)), `${isOff ? "Not rejected" : "Rejected"}: ${about(wanted)}`);
}

// x goes through a whole row, held down: it never takes a rejection back.
function rejectOnly() {
  if (grid.chosen().some((tile) => tile.dataset.mark !== "reject")) reject();
}

function pin() {
  const tiles = unique(grid.chosen());
  const isOff = tiles.every((tile) => tile.dataset.mark === "pin" && !tile.dataset.foreign);
  sync.decide(tiles.map((tile) => op(tile, "stays", isOff ? null : { decision: "pin" })), `${isOff ? "Not pinned" : "Pinned"}: ${about(tiles)}`);
}

function relabel(name) {
  const tiles = unique(grid.chosen());
  sync.decide(tiles.map((tile) => op(tile, "class", { decision: "relabel", class: name })), `${name}: ${about(tiles)}`);
}

// d and n of images that are compared: against the first of their row. The same again takes it back.
function judge(decision) {
  const tiles = grid.chosen().filter((tile) => tile.dataset.against);
  if (!tiles.length) return announce("Choose the image beside it: this one is what it is compared with.");
  const isOff = tiles.every((tile) => tile.dataset.judged === decision);
  const ops = tiles.map((tile) => ({ ...op(tile, "pair", isOff ? null : { decision }), other: Number(tile.dataset.against), other_v: grid.of(tile.dataset.against)[0]?.dataset.v }));
  sync.decide(ops, `${isOff ? "Undecided" : decision === "duplicate" ? "Duplicate" : "Not the same"}: ${about(tiles)}`);
  if (!isOff && tiles.length === 1) onward();
}

// Of a group of more than two the next one, else the next group.
function onward() {
  const tile = grid.current();
  const next = grid.tiles[grid.tiles.indexOf(tile) + 1];
  if (next && next.closest(".group") === tile.closest(".group")) grid.goTo(next);
  else if (grid.nextGroup()) grid.goTo(grid.nextGroup());
}

function answer(yes) {
  if (queue === "suggested") {
    const tiles = unique(grid.chosen()).filter((tile) => tile.dataset.likely);
    const ops = tiles.map((tile) => op(tile, "class", { decision: "relabel", class: yes ? tile.dataset.likely : label(tile), reason: yes ? "suggested" : "the label is right" }));
    sync.decide(ops, `${yes ? "Relabelled" : "The label is right"}: ${about(tiles)}`);
    if (tiles.length === 1) grid.step(1);
  } else if (grid.list.classList.contains("compared")) {
    judge(yes ? "duplicate" : "not duplicate");
  }
}

const label = (tile) => tile.dataset.class;

function unique(tiles) {
  return [...new Map(tiles.map((tile) => [tile.dataset.id, tile])).values()];
}

function undo() {
  sync.undo(([tile]) => {
    if (tile) grid.goTo(tile, { focus: !dialogs.isOpen() });
  });
}

const HELD = new Set(["x", "u", "+", "-", "="]); // keys that may be held down; the others decide once

const search = document.querySelector("#filter input[type=search]");
const SIZES = ["small", "medium", "large"];
function resize(by) {
  const root = document.documentElement;
  const at = SIZES.indexOf(root.dataset.size || "medium") + by;
  if (!SIZES[at]) return;
  root.dataset.size = SIZES[at];
  localStorage.setItem("size", SIZES[at]);
  grid.current()?.scrollIntoView({ block: "nearest" });
}
if (SIZES.includes(localStorage.getItem("size"))) document.documentElement.dataset.size = localStorage.getItem("size");

const actions = {
  reject: () => reject(),
  reason: () => dialogs.openReasons(reject),
  class: () => dialogs.openPalette(relabel),
  pin,
  yes: () => answer(true),
  no: () => answer(false),
  open: dialogs.openView,
  undo,
  help: dialogs.openHelp,
  previous: () => grid.step(-1, { focus: false }),
  next: () => grid.step(1, { focus: false }),
  close: () => dialogs.view.close(),
  smaller: () => resize(-1),
  larger: () => resize(1),
  select: (button) => button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true")),
  classes: (button) => button.setAttribute("aria-expanded", String(document.getElementById("legend").classList.toggle("open"))),
};

const keys = {
  " ": actions.reject,
  x: () => { rejectOnly(); grid.step(1, { focus: !dialogs.view.open }); },
  r: actions.reason,
  c: actions.class,
  p: actions.pin,
  u: actions.undo,
  d: () => grid.list.classList.contains("compared") && judge("duplicate"),
  y: actions.yes,
  n: actions.no,
  Enter: actions.open,
  "?": actions.help,
  "/": () => { search.focus(); search.select(); },
  "+": () => resize(1),
  "=": () => resize(1),
  "-": () => resize(-1),
  Escape: () => { grid.clear(); },
};

document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented) return; // a dialog's own
  const isView = dialogs.view.open && document.querySelectorAll("dialog[open]").length === 1;
  const isTyping = event.target.closest("input, select, textarea");
  if (isTyping) {
    if (event.key === "Escape" && event.target === search) grid.current()?.focus();
    return;
  }
  if ((dialogs.isOpen() && !isView) || event.altKey || event.isComposing) return;
  if (event.ctrlKey || event.metaKey) {
    if (event.key === "a" && !isView) { grid.selectAll(); event.preventDefault(); selection(); }
    if (event.key === "z") { undo(); event.preventDefault(); }
    return;
  }
  if (event.target.closest("button, a") && ["Enter", " "].includes(event.key)) return; // the button's own
  if (isView && event.key === "Escape") return; // the dialog's own
  if (isView ? viewMove(event) : grid.moveBy(event)) {
    event.preventDefault();
    selection();
    return;
  }
  const digit = /^[1-9]$/.test(event.key) ? dialogs.classes[event.key - 1] : null;
  const action = digit ? () => relabel(digit) : keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!action) return;
  event.preventDefault();
  if (!event.repeat || HELD.has(event.key)) action();
});

function viewMove(event) {
  const by = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
  if (by) grid.step(by, { focus: false });
  return Boolean(by);
}

function selection() {
  const count = grid.selectedCount();
  if (count) announce(`${count} selected`);
}

grid.list.addEventListener("click", (event) => {
  const tile = event.target.closest(".t");
  if (!tile) return;
  const isSelecting = document.querySelector("[data-do=select]").getAttribute("aria-pressed") === "true";
  if (isSelecting || event.ctrlKey || event.metaKey) grid.toggle(tile);
  else grid.goTo(tile, { extend: event.shiftKey });
  selection();
});
grid.list.addEventListener("dblclick", (event) => event.target.closest(".t") && dialogs.openView());

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-do]");
  if (!button) return;
  actions[button.dataset.do](button);
  if (button.closest("footer") && !dialogs.isOpen() && button.dataset.do !== "select") grid.current()?.focus({ preventScroll: true });
  if (button.closest("#view")) dialogs.view.focus();
});

document.getElementById("filter").addEventListener("change", (event) => {
  if (event.target.tagName === "SELECT") event.currentTarget.requestSubmit();
});

sync.onRows(dialogs.refreshStory);
grid.begin();
sync.begin();
document.documentElement.dataset.ready = "1"; // for those who wait for it
