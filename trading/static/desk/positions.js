// The table of what stands. A row is built once; a mark touches the cells that changed and nothing else.

import { $, empty, fill, h, mark, problemBox, skeleton, style, text, toast } from "./dom.js";
import { askClose } from "./closing.js";
import { openDetail, refreshDetail } from "./detail.js";
import { even, progress, reach } from "./exits.js";
import { age, duration, percent, signedPercent, signedUsd, spread, tone, wholeUsd, words } from "./format.js";
import { desk, isOld, ledgerLost, may, on, secondsSince } from "./state.js";
import { beside } from "./stop.js";

const RISK_ORDER = { low: 0, medium: 1, unknown: 2, high: 3 };

const COLUMNS = [
  ["pair", "Pair", (one) => one.pair, ""],
  ["size", "Size", (one) => one.size, "num"],
  ["spread", "Spread", (one) => moveOf(one) ?? -Infinity, "num"],
  ["pnl", "Net PnL", (one) => one.pnl ?? -Infinity, "num"],
  ["exits", "Stop to target", (one) => progress(one) ?? -1, ""],
  ["time", "Time", (one) => Date.parse(one.entry_time), "num"],
  ["risk", "Risk", (one) => RISK_ORDER[one.risk_level], ""],
];

const rows = new Map();
let sorted = { key: "time", down: true };
let table = null;
let body = null;
let opened = null;

// How far the ratio of the pair has moved since entry, as a fraction.
const moveOf = (one) =>
  one.current_spread === null || one.entry_spread === null ? null : (1 + one.current_spread) / (1 + one.entry_spread) - 1;

// A barrier may be behind: while it is being closed, between two readings, or where nobody watches.
const toGo = (left) => (left > 0 ? percent(left) : "reached");

export function start() {
  fill($("positions"), skeleton(3));
  on("positions session", show);
  on("health portfolio", () => desk.positions && desk.positions.size === 0 && show());
  on("marks", () => rows.forEach(showMoving));
  on("clock link", () => rows.forEach(showTime));
  on("trades", () => opened && refreshDetail(opened));
  on("closed", tellWhoLeft);
}

function show() {
  const place = $("positions");
  if (desk.positions === null) {
    if (desk.problems.positions) fill(place, problemBox(desk.problems.positions));
    $("view-desk").classList.toggle("waiting", !desk.problems.positions);
    return;
  }
  $("view-desk").classList.remove("waiting");
  text($("positions-count"), desk.positions.size ? String(desk.positions.size) : "");
  if (desk.positions.size === 0) {
    rows.clear();
    table = null;
    opened = null;
    fill(place, ledgerLost() ? empty("Not known what is open", `The ledger cannot be used. ${beside()}`) : empty("Nothing is open", "A trade that opens appears here by itself."));
    return;
  }
  if (table === null) build(place);
  for (const [id, row] of rows) if (!desk.positions.has(id)) drop(id, row);
  for (const [id, position] of desk.positions) {
    if (!rows.has(id)) rows.set(id, newRow(position));
    const row = rows.get(id);
    row.position = position;
    showFixed(row);
    showMoving(row);
    showTime(row);
  }
  arrange();
}

// A row that goes while somebody looks at it says why.
function tellWhoLeft() {
  for (const one of desk.left.splice(0)) toast(`${one.pair} has closed: ${words(one.exit_reason)}, ${signedUsd(one.pnl)} net.`);
}

function build(place) {
  const head = COLUMNS.map(([key, title, , kind]) =>
    h("th", { role: "columnheader", scope: "col", class: kind, "data-key": key }, h("button", { type: "button", onclick: () => sortBy(key) }, title)),
  );
  body = h("tbody", { role: "rowgroup", onkeydown: step });
  table = h(
    "table",
    { class: "positions", role: "table", "aria-labelledby": "positions-title" },
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, head, h("th", { role: "columnheader", scope: "col" }, h("span", { class: "unseen" }, "Actions")))),
    body,
  );
  fill(place, table);
}

