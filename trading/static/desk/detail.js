// One position, opened: how it came about, what it holds, what has happened since, and its exits to change.

import { ask, get } from "./api.js";
import { lineChart } from "./chart.js";
import { empty, fill, h, problemBox, renew, showProblem, skeleton, style, text, toast, wide } from "./dom.js";
import { barriers, changeOf, distances, fields, sameExits, sideOf, told, trail, unreadable, valuesOf, zscoreAt } from "./exits.js";
import { learn } from "./feed.js";
import { bps, dayTime, duration, number, percent, price, quantity, signedPercent, signedUsd, spread, tone, usd, words } from "./format.js";
import { desk, may, on, secondsSince } from "./state.js";

const CHART_HEIGHT = 220;
const TRAIL_MS = 15000;
const POINTS_MAX = 4000;
const MEASURES = {
  exit_return: ["Return if closed", (value) => signedPercent(value)],
  spread: ["Spread", spread],
  zscore: ["Z-score", number],
};

const NOTES = {
  exit_return: "What closing would return, by the depth of the book and after all costs.",
  spread: "The price of the first coin over that of the second, less one, at mid.",
  zscore: "Deviations of the log ratio from its mean, both as they were at entry.",
};

let shown = null;

export async function openDetail(place, position) {
  end();
  const mine = { id: position.position_id, trade: position.trade_id, closing: position.closing_trade_id, measure: "exit_return", points: [], chart: null, stops: [] };
  shown = mine;
  mine.chartPlace = h("div", { class: "chart-place" }, skeleton(1));
  mine.notes = h("p", { class: "small quiet" });
  mine.switch = switcher(mine, position);
  mine.facts = h("div", {}, skeleton(3));
  mine.distances = h("dl", { class: "distances" });
  mine.exits = h("div", { class: "exits-form" });
  mine.story = h("div", {}, skeleton(3));
  fill(
    place,
    h(
      "div",
      { class: "detail" },
      h("section", { class: "detail-chart", "aria-label": "Since entry" }, mine.switch, mine.chartPlace, mine.notes),
      h("section", { class: "detail-exits", "aria-label": "Exits" }, h("h3", {}, "Distance to each exit"), mine.distances, mine.exits),
      h("section", { class: "detail-facts", "aria-label": "Legs and costs" }, h("h3", {}, "Legs and costs"), mine.facts),
      h("section", { class: "detail-story", "aria-label": "Story" }, mine.story),
    ),
  );
  showExits(mine, position);
  mine.stops.push(on("marks", () => follow(mine)));
  mine.stops.push(on("positions marks", () => standing(mine) && showFacts(mine, standing(mine))));
  mine.stops.push(on("positions", () => standing(mine) && followExits(mine, standing(mine))));
  mine.stops.push(on("marks clock", () => standing(mine) && showDistances(mine, standing(mine))));
  showFacts(mine, position);
  await Promise.all([drawTrail(mine), showStory(mine)]);
  // It may have been shut meanwhile.
  if (shown === mine) mine.timer = setInterval(() => loadTrail(mine), TRAIL_MS);
}

export async function refreshDetail(id) {
  if (shown && shown.id === id && shown.story.isConnected) await showStory(shown);
}

function end() {
  if (shown === null) return;
  clearInterval(shown.timer);
  shown.stops.forEach((stop) => stop());
  if (shown.chart) shown.chart.end();
  shown = null;
}

const standing = (mine) => {
  if (!mine.facts.isConnected) {
    if (shown === mine) end();
    return null;
  }
  return desk.positions && desk.positions.get(mine.id);
};

function switcher(mine, position) {
  const choice = ([name, [title]]) =>
    h("button", { type: "button", "aria-pressed": String(mine.measure === name), onclick: (event) => choose(name, event.target) }, title);
  const choose = (name, button) => {
    mine.measure = name;
    for (const one of button.parentNode.children) one.setAttribute("aria-pressed", String(one === button));
    drawTrail(mine);
  };
  const measures = Object.entries(MEASURES).filter(([name]) => name !== "zscore" || position.zscore);
  return h("div", { class: "switch", role: "group", "aria-label": "What the chart shows" }, measures.map(choice));
}

// The chart --------------------------------------------------------------------------------------------------------

async function drawTrail(mine) {
  const position = standing(mine);
  if (!position) return;
  const [title, write] = MEASURES[mine.measure];
  if (mine.chart) mine.chart.end();
  try {
    const options = { height: CHART_HEIGHT, told: write, label: `${title} of ${position.pair} since entry`, levels: () => levels(mine), marks: () => instants(mine) };
    mine.chart = await lineChart(mine.chartPlace, options);
  } catch (failure) {
    fill(mine.chartPlace, empty("No chart", failure.message));
    return;
  }
  await loadTrail(mine);
}

