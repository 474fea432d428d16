// The numbers beside the grid: what is kept of each class, how much was decided, and what the last decisions changed.

import { banner, kind, say } from "./words.js";

let effect = Number(document.body.dataset.effect); // how often curate has run, as far as this page was told

const thousands = (number) => String(number).replace(/\B(?=(\d{3})+$)/g, "\u202f");

export function counts(said) {
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
  else if (kind() === "trouble") banner("");
}
