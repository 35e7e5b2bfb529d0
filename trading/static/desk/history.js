// What has been: closed positions and why, the equity, and what each pair and each way out has made.

import { get } from "./api.js";
import { lineChart } from "./chart.js";
import { $, empty, fill, h, problemBox, skeleton, wide } from "./dom.js";
import { bps, dayTime, duration, percent, signedPercent, signedUsd, tone, usd, wholeUsd, words } from "./format.js";
import { desk, on } from "./state.js";

const CLOSED_MAX = 200;
const SPANS = [
  [1, "Today"],
  [7, "7 days"],
  [30, "30 days"],
  [366, "366 days"],
];
const CHART_HEIGHT = 240;

let days = 7;
let chart = null;
let turn = 0;
let built = false;
const place = {};

export function start() {
  on("view", () => desk.view === "history" && open());
  on("closed", () => desk.view === "history" && load());
}

function open() {
  if (!built) build();
  load();
}

function build() {
  built = true;
  place.sums = h("dl", { class: "sums" }, skeleton(1));
  place.curve = h("div", { class: "chart-place tall" }, skeleton(1));
  place.pairs = h("div", {}, skeleton(3));
  place.reasons = h("div", {}, skeleton(3));
  place.closed = h("div", {}, skeleton(4));
  place.spans = h(
    "div",
    { class: "switch", role: "group", "aria-label": "How far back" },
    SPANS.map(([count, title]) => h("button", { type: "button", "aria-pressed": String(count === days), onclick: (event) => choose(count, event.target) }, title)),
  );
  const card = (title, content, ...more) => h("section", { class: "card", "aria-label": title }, h("header", {}, h("h2", {}, title), more), content);
  fill(
    $("view-history"),
    card("Results", place.sums, place.spans),
    card("Equity", place.curve),
    h("div", { class: "halves" }, card("By pair", place.pairs), card("By exit", place.reasons)),
    card("Closed positions", place.closed, h("a", { class: "button", href: "/api/positions?status=closed&limit=1000&format=csv", download: "positions.csv" }, "CSV"), h("a", { class: "button", href: "/api/fills?limit=1000&format=csv", download: "fills.csv" }, "Fills CSV")),
  );
}

function choose(count, button) {
  days = count;
  for (const one of button.parentNode.children) one.setAttribute("aria-pressed", String(one === button));
  load();
}

async function load() {
  const mine = (turn += 1);
  try {
    const [account, closed] = await Promise.all([get(`/api/portfolio?days=${days}`), get(`/api/positions?status=closed&limit=${CLOSED_MAX}`)]);
    if (mine !== turn) return;
    const past = account.body.history;
    if (past === null) fill(place.sums, empty("No history", "The account log cannot be read."));
    else showPast(past, account.body);
    showClosed(closed.body, closed.total);
  } catch (problem) {
    if (mine === turn) fill(place.sums, problemBox(problem));
  }
}

const sum = (lines, name) => lines.reduce((total, line) => total + (line[name] || 0), 0);

function showPast(past, account) {
  const closed = sum(past.pairs, "closed");
  const turnover = sum(past.pairs, "turnover");
  const slippage = sum(past.pairs, "slippage_usd");
  const pnl = sum(past.pairs, "pnl");
  const item = (name, value, kind = "") => h("div", {}, h("dt", {}, name), h("dd", { class: "num", "data-tone": kind || null }, value));
  fill(
    place.sums,
    item("Net PnL, realized", signedUsd(pnl), tone(pnl)),
    item("Closed", String(closed)),
    item("Won", closed ? `${percent(sum(past.pairs, "won") / closed, 0)} (${sum(past.pairs, "won")})` : "–"),
    item("Turnover", usd(turnover, 0)),
    item("Fees", usd(sum(past.pairs, "fees"))),
    item("Funding paid", signedUsd(sum(past.pairs, "funding"))),
    item("Average slippage", turnover ? bps((slippage / (turnover - slippage)) * 10000) : "–"),
  );
  showCurve(past.equity_curve, account);
  table(place.pairs, past.pairs, "pair", "Pair", (line) => line.pair);
  table(place.reasons, past.reasons || [], "reason", "Exit", (line) => words(line.exit_reason));
}