function levels(mine) {
  const position = desk.positions && desk.positions.get(mine.id);
  if (!position) return [];
  if (mine.measure === "spread") {
    const lines = [
      [position.entry_spread, "entry", "--quiet"],
      [position.take_profit_spread, "target", "--gain"],
      [position.stop_loss_spread, "stop", "--loss"],
    ];
    return lines.filter(([value]) => typeof value === "number");
  }
  if (mine.measure === "zscore") {
    const side = sideOf(position.zscore);
    const lines = [
      [position.zscore.entry, "entry", "--quiet"],
      [position.take_profit_z === null ? null : position.take_profit_z * side, "target", "--gain"],
      [position.stop_loss_z === null ? null : position.stop_loss_z * side, "stop", "--loss"],
    ];
    return lines.filter(([value]) => typeof value === "number");
  }
  const { stop, target } = barriers(position);
  const trailing = trail(position);
  return [
    [target, `take profit ${percent(target)}`, "--gain"],
    [0, "even", "--quiet"],
    [-stop, `stop loss ${percent(-stop)}`, "--loss"],
    ...(trailing === null ? [] : [[trailing, `trailing ${percent(trailing)}`, "--loss"]]),
  ];
}

function instants(mine) {
  const position = desk.positions && desk.positions.get(mine.id);
  return position ? [[Date.parse(position.entry_time) / 1000, "entry"]] : [];
}

async function loadTrail(mine) {
  try {
    const { body } = await get(`/api/positions/${mine.id}/marks`);
    if (shown !== mine) return;
    const newest = body.length ? Date.parse(body[body.length - 1].at) : 0;
    const seen = mine.points.filter((one) => one.at > newest);
    mine.points = [...body.map((one) => ({ at: Date.parse(one.at), spread: one.spread, exit_return: one.exit_return })), ...seen].slice(-POINTS_MAX);
    mine.trouble = null;
  } catch (problem) {
    mine.trouble = problem.detail;
  }
  paint(mine);
}

function follow(mine) {
  const position = standing(mine);
  if (!position || !position.marked_at) return;
  const at = Date.parse(position.marked_at);
  if (mine.points.length && mine.points[mine.points.length - 1].at >= at) return;
  mine.points.push({ at, spread: position.current_spread, exit_return: position.exit_return });
  if (mine.points.length > POINTS_MAX) mine.points.shift();
  paint(mine);
}

function paint(mine) {
  if (!mine.chart || shown !== mine) return;
  const position = desk.positions && desk.positions.get(mine.id);
  const valueOf = mine.measure === "zscore" && position ? (one) => zscoreAt(position.zscore, one.spread) : (one) => one[mine.measure];
  const points = mine.points.filter((one) => valueOf(one) !== null);
  if (points.length) mine.chart.show(points.map((one) => one.at / 1000), points.map(valueOf));
  const late = position && points.length && points[0].at - Date.parse(position.entry_time) > 60000;
  text(mine.notes, mine.trouble ? `History cannot be read: ${mine.trouble}` : !points.length ? "Waiting for the first mark." : late ? `Marks are known since ${dayTime(points[0].at)}.` : NOTES[mine.measure]);
}

// Legs, costs, story -----------------------------------------------------------------------------------------------

function showFacts(mine, one) {
  const leg = (of) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, `${of.side} ${of.coin}`),
      h("td", { class: "num" }, quantity(of.quantity)),
      h("td", { class: "num" }, price(of.entry_price)),
      h("td", { class: "num" }, price(of.mark_price)),
      h("td", { class: "num", "data-tone": tone(of.unrealized_pnl) }, signedUsd(of.unrealized_pnl)),
      h("td", { class: "num" }, usd(of.fees)),
      h("td", { class: "num" }, signedUsd(of.funding)),
    );
  const head = ["Leg", "Coins", "Entry", "Mark", "Unrealized", "Fees", "Funding paid"];
  // What scrolls stays, for whoever has scrolled it.
  if (!mine.legs) {
    mine.legs = h("table", { class: "plain-table" });
    mine.costs = h("div", {});
    fill(mine.facts, wide("Legs", mine.legs), mine.costs);
  }
  renew(
    mine.legs,
    h("thead", {}, h("tr", {}, head.map((name, place) => h("th", { scope: "col", class: place ? "num" : "" }, name)))),
    h("tbody", {}, leg(one.long), leg(one.short)),
  );
  renew(
    mine.costs,
    h(
      "dl",
      { class: "facts" },
      fact("Entry against arrival", bps(one.execution.slippage_bps)),
      fact("Slices", `${one.execution.slices_done} of ${one.execution.slices_total}${skipped(one.execution)} (${one.execution.type})`),
      one.execution.next_slice_at ? fact("Next slice", soon(one.execution.next_slice_at)) : null,
      fact("Naked at most", usd(one.naked.max_usd)),
      fact("Naked over time", `${number(one.naked.usd_seconds)} USD·s`),
      fact("To liquidation", one.liquidation_distance === null ? "–" : one.liquidation_distance > 5 ? "> 500 %" : percent(one.liquidation_distance, 0)),
      fact("Margin leverage", `${one.leverage}×`),
    ),
    h("div", {}, resting(one)),
  );
}