function newRow(position) {
  const id = position.position_id;
  const cell = (kind, name, ...children) => h("td", { role: "cell", class: kind, "data-name": name }, children);
  const part = (kind = "") => h("span", { class: kind });
  const row = { id, position, at: {} };
  const at = row.at;
  at.pair = part("strong");
  at.legs = part("legs");
  at.status = part("status");
  at.size = part();
  at.leverage = part("small quiet");
  at.spread = part();
  at.entry = part("small quiet");
  at.pnl = part("strong");
  at.percent = part("small");
  at.dot = part("dot");
  at.zero = part("zero");
  at.run = part("run");
  at.toStop = part("small");
  at.toTarget = part("small");
  at.bar = h("span", { class: "exits-bar", role: "img" }, at.run, at.zero, at.dot);
  at.held = part();
  at.left = part("small quiet");
  at.risk = part();
  at.toggle = h(
    "button",
    { type: "button", class: "row-toggle", "aria-expanded": "false", "aria-controls": `detail-${id}`, onclick: () => toggle(id) },
    h("span", { class: "chevron", "aria-hidden": "true" }),
    h("span", { class: "pair" }, at.pair, at.legs),
  );
  at.close = h("button", { type: "button", class: "needs-trade", onclick: () => askClose(row.position, () => goOn(row)) }, "Close");
  row.tr = h(
    "tr",
    { role: "row", class: "row", "data-id": id },
    cell("first", "Pair", at.toggle, at.status),
    cell("num", "Size", at.size, at.leverage),
    cell("num", "Spread", at.spread, at.entry),
    cell("num", "Net PnL", at.pnl, at.percent),
    cell("exits", "Exits", at.bar, h("span", { class: "ends num" }, at.toStop, at.toTarget)),
    cell("num time", "Time", at.held, at.left),
    cell("risk", "Risk", h("span", { class: "gauge", "aria-hidden": "true" }), at.risk),
    cell("actions", "", at.close),
  );
  row.place = h("div", { class: "detail-place" });
  row.under = h("tr", { role: "row", class: "under", id: `detail-${id}`, hidden: true }, h("td", { role: "cell", colspan: String(COLUMNS.length + 1) }, row.place));
  return row;
}

function drop(id, row) {
  const here = row.tr.contains(document.activeElement) || row.under.contains(document.activeElement);
  row.number = toggles().indexOf(row.at.toggle);
  row.tr.remove();
  row.under.remove();
  rows.delete(id);
  if (opened === id) opened = null;
  if (here) goOn(row);
}

const toggles = () => [...body.querySelectorAll(".row-toggle")];

// Whoever was at a row that has gone goes on at the one that has its place, not at the top of the page.
function goOn(row) {
  if (row.tr.isConnected || document.activeElement !== document.body || !body) return;
  const near = toggles();
  const next = near[Math.min(row.number, near.length - 1)];
  if (next) next.focus();
}

function showFixed({ at, position: one, tr }) {
  text(at.pair, one.pair.replace("/", " / "));
  text(at.legs, `long ${one.long.coin}, short ${one.short.coin}`);
  mark(at.close, "aria-label", `Close ${one.pair}`);
  text(at.size, wholeUsd(one.size));
  text(at.leverage, `${one.leverage}×`);
  text(at.entry, `from ${spread(one.entry_spread)}`);
  const slices = (one.status === "closing" && one.exit_execution) || one.execution;
  const working = slices.slices_total > 1 ? ` ${slices.slices_done} / ${slices.slices_total}${slices.slices_skipped ? `, ${slices.slices_skipped} skipped` : ""}` : "";
  const worked = slices.status === "SUSPENDED" ? "suspended" : one.status;
  text(at.status, worked === "open" ? "" : `${worked}${working}`);
  mark(tr, "data-status", one.status);
  // A close in slices is hurried by another at once; one that is at once already is not.
  const leaving = one.exit_execution;
  const hurried = leaving && leaving.type === "twap" && leaving.slices_total > leaving.slices_done;
  at.close.disabled = one.status === "closing" && !hurried;
  at.close.hidden = !may("trade");
}