async function showCurve(points, account) {
  const all = points.map((one) => [Date.parse(one.taken_at) / 1000, one.equity]);
  // What the page has seen itself since the last hour was written down.
  const written = all.length ? all[all.length - 1][0] : 0;
  all.push(...desk.equities.filter(([at]) => at > written));
  if (account.equity !== null && !desk.equities.length) all.push([Date.parse(account.taken_at) / 1000, account.equity]);
  if (all.length < 2) {
    fill(place.curve, empty("Not yet a line", "Equity is written down once an hour, and now is the first."));
    if (chart) chart.end();
    chart = null;
    return;
  }
  try {
    if (chart === null) chart = await lineChart(place.curve, { height: CHART_HEIGHT, told: (value) => usd(value, Math.abs(value) < 10000 ? 2 : 0), label: "Equity over time" });
    chart.show(all.map(([at]) => at), all.map(([, equity]) => equity));
  } catch (failure) {
    fill(place.curve, empty("No chart", failure.message));
  }
}

function table(where, lines, key, title, name) {
  if (!lines.length) {
    fill(where, empty("Nothing yet", "Nothing was traded in these days."));
    return;
  }
  const head = [title, "Closed", "Won", "Net PnL", "Fees", "Slippage"];
  const row = (line) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, name(line)),
      h("td", { class: "num" }, String(line.closed)),
      h("td", { class: "num" }, line.closed ? percent(line.won / line.closed, 0) : "–"),
      h("td", { class: "num", "data-tone": tone(line.pnl) }, signedUsd(line.pnl)),
      h("td", { class: "num" }, usd(line.fees)),
      h("td", { class: "num" }, bps(line.slippage_bps)),
    );
  fill(where, wide(title, h("table", { class: "plain-table" }, h("thead", {}, h("tr", {}, head.map((one, at) => h("th", { scope: "col", class: at ? "num" : "" }, one)))), h("tbody", {}, lines.map(row)))));
}

function showClosed(closed, total) {
  if (!closed.length) {
    fill(place.closed, empty("Nothing has closed yet", "Each position that closes is listed here, with why."));
    return;
  }
  const head = ["Pair", "Closed", "Held", "Size", "Net PnL", "", "Fees", "Slippage", "Exit"];
  const row = (one) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, one.pair.replace("/", " / ")),
      h("td", { class: "num" }, dayTime(one.exit_time)),
      h("td", { class: "num" }, one.exit_time ? duration((Date.parse(one.exit_time) - Date.parse(one.entry_time)) / 1000) : "–"),
      h("td", { class: "num" }, wholeUsd(one.size)),
      h("td", { class: "num", "data-tone": tone(one.pnl) }, signedUsd(one.pnl)),
      h("td", { class: "num", "data-tone": tone(one.pnl) }, one.pnl_percent === null || !one.size ? "–" : signedPercent(one.pnl_percent / 100)),
      h("td", { class: "num" }, usd(one.fees)),
      h("td", { class: "num" }, bps(one.execution.slippage_bps)),
      h("td", {}, words(one.exit_reason)),
    );
  fill(
    place.closed,
    wide("Closed positions", h("table", { class: "plain-table closed" }, h("thead", {}, h("tr", {}, head.map((one, at) => h("th", { scope: "col", class: at && at < 8 ? "num" : "" }, one || h("span", { class: "unseen" }, "Return"))))), h("tbody", {}, closed.map(row)))),
    total > closed.length ? h("p", { class: "small quiet" }, `The newest ${closed.length} of ${total}; the CSV has up to 1,000.`) : null,
  );
}