async function showStory(mine) {
  const position = (desk.positions && desk.positions.get(mine.id)) || null;
  const ids = [mine.trade, position ? position.closing_trade_id : mine.closing].filter(Boolean);
  try {
    const [detail, ...trades] = await Promise.all([get(`/api/positions/${mine.id}`), ...ids.map((id) => get(`/api/trades/${id}`))]);
    if (shown !== mine) return;
    fill(mine.story, openingButtons(detail.body, trades[0].body), guardian(detail.body), scout(detail.body), timeline(trades.map((one) => one.body)), orders(trades.flatMap((one) => one.body.orders)));
  } catch (problem) {
    fill(mine.story, problemBox(problem));
  }
}

function guardian(one) {
  const said = one.guardian;
  if (!said) return null;
  return h(
    "div",
    { class: "quote" },
    h("h3", {}, "Guardian"),
    h("p", {}, said.reasoning || "No reasoning was given."),
    said.concerns.length ? h("ul", {}, said.concerns.map((word) => h("li", {}, word))) : null,
    h("p", { class: "small quiet" }, `${said.approved ? "Approved" : "Rejected"} ${dayTime(said.answered_at)}${said.risk_score === null ? "" : `, risk ${number(said.risk_score)}`}`),
  );
}

function scout(one) {
  if (!one.signal) return null;
  const said = one.signal;
  return h(
    "div",
    { class: "quote" },
    h("h3", {}, "Scout"),
    h("p", {}, `${words(said.signal_type)}, z-score ${number(said.zscore)}, confidence ${percent(said.confidence, 0)}`),
    h("p", { class: "small quiet" }, `Signal ${said.id}, ${dayTime(said.timestamp)}`),
  );
}

// What would close it at the venue if the desk itself were gone.
function resting(one) {
  if (!one.resting_orders || !one.resting_orders.length) return null;
  const line = (order) =>
    h("li", {}, `${words(order.kind)}: ${words(order.side)} ${quantity(order.quantity)} ${order.coin} at ${price(order.trigger_price)}`, order.placed ? null : h("span", { class: "quiet" }, ", not confirmed yet"));
  return [h("h3", { class: "next" }, "Resting at the venue"), h("ul", { class: "num" }, one.resting_orders.map(line))];
}

const UNLEVEL = "legs that cannot be levelled are closed";

// An opening can be stopped; one that nobody works any more says why, and can be taken up again.
function openingButtons(one, trade) {
  if (one.status !== "opening") return null;
  const suspended = trade.status === "SUSPENDED";
  const trouble = h("div", {});
  const button = (verb, title, told) => {
    const press = async (event) => {
      event.target.disabled = true;
      try {
        const { body } = await ask("POST", `/api/trades/${one.trade_id}/${verb}`, {});
        toast(`The opening is ${words(body.status)}${told}.`);
      } catch (problem) {
        showProblem(trouble, problem);
        event.target.disabled = false;
      }
    };
    return h("button", { type: "button", onclick: press }, title);
  };
  return h(
    "div",
    { class: "across" },
    suspended ? h("p", { class: "strong" }, `Suspended: ${trade.why}`) : null,
    suspended ? h("p", { class: "small quiet" }, `Nobody works it; what is filled stays under its exits. Resumed (scope admin), its legs are levelled again and the rest goes out only while the desk is active. Cancelled, ${UNLEVEL}.`) : null,
    may("trade") ? button("cancel", "Cancel the rest of the opening", suspended ? `; ${UNLEVEL}` : "; what is filled stands") : null,
    " ",
    suspended && may("admin") ? button("resume", "Resume this opening", "") : null,
    trouble,
  );
}

// TradeAccepted as "trade accepted".
const spoken = (event) => event.replace(/([a-z])([A-Z])/g, "$1 $2").toLowerCase();

