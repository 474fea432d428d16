// The tiles: which one is the current one, which are selected, and how the keys move between them.
// One tile at a time can be reached by Tab (a roving tabindex); events are heard once, on the grid.

export const list = document.getElementById("tiles");
export const tiles = [...list.querySelectorAll(".t")];
const place = new Map(tiles.map((tile, index) => [tile, index]));
const byId = new Map();
const byVersion = new Map();
for (const tile of tiles) {
  put(byId, tile.dataset.id, tile);
  if (tile.dataset.v) put(byVersion, tile.dataset.v, tile);
}

function put(map, key, tile) {
  const there = map.get(key);
  if (there) there.push(tile);
  else map.set(key, [tile]);
}

let here = -1; // index of the current tile
let anchor = -1; // where a range of selected tiles begins
const selected = new Set();
let moved = () => {};

export const current = () => tiles[here];
export const of = (id) => byId.get(String(id)) || [];
export const same = (version) => byVersion.get(version) || [];
export const onMove = (listener) => { moved = listener; };

// What a decision is about: the selected tiles, else the current one.
export const chosen = () => (selected.size ? tiles.filter((tile) => selected.has(tile)) : here < 0 ? [] : [tiles[here]]);
export const selectedCount = () => selected.size;

export function go(index, { extend = false, focus = true, keep = false } = {}) {
  if (!tiles.length) return;
  index = Math.max(0, Math.min(index, tiles.length - 1));
  if (extend) {
    if (anchor < 0) anchor = Math.max(here, 0);
    select(range(anchor, index));
  } else if (!keep) {
    clear();
    anchor = index;
  }
  const before = tiles[here];
  if (before) {
    before.tabIndex = -1;
    before.classList.remove("here");
  }
  here = index;
  const tile = tiles[here];
  tile.tabIndex = 0;
  tile.classList.add("here");
  if (focus) tile.focus({ preventScroll: true });
  tile.scrollIntoView({ block: "nearest" });
  remember(tile);
  moved(tile);
}

export const goTo = (tile, how) => place.has(tile) && go(place.get(tile), how);
export const step = (by, how) => go(here < 0 ? 0 : here + by, how);

function range(from, to) {
  return tiles.slice(Math.min(from, to), Math.max(from, to) + 1);
}

function select(chosenTiles) {
  const wanted = new Set(chosenTiles);
  for (const tile of selected) if (!wanted.has(tile)) mark(tile, false);
  for (const tile of wanted) if (!selected.has(tile)) mark(tile, true);
}

function mark(tile, on) {
  if (on) selected.add(tile);
  else selected.delete(tile);
  tile.setAttribute("aria-selected", String(on));
}

export function toggle(tile) {
  if (!selected.size && here >= 0 && tiles[here] !== tile) mark(tiles[here], true);
  mark(tile, !selected.has(tile));
  go(place.get(tile), { keep: true });
  anchor = here;
}

export function clear() {
  for (const tile of [...selected]) mark(tile, false);
}

export function selectAll() {
  select(tiles);
  moved(current());
}

// The tile above or below: in a grid by the number of columns, in rows of compared images the same place of the next.
function vertical(by) {
  if (here < 0) return 0;
  const group = tiles[here].closest(".group");
  const own = [...group.querySelectorAll(".t")];
  const inGroup = own.indexOf(tiles[here]);
  const columns = list.classList.contains("compared") ? own.length : columnCount();
  const target = inGroup + by * columns;
  if (target >= 0 && target < own.length) return here + by * columns;
  const lastRow = Math.floor((own.length - 1) / columns);
  if (by > 0 && Math.floor(inGroup / columns) < lastRow) return here + (own.length - 1 - inGroup);
  const next = by > 0 ? group.nextElementSibling : group.previousElementSibling;
  if (!next) return here;
  const others = next.querySelectorAll(".t");
  const column = list.classList.contains("compared") ? inGroup : inGroup % columns;
  const start = by > 0 ? 0 : Math.floor((others.length - 1) / columns) * columns;
  const other = others[Math.min((list.classList.contains("compared") ? 0 : start) + column, others.length - 1)];
  return place.get(other);
}

export const columnCount = () => Number(getComputedStyle(list).getPropertyValue("--columns")) || 1;

// A key that moves; false where it is none.
export function moveBy(event) {
  const extend = event.shiftKey;
  const rows = Math.max(1, Math.floor(list.parentElement.clientHeight / (current()?.offsetHeight || 200)) - 1);
  const where = {
    ArrowLeft: () => here - 1,
    ArrowRight: () => (here < 0 ? 0 : here + 1),
    ArrowUp: () => vertical(-1),
    ArrowDown: () => vertical(1),
    Home: () => 0,
    End: () => tiles.length - 1,
    PageUp: () => here - rows * columnCount(),
    PageDown: () => here + rows * columnCount(),
  }[event.key];
  if (!where) return false;
  go(where(), { extend });
  return true;
}

// The first tile after the group of this one: where a queue goes on.
export function nextGroup() {
  const group = current()?.closest(".group");
  const next = group?.nextElementSibling?.querySelectorAll(".t");
  return next?.length ? next[Math.min(1, next.length - 1)] : null;
}

function remember(tile) {
  try {
    sessionStorage.setItem(`here ${location.search}`, tile.dataset.id);
  } catch {
    // A full storage costs only the place.
  }
}

export function begin() {
  const id = sessionStorage.getItem(`here ${location.search}`);
  const first = list.classList.contains("compared") && tiles.length > 1 ? tiles[1] : tiles[0];
  const tile = (id && of(id)[0]) || first;
  if (!tile) return;
  const wasThere = Boolean(id && of(id)[0]);
  go(place.get(tile), { focus: wasThere });
}

list.addEventListener("mousedown", (event) => {
  if (event.shiftKey) event.preventDefault(); // no text is marked
});
list.addEventListener("focusin", (event) => {
  if (event.target === list && here >= 0) tiles[here].focus({ preventScroll: true });
});
