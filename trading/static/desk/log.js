// The activity log: live, newest first, narrowed by kind and by words.

import { $, empty, fill, h, problemBox, skeleton, text } from "./dom.js";
import { dayTime, words } from "./format.js";
import { desk, on } from "./state.js";

const KINDS = ["info", "success", "warning", "error"];
const SHOWN_MAX = 300;

const wanted = new Set(KINDS);
const place = {};
let built = false;

export function start() {
  on("view log problems", () => desk.view === "log" && show());
}

function build() {
  built = true;
  place.words = h("input", { type: "search", id: "log-words", placeholder: "Filter by words", "aria-label": "Filter by words", oninput: show });
  place.count = h("span", { class: "count", role: "status" });
  place.lines = h("div", {}, skeleton(6));
  const kind = (name) => h("label", { class: "check" }, h("input", { type: "checkbox", checked: true, onchange: (event) => choose(name, event.target.checked) }), name);
  fill($("view-log"), h("section", { class: "card", "aria-label": "Log" }, h("header", {}, h("h2", {}, "Log"), place.count), h("div", { class: "filters" }, KINDS.map(kind), place.words), place.lines));
}

function choose(name, chosen) {
  if (chosen) wanted.add(name);
  else wanted.delete(name);
  show();
}

function matches(line, asked) {
  if (!wanted.has(line.type)) return false;
  if (!asked) return true;
  return `${line.message} ${JSON.stringify(line.data)}`.toLowerCase().includes(asked);
}

function show() {
  if (!built) build();
  if (desk.problems.log) {
    fill(place.lines, problemBox(desk.problems.log));
    return;
  }
  const asked = place.words.value.trim().toLowerCase();
  const lines = desk.log.filter((line) => matches(line, asked)).slice(0, SHOWN_MAX);
  text(place.count, `${lines.length} of ${desk.log.length}`);
  if (!lines.length) {
    fill(place.lines, desk.log.length ? empty("Nothing fits", "Other words or kinds may.") : empty("Nothing yet", "What the desk does is written here as it does it."));
    return;
  }
  fill(place.lines, h("ol", { class: "log" }, lines.map(lineOf)));
}

// Of a name made of a hash as much as tells it apart; the whole of it is in the title, and found by the filter.
const short = (text) => text.replace(/\b((?:[a-z]+_|0x)?[0-9a-f]{8})[0-9a-f]{8,}\b/g, "$1…");
// Without zeros that say nothing.
const plain = (text) => (/^-?\d+\.\d+$/.test(text) ? text.replace(/\.?0+$/, "") : text);

function factOf([name, value]) {
  const whole = plain(typeof value === "object" ? JSON.stringify(value) : String(value));
  return h("span", { class: "fact", title: short(whole) === whole ? null : whole }, h("span", { class: "quiet" }, `${words(name)} `), short(whole));
}

function lineOf(line) {
  const facts = Object.entries(line.data || {}).filter(([, value]) => value !== null).map(factOf);
  return h(
    "li",
    { "data-kind": line.type },
    h("time", { class: "num", datetime: line.timestamp }, dayTime(line.timestamp)),
    h("span", { class: "kind" }, h("span", { class: "shape", "aria-hidden": "true" }), line.type),
    h("span", { class: "message" }, line.message, facts.length ? h("span", { class: "small data" }, facts) : null),
  );
}