function timeline(trades) {
  const events = trades.flatMap((trade) => trade.timeline);
  return h(
    "div",
    { class: "across" },
    h("h3", {}, "Timeline"),
    h("ol", { class: "timeline" }, events.map((one) => h("li", {}, h("time", { datetime: one.at, class: "num" }, dayTime(one.at)), h("span", { class: "strong" }, spoken(one.event)), h("span", { class: "quiet" }, one.detail)))),
  );
}

function orders(list) {
  const head = ["Order", "Filled", "Average", "Limit", "Fee", "Status"];
  const row = (one) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, `${one.side} ${one.coin}${one.reduce_only ? ", reducing" : ""}`),
      h("td", { class: "num" }, `${quantity(one.filled)} / ${quantity(one.quantity)}`),
      h("td", { class: "num" }, price(one.average_price)),
      h("td", { class: "num" }, price(one.limit_price)),
      h("td", { class: "num" }, usd(one.fees)),
      h("td", {}, words(one.status), one.reason ? h("span", { class: "small quiet" }, ` ${one.reason}`) : null),
    );
  return h(
    "div",
    { class: "across" },
    h("h3", {}, "Orders and fills"),
    wide("Orders and fills", h("table", { class: "plain-table" }, h("thead", {}, h("tr", {}, head.map((name, place) => h("th", { scope: "col", class: place > 0 && place < 5 ? "num" : "" }, name)))), h("tbody", {}, list.map(row)))),
  );
}

const skipped = (execution) => (execution.slices_skipped ? `, ${execution.slices_skipped} skipped` : "");
const soon = (iso) => (secondsSince(iso) < 0 ? `in ${duration(-secondsSince(iso))}` : "due now");
const fact = (name, value) => h("div", {}, h("dt", {}, name), h("dd", { class: "num" }, value));

// The exits --------------------------------------------------------------------------------------------------------

// Exits that somebody else has changed are shown, unless something is being typed over them: then that is told.
function followExits(mine, one) {
  const form = mine.exits.firstElementChild;
  if (sameExits(mine.exitsShown, one) || !form) return;
  const typing = form.contains(document.activeElement) || unreadable(form) || Object.keys(changeOf(form, mine.exitsShown)).length;
  if (!typing) showExits(mine, one);
  else text(mine.changed, "Meanwhile these exits were changed elsewhere; the distances above are what holds.");
}

function showExits(mine, one) {
  mine.exitsShown = one;
  mine.changed = h("p", { class: "small quiet", role: "status" });
  const trouble = h("div", {});
  const save = h("button", { type: "submit" }, "Change exits");
  const form = h(
    "form",
    { novalidate: true },
    fields(one.position_id, valuesOf(one), {}, !may("trade")),
    mine.changed,
    trouble,
    may("trade") ? h("div", { class: "buttons" }, save) : null,
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const wrong = unreadable(form);
    if (wrong) {
      fill(trouble, problemBox(wrong));
      return;
    }
    save.disabled = true;
    try {
      const { body } = await ask("PATCH", `/api/positions/${one.position_id}`, changeOf(form, one));
      learn(body);
      showExits(mine, body);
      // The first exit by z-score brings a chart of its own.
      const anew = switcher(mine, body);
      mine.switch.replaceWith(anew);
      mine.switch = anew;
      if (mine.chart) mine.chart.repaint();
      toast(`${body.pair}: exits changed, ${told(body)}.`, "good");
    } catch (problem) {
      showProblem(trouble, problem);
      save.disabled = false;
    }
  });
  fill(mine.exits, form);
  showDistances(mine, one);
}

// A bar to each exit: how much of the way to it is used up.
function showDistances(mine, one) {
  const rows = distances(one);
  if (mine.bars && mine.bars.length === rows.length && mine.bars.every((bar, place) => bar.name === rows[place][0])) {
    rows.forEach(([, used, left], place) => {
      style(mine.bars[place].bar, "width", `${(used * 100).toFixed(1)}%`);
      text(mine.bars[place].left, left);
    });
    return;
  }
  mine.bars = rows.map(([name, used, left]) => {
    const bar = h("span", { "data-kind": /^(Stop|Liquidation)/.test(name) ? "stop" : /^(Take|Target|Trailing)/.test(name) ? "target" : null });
    style(bar, "width", `${(used * 100).toFixed(1)}%`);
    return { name, bar, left: h("span", { class: "num" }, left) };
  });
  fill(
    mine.distances,
    mine.bars.map(({ name, bar, left }) => h("div", {}, h("dt", {}, name), h("dd", {}, left, h("span", { class: "meter", "aria-hidden": "true" }, bar)))),
  );
}
