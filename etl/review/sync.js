// Decisions on their way: shown at once, written one request after the other, kept until the server has answered.
//
// What a person decided lies in `pending` (and in this tab's storage) until the file holds it. No answer: it stays, is
// shown as unsaved, and is sent again. An answer that says no: the mark goes back, and the page says why.

import { of, same } from "./grid.js";
import { counts } from "./legend.js";
import { announce, banner, kind, say } from "./words.js";

const POLL = 1000; // milliseconds between two looks at what others decided
const SOON = 250; // while curate is at work
const PATIENCE = 8000; // milliseconds after which a server that says nothing counts as gone
const PATIENCE_EACH = 5; // more for every image that is decided on at once

const body = document.body;
let boot = body.dataset.boot;
let rev = Number(body.dataset.rev);
let pending = stored("pending") || []; // batches of ops, the first may be on its way
let undoable = stored("undo") || []; // batches that were written, the last one last
let sending = false;
let isGone = false;
let isStaying = false; // on its way to another page of this tab, which sends what waits
const undoing = []; // undos that wait for an answer
let timer = 0;
const listeners = [];

export const onRows = (listener) => listeners.push(listener);

function stored(key) {
  try {
    return JSON.parse(sessionStorage.getItem(`${location.pathname} ${key}`));
  } catch {
    return null;
  }
}

function keep(key, value) {
  try {
    sessionStorage.setItem(`${location.pathname} ${key}`, JSON.stringify(value));
  } catch {
    // A full storage costs only what a reload would have kept.
  }
}

function store() {
  keep("pending", pending);
  keep("undo", undoable.slice(-200));
}

// Ops: {id, v, what: stays | class | pair, other?, other_v?, to: {decision, class?, reason?} | null}
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
    then(ops.flatMap(tilesOf));
    return;
  }
  if (pending.length) { // what was there before is known when it is answered
    undoing.push(then);
    shown();
    return;
  }
  takeBack(then);
  send();
}

// Before all that waits: it takes back what was written before that was decided.
function takeBack(then) {
  const last = undoable.pop();
  if (!last) {
    announce("Nothing to undo in this tab.");
    return;
  }
  const ops = last.done.map((each) => ({ ...each.slot, to: each.before, expects: each.now, undo: true }));
  ops.reverse();
  pending.unshift({ id: crypto.randomUUID(), ops, words: `Undone: ${last.words}`, isUndo: true, was: ops.map((op) => preview(op)) });
  announce(`Undone: ${last.words}`);
  shown();
  then(ops.flatMap(tilesOf));
}

async function ask(address, options = {}, patience = PATIENCE) {
  const stop = new AbortController();
  const late = setTimeout(() => stop.abort(), patience);
  try {
    return await fetch(address, { ...options, signal: stop.signal, cache: "no-store" });
  } finally {
    clearTimeout(late);
  }
}

async function send() {
  if (sending || !pending.length) return;
  sending = true;
  const batch = pending[0];
  batch.isSent = true; // it may be written from now on, whether an answer comes or not
  batch.tries = (batch.tries || 0) + 1;
  shown();
  let answer;
  let said;
  try {
    const text = JSON.stringify({ batch: batch.id, ops: batch.ops });
    answer = await ask("decide", { method: "POST", headers: { "Content-Type": "application/json" }, body: text }, PATIENCE + PATIENCE_EACH * batch.ops.length);
    said = answer.ok ? await answer.json() : await answer.json().catch(() => ({}));
  } catch {
    sending = false;
    gone();
    return;
  }
  sending = false;
  pending.shift();
  if (answer.ok) written(batch, said);
  else refused(batch, said.error || `The server answered ${answer.status}.`, answer.status);
  if (undoing.length) {
    const then = undoing.shift();
    if (answer.ok || batch.isUndo) takeBack(then); // else it never was: the mark went back by itself
  }
  shown();
  if (pending.length) send();
  else soon();
}