function showMoving({ at, position: one }) {
  text(at.spread, spread(one.current_spread));
  text(at.pnl, signedUsd(one.pnl));
  mark(at.pnl, "data-tone", tone(one.pnl));
  text(at.percent, one.pnl_percent === null ? "–" : signedPercent(one.pnl_percent / 100));
  mark(at.percent, "data-tone", tone(one.pnl));
  const at01 = progress(one);
  const { stop, target } = reach(one);
  const zero = even(one);
  style(at.zero, "left", `${(zero * 100).toFixed(2)}%`);
  mark(at.bar, "data-tone", tone(one.exit_return, 6) || "none");
  if (at01 === null) {
    mark(at.bar, "aria-label", "no price now");
    text(at.toStop, "no price now");
    text(at.toTarget, "");
    style(at.run, "width", "0%");
    at.dot.hidden = true;
  } else {
    at.dot.hidden = false;
    style(at.dot, "left", `${(at01 * 100).toFixed(1)}%`);
    style(at.run, "left", `${(Math.min(at01, zero) * 100).toFixed(1)}%`);
    style(at.run, "width", `${(Math.abs(at01 - zero) * 100).toFixed(1)}%`);
    const above = toGo(one.exit_return + stop);
    const below = toGo(target - one.exit_return);
    text(at.toStop, above);
    text(at.toTarget, below);
    mark(at.bar, "aria-label", `to the stop: ${above}, to the target: ${below}`);
  }
  text(at.risk, words(one.risk_level));
  mark(at.risk.parentNode, "data-risk", one.risk_level);
}

function showTime({ at, position: one, tr }) {
  const old = desk.link === "lost" || isOld(one);
  mark(tr, "data-old", old);
  text(at.held, duration(secondsSince(one.entry_time)));
  const left = one.window_expires_at ? -secondsSince(one.window_expires_at) : null;
  const told = old && one.marked_at ? `price ${age(secondsSince(one.marked_at))} old` : left === null ? "no time limit" : left > 0 ? `${duration(left)} left` : "time is up";
  text(at.left, told);
}

function sortBy(key) {
  sorted = { key, down: sorted.key === key ? !sorted.down : key !== "pair" };
  arrange();
}

function arrange() {
  const value = COLUMNS.find(([key]) => key === sorted.key)[2];
  const order = [...rows.values()].sort((a, b) => {
    const [x, y] = [value(a.position), value(b.position)];
    const by = x < y ? -1 : x > y ? 1 : a.id < b.id ? -1 : 1;
    return sorted.down ? -by : by;
  });
  for (const th of table.tHead.rows[0].cells) {
    mark(th, "aria-sort", th.dataset.key === sorted.key ? (sorted.down ? "descending" : "ascending") : null);
  }
  let next = body.firstChild;
  for (const row of order) {
    for (const node of [row.tr, row.under]) {
      if (node === next) next = next.nextSibling;
      else body.insertBefore(node, next);
    }
  }
}

function toggle(id) {
  const same = opened === id;
  if (opened !== null && rows.has(opened)) shut(rows.get(opened));
  opened = null;
  if (same) return;
  const row = rows.get(id);
  opened = id;
  mark(row.at.toggle, "aria-expanded", "true");
  row.under.hidden = false;
  openDetail(row.place, row.position);
}

function shut(row) {
  mark(row.at.toggle, "aria-expanded", "false");
  row.under.hidden = true;
  fill(row.place);
}

// Arrow keys go from row to row.
function step(event) {
  if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
  if (!event.target.classList.contains("row-toggle")) return;
  const next = toggles()[toggles().indexOf(event.target) + (event.key === "ArrowDown" ? 1 : -1)];
  if (!next) return;
  event.preventDefault();
  next.focus();
}
