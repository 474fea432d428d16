// Decisions on their way: shown at once, written one request after the other, kept until the server has answered.
//
// What a person decided lies in `pending` (and in this tab's storage) until the file holds it. No answer: it stays, is
// shown as unsaved, and is sent again. An answer that says no: the mark goes back, and the page says why.

import { of } from "./grid.js";

const POLL = 1000; // milliseconds between two looks at what others decided
const SOON = 250; // while curate is at work
const PATIENCE = 8000; // milliseconds after which a server that says nothing counts as gone

const body = document.body;
const say = (id, text) => {
  const element = document.getElementById(id);
  if (element && element.textContent !== text) element.textContent = text;
};
let boot = body.dataset.boot;
let rev = Number(body.dataset.rev);
let pending = stored("pending") || []; // batches of ops, the first may be on its way
let undoable = stored("undo") || []; // batches that were written, the last one last
let sending = false;
let isGone = false;
const undoing = []; // undos that wait for an answer
let effect = Number(body.dataset.effect);
let timer = 0;
const listeners = [];

export const onRows = (listener) => listeners.push(listener);
export const announce = (text) => { say("said", text); say("viewsaid", text); };

function stored(key) {
  try {
    return JSON.parse(sessionStorage.getItem(`${location.pathname} ${key}`));
  } catch {
    return null;
  }
}

function store() {
  try {
    sessionStorage.setItem(`${location.pathname} pending`, JSON.stringify(pending));
    sessionStorage.setItem(`${location.pathname} undo`, JSON.stringify(undoable.slice(-200)));
  } catch {
    // A full storage costs only what a reload would have kept.
  }
}

// Ops: {id, v, what: stays | class | pair, other?, to: {decision, class?, reason?} | null}
export function decide(ops, words) {
  if (!ops.length) return;
  pending.push({ id: crypto.randomUUID(), ops, words, was: ops.map((op) => preview(op)) });
  announce(words);
  shown();
  send();
}

// The last decision of this tab: what stood there before is put back. `then` is told the images that it was about.
export function undo(then) {
  if (pending.length && !pending[pending.length - 1].isSent) { // nothing has to be taken back
    const { ops, was } = pending.pop();
    ops.forEach((op, index) => preview(op, was[index]));
    announce("Undone.");
    shown();
    then(ops.map((op) => op.id));
    return;
  }
  if (pending.length) { // what was there before is known when it is answered
    undoing.push(then);
    shown();
    return;
  }
  const last = undoable.pop();
  if (!last) {
    announce("Nothing to undo in this tab.");
    return;
  }
  const ops = last.done.map((each) => ({ ...each.slot, to: each.before, expects: each.now, undo: true }));
  ops.reverse();
  pending.push({ id: crypto.randomUUID(), ops, words: `Undone: ${last.words}`, isUndo: true, was: ops.map((op) => preview(op)) });
  announce(`Undone: ${last.words}`);
  shown();
  send();
  then(ops.map((op) => op.id));
}

async function ask(address, options = {}) {
  const stop = new AbortController();
  const late = setTimeout(() => stop.abort(), PATIENCE);
  try {
    return await fetch(address, { ...options, signal: stop.signal, cache: "no-store" });
  } finally {
    clearTimeout(late);
  }
}

async function send() {
  if (sending || !pending.length) return;
  sending = true;
  shown();
  const batch = pending[0];
  batch.isSent = true; // it may be written from now on, whether an answer comes or not
  let answer;
  let said;
  try {
    const text = JSON.stringify({ batch: batch.id, ops: batch.ops });
    answer = await ask("decide", { method: "POST", headers: { "Content-Type": "application/json" }, body: text });
    said = await answer.json();
  } catch {
    sending = false;
    gone();
    return;
  }
  sending = false;
  pending.shift();
  if (answer.ok) written(batch, said);
  else refused(batch, said.error || `The server answered ${answer.status}.`);
  store();
  if (!pending.length && undoing.length) undo(undoing.shift());
  shown();
  if (pending.length) send();
  else soon();
}

function written(batch, said) {
  back();
  if (!batch.isUndo) {
    const done = said.granted.map((each, index) => {
      const { id, v, what, other } = batch.ops[index];
      return { slot: { id, v, what, other }, before: each.before, now: each.now };
    });
    undoable.push({ done, words: batch.words });
  }
  const elsewhere = said.granted.filter((each) => each.refused).length;
  if (elsewhere) announce(`${elsewhere} of them were decided anew elsewhere meanwhile: left as they are.`);
  say("decided", String(said.decided));
  rows(said.rows);
  banner("");
}

function refused(batch, sentence) {
  if (batch.isUndo) undoable.push({ done: batch.ops.map((op) => ({ slot: op, before: op.to, now: op.expects })).reverse(), words: batch.words.replace(/^Undone: /, "") });
  back();
  announce("Not written: the mark went back.");
  banner(`Not written, so the mark went back. ${sentence}`, "refused");
  say("viewsaid", `Not written, so the mark went back. ${sentence}`);
  refresh(0);
}