function written(batch, said) {
  back();
  if (!batch.isUndo) {
    const done = said.granted.map((each, index) => {
      const { id, v, what, other, other_v } = batch.ops[index];
      return { slot: { id, v, what, other, other_v }, before: isItself(batch, index, each) ? null : each.before, now: each.now };
    });
    undoable.push({ done, words: batch.words });
  }
  const elsewhere = said.granted.filter((each) => each.refused).length;
  if (elsewhere) announce(`${elsewhere} of them were decided anew elsewhere meanwhile: left as they are.`);
  say("decided", String(said.decided));
  if (said.boot === boot) rows(said.rows); // else its numbers may be those of other images
}

// A batch was written, its answer was lost, and so was the server that knew it: what stood there is the decision itself.
function isItself(batch, index, { before }) {
  const { to } = batch.ops[index];
  const isEqual = before && to && before.decision === to.decision && before.class === (to.class || "");
  return batch.tries > 1 && isEqual && !batch.was[index].value;
}

function refused(batch, sentence, status) {
  if (batch.isUndo && status !== 400) undoable.push({ done: batch.ops.map((op) => ({ slot: op, before: op.to, now: op.expects })).reverse(), words: batch.words.replace(/^Undone: /, "") });
  back();
  announce("Not written: the mark went back.");
  const words = `Not written, so the mark went back. ${sentence}`;
  keep("refused", words); // until it is closed, whatever else has to be said, and also on the next page
  banner(words, "refused");
  say("viewsaid", words);
  refresh(0);
}

// How a tile looks before the answer is there, or again as it looked before (`back`); how it looked until now.
function preview(op, back) {
  const key = { stays: "mark", class: "to", pair: "judged" }[op.what];
  const found = tilesOf(op);
  const was = { value: found[0]?.dataset[key], isUnsaved: found[0] && "unsaved" in found[0].dataset };
  for (const tile of found) {
    set(tile, key, back ? back.value : op.what === "class" ? op.to?.class : op.to?.decision);
    if (back && !back.isUnsaved) delete tile.dataset.unsaved;
    else tile.dataset.unsaved = "";
  }
  return was;
}

// The tiles that a change is about, also where the page was loaded anew and the images have other numbers.
function tilesOf(op) {
  const there = of(op.id).filter((tile) => tile.dataset.v === op.v);
  const found = there.length ? there : same(op.v);
  return found.filter((tile) => op.what !== "pair" || of(tile.dataset.against)[0]?.dataset.v === op.other_v);
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
  if (kind() === "gone") banner(stored("refused") || "", "refused");
  announce("alacena review answers again.");
}

function shown() {
  store();
  const element = document.getElementById("saved");
  const count = pending.reduce((sum, batch) => sum + batch.ops.length, 0);
  const isBusy = count + undoing.length > 0;
  element.dataset.state = isBusy ? (isGone ? "unsaved" : "saving") : "saved";
  element.textContent = isBusy ? (isGone ? `${count} unsaved` : "saving") : "saved";
}

// Whoever closes the tab is asked while something is unsaved; a link of the page leads to where it is sent.
function leaving() {
  document.addEventListener("click", (event) => {
    const isPlain = !event.ctrlKey && !event.metaKey && !event.shiftKey;
    if (isPlain && event.target.closest('a[href]:not([href^="#"])')) isStaying = true;
  });
  document.addEventListener("submit", (event) => {
    if (event.target.id === "filter") isStaying = true;
  });
  window.addEventListener("beforeunload", (event) => {
    if (pending.length && !isStaying) event.preventDefault();
    isStaying = false;
  });
  window.addEventListener("pageshow", (event) => event.persisted && location.reload());
}

export function begin() {
  for (const { ops } of pending) for (const op of ops) preview(op);
  banner(stored("refused") || "", "refused");
  document.getElementById("banner").addEventListener("click", (event) => event.target.closest("button") && keep("refused", ""));
  leaving();
  document.addEventListener("visibilitychange", () => document.hidden || refresh());
  shown();
  if (pending.length) send();
  again(SOON);
}