// How a tile looks before the answer is there, or again as it looked before (`back`); how it looked until now.
function preview(op, back) {
  const key = { stays: "mark", class: "to", pair: "judged" }[op.what];
  const found = of(op.id).filter((tile) => op.what !== "pair" || tile.dataset.against === String(op.other));
  const was = { value: found[0]?.dataset[key], isUnsaved: found[0] && "unsaved" in found[0].dataset };
  for (const tile of found) {
    set(tile, key, back ? back.value : op.what === "class" ? op.to?.class : op.to?.decision);
    if (back && !back.isUnsaved) delete tile.dataset.unsaved;
    else tile.dataset.unsaved = "";
  }
  return was;
}

function set(tile, key, value) {
  if (value) tile.dataset[key] = value;
  else delete tile.dataset[key];
}

function rows(changed) {
  const waiting = new Set(pending.flatMap((batch) => batch.ops.map((op) => String(op.id))));
  for (const row of changed) {
    if (waiting.has(String(row.id))) continue;
    for (const tile of of(row.id)) {
      set(tile, "mark", row.mark);
      set(tile, "to", row.to);
      set(tile, "why", row.why);
      set(tile, "foreign", row.foreign ? "1" : "");
      if (tile.dataset.against) set(tile, "judged", row.pairs[tile.dataset.against]);
      delete tile.dataset.unsaved;
      if (tile.getAttribute("aria-label") !== row.name) tile.setAttribute("aria-label", row.name);
    }
  }
  if (changed.length) for (const listener of listeners) listener();
}

// What others decided, and what curate makes of it all.
async function refresh(since = rev) {
  clearTimeout(timer);
  let said;
  try {
    const answer = await ask(`changes?since=${since}&boot=${boot}`);
    if (!answer.ok) throw new Error(String(answer.status));
    said = await answer.json();
  } catch {
    gone();
    return;
  }
  back();
  if (said.boot !== boot && !pending.length) { // another server: its rows may be others
    store();
    location.reload();
    return;
  }
  if (said.boot === boot) {
    rev = said.rev;
    rows(said.rows);
    counts(said);
  }
  if (pending.length && !sending) send();
  again(said.busy ? SOON : POLL);
}

const again = (wait) => {
  clearTimeout(timer);
  timer = setTimeout(refresh, wait);
};
export const soon = () => again(SOON);

const thousands = (number) => String(number).replace(/\B(?=(\d{3})+$)/g, "\u202f");

function counts(said) {
  say("decided", thousands(said.decided));
  const lines = new Map([...document.querySelectorAll("#legend tr[data-class]")].map((row) => [row.dataset.class, row]));
  const largest = Math.max(1, ...said.counts.map((each) => each.found));
  for (const each of said.counts) {
    const line = lines.get(each.name);
    if (!line) continue;
    line.querySelectorAll("td").forEach((cell, index) => {
      const text = each.splits[index] ? thousands(each.splits[index]) : "·";
      if (cell.textContent === text) return;
      cell.textContent = text;
      cell.classList.add("changed");
      setTimeout(() => cell.classList.remove("changed"), 1500);
    });
    line.querySelector(".fill").setAttribute("width", `${(100 * each.kept) / largest}%`);
  }
  document.querySelectorAll("#legend tfoot td").forEach((cell, index) => {
    cell.textContent = thousands(said.counts.reduce((sum, each) => sum + each.splits[index], 0));
  });
  if (said.effect.number !== effect) {
    effect = said.effect.number;
    say("effect", said.effect.said.length ? said.effect.said.join(", ") : "No count changed.");
  }
  if (said.trouble) banner(said.trouble, "trouble");
  else if (document.getElementById("banner").dataset.kind === "trouble") banner("");
}

// The server does not answer: nothing is lost, everything is kept and sent again.
function gone() {
  isGone = true;
  store();
  shown();
  const count = pending.reduce((sum, batch) => sum + batch.ops.length, 0);
  const kept = count ? `${count} decision${count === 1 ? " is" : "s are"} not saved yet: kept here, and sent as soon as it answers.` : "Nothing is unsaved.";
  banner(`alacena review does not answer; start it again in the terminal. ${kept}`, "gone");
  say("viewsaid", kept);
  again(POLL);
}

function back() {
  if (!isGone) return;
  isGone = false;
  banner("");
  announce("alacena review answers again.");
}

function banner(text, kind = "") {
  const element = document.getElementById("banner");
  if (element.firstChild?.textContent === text && !element.hidden) return;
  element.replaceChildren();
  element.hidden = !text;
  element.dataset.kind = kind;
  if (!text) return;
  const words = document.createElement("span");
  words.textContent = text;
  element.append(words);
  if (kind === "refused") {
    const close = document.createElement("button");
    close.type = "button";
    close.textContent = "Close";
    close.addEventListener("click", () => banner(""));
    element.append(close);
  }
}

function shown() {
  store();
  const element = document.getElementById("saved");
  const count = pending.reduce((sum, batch) => sum + batch.ops.length, 0);
  const isBusy = count + undoing.length > 0;
  element.dataset.state = isBusy ? (isGone ? "unsaved" : "saving") : "saved";
  element.textContent = isBusy ? (isGone ? `${count} unsaved` : "saving") : "saved";
}

export function begin() {
  for (const { ops } of pending) for (const op of ops) preview(op);
  window.addEventListener("beforeunload", (event) => {
    if (pending.length && isGone) event.preventDefault();
  });
  document.addEventListener("visibilitychange", () => document.hidden || refresh());
  shown();
  if (pending.length) send();
  again(SOON);
}
