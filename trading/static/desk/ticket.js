// The ticket: what to trade, what it will be, and only then the button.
// The law: what is executed is what was previewed; a change of the form takes the button away until it is previewed.

import { ask } from "./api.js";
import { fill, h, mark, openDialog, problemBox, showProblem, skeleton, text, toast, wide } from "./dom.js";
import { exitsOf, exitsTold, fields, hintsOf, unreadable } from "./exits.js";
import { learn, portfolio as lookAtPortfolio } from "./feed.js";
import { bps, duration, exactUsd, limitPercent, number, percent, price, quantity, time, usd, wholeUsd, words } from "./format.js";
import { desk, may, now } from "./state.js";

const SIZE_MIN_USD = 50;
const SIZE_STEP_USD = 50;
const PREVIEW_AFTER_MS = 250;
// Of a limit: its name, and how its numbers are written. Those of a leg are named with their coin, as depth:BTC.
const LIMITS = {
  max_positions: ["Positions", String],
  max_gross: ["All positions", (value) => percent(value, 1)],
  max_allocation: ["This position", (value) => percent(value, 1)],
  max_leverage: ["Leverage", (value) => `${value}×`],
  min_portfolio_usd: ["Portfolio above", wholeUsd],
  margin_usd: ["Margin", wholeUsd],
  leg_spread: ["Spread", (value) => percent(value, 3)],
  leg_notional: ["Least size", wholeUsd],
  depth: ["Depth", quantity],
  round_trip_cost: ["Round trip cost", (value) => percent(value, 3)],
};

export function openTicket(signal) {
  const terms = desk.portfolio && desk.portfolio.terms;
  if (!terms || desk.portfolio.equity === null) {
    openDialog("No ticket now", h("p", {}, "The account cannot be read, so no size can be offered. It is asked again every few seconds."));
    return;
  }
  const allowed = Math.floor(desk.portfolio.equity * terms.max_allocation);
  const largest = Math.max(SIZE_MIN_USD, allowed);
  const ticket = { signal, asked: 0, body: null, key: null };
  const field = (name, title, unit, hint) =>
    h("div", { class: "field" }, h("label", { for: `ticket-${name}` }, title), h("span", { class: "unit" }, h("input", { id: `ticket-${name}`, name, type: "number", step: "any", inputmode: "decimal", placeholder: hint }), h("span", { "aria-hidden": "true" }, unit)));
  const size = h("input", { id: "ticket-size", name: "size", type: "range", min: String(SIZE_MIN_USD), max: String(largest), step: String(SIZE_STEP_USD), value: String(Math.min(1000, largest)) });
  const exact = h("input", { id: "ticket-exact", name: "exact", type: "number", min: "1", max: String(largest), step: "any", inputmode: "decimal", value: String(Math.min(1000, largest)), "aria-label": "Size in USD", "data-first": true });
  const leverage = h("select", { id: "ticket-leverage", name: "leverage" }, Array.from({ length: terms.max_leverage }, (_, place) => h("option", { value: String(place + 1) }, `${place + 1}×`)));
  const choice = (value, title, chosen) => h("label", {}, h("input", { type: "radio", name: "execution", value, checked: chosen }), title);
  const verdict = h("div", { class: "ticket-verdict" }, skeleton(6));
  const go = h("button", { type: "submit", class: "primary", id: "ticket-go", disabled: true }, "Execute");
  const answer = h("div", { id: "ticket-answer" });
  const twap = h("div", { class: "twap-fields", hidden: true }, field("duration", "Over", "s", String(terms.twap_duration_seconds)), field("slices", "Slices", "", String(terms.twap_slices)));
  const controls = h(
    "div",
    { class: "ticket-form" },
    h("div", { class: "field" }, h("label", { for: "ticket-size" }, "Size, both legs together"), h("span", { class: "size-row" }, size, h("span", { class: "unit before" }, h("span", { "aria-hidden": "true" }, "$"), exact)), h("p", { class: "small quiet num" }, `up to ${usd(allowed, 0)}, ${limitPercent(terms.max_allocation)} of equity`)),
    h("div", { class: "field" }, h("label", { for: "ticket-leverage" }, "Leverage"), leverage),
    h("fieldset", {}, h("legend", {}, "Execution"), choice("", `by size, sliced above ${usd(terms.twap_threshold_usd, 0)}`, true), choice("market", "market"), choice("twap", "TWAP"), twap),
    h("div", { class: "pair-of-fields" }, fields("ticket", {}, hintsOf(terms), false)),
  );
  const form = h(
    "form",
    { class: "ticket", novalidate: true },
    controls,
    h("div", { class: "ticket-preview", "aria-live": "polite" }, verdict, answer, h("div", { class: "buttons" }, go)),
  );
  const window = openDialog(`${signal.pair}: long ${signal.long_coin}, short ${signal.short_coin}`, form, { kind: "wide" });

  let timer = null;
  const changed = () => {
    // An answer about what the form said before is no preview of what it says now.
    ticket.asked += 1;
    ticket.body = null;
    go.disabled = true;
    mark(verdict, "aria-busy", "true");
    clearTimeout(timer);
    timer = setTimeout(preview, PREVIEW_AFTER_MS);
  };

  async function preview() {
    const turn = (ticket.asked += 1);
    const body = bodyOf(form, signal);
    try {
      const wrong = unreadable(form);
      if (wrong) throw wrong;
      const seen = (await ask("POST", "/api/trades/preview", body)).body;
      if (turn !== ticket.asked) return;
      ticket.body = body;
      fill(verdict, showPreview(seen));
      go.disabled = !(seen.would_execute && may("trade"));
      text(go, may("trade") ? `Execute ${exactUsd(body.position_size)}` : "Read only");
    } catch (problem) {
      if (turn !== ticket.asked) return;
      fill(verdict, problemBox(problem));
    }
    mark(verdict, "aria-busy", null);
  }

  form.addEventListener("input", (event) => {
    if (event.target === size) exact.value = size.value;
    if (event.target === exact) size.value = exact.value;
    twap.hidden = form.elements.execution.value !== "twap";
    fill(answer);
    changed();
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (go.disabled || ticket.body === null) return;
    go.disabled = true;
    text(go, "Asking Guardian …");
    fill(answer);
    const asked = ticket.body;
    // Nothing is changed under a request that is on its way.
    controls.inert = true;
    try {
      const { body } = await ask("POST", "/api/trades/execute", asked, ticket.key === null ? {} : { "Idempotency-Key": ticket.key });
      learn(body);
      lookAtPortfolio();
      executed(window, body);
    } catch (problem) {
      showProblem(answer, problem);
      answer.scrollIntoView({ block: "nearest" });
      text(go, `Execute ${exactUsd(asked.position_size)}`);
      go.disabled = problem.code === "GUARDIAN_REJECTED";
      controls.inert = false;
      // That nothing was filled is the answer to this key for ever; to try again takes another.
      const stopped = problem.code === "TRADING_HALTED" && problem.trade_id;
      if (["VENUE_REJECTED", "TRADE_CANCELED"].includes(problem.code) || stopped) ticket.key = freshKey();
    }
  });
  preview();
}

const freshKey = () => [...crypto.getRandomValues(new Uint8Array(16))].map((one) => one.toString(16).padStart(2, "0")).join("");

function bodyOf(form, signal) {
  const given = (name) => (form.elements[name].value.trim() === "" ? undefined : Number(form.elements[name].value));
  const execution = form.elements.execution.value || undefined;
  const twap = { duration_seconds: given("duration"), slices: given("slices") };
  const some = (group) => Object.values(group).some((one) => one !== undefined);
  return {
    signal_id: signal.id,
    pair: signal.pair,
    position_size: given("exact") ?? 0,
    leverage: Number(form.elements.leverage.value),
    execution,
    twap: execution === "twap" && some(twap) ? twap : undefined,
    ...exitsOf(form),
  };
}

function showPreview(seen) {
  const leg = (one) =>
    h("tr", {}, h("th", { scope: "row" }, `${one.side === "long" ? "Buy" : "Sell"} ${one.coin}`), h("td", { class: "num" }, quantity(one.quantity)), h("td", { class: "num" }, price(one.expected_price)), h("td", { class: "num" }, bps(one.slippage_bps)), h("td", { class: "num" }, usd(one.entry_fee)));
  const head = ["Leg", "Coins", "Expected", "Slippage", "Fee"].map((name, place) => h("th", { scope: "col", class: place ? "num" : "" }, name));
  const why = [...seen.reasons, ...seen.breaches];
  return [
    h("p", { class: "verdict-line", "data-take": String(seen.would_execute) }, seen.would_execute ? "✓ The desk would execute this; Guardian is asked when you do." : "✕ The desk would not execute this."),
    why.length ? h("ul", { class: "reasons" }, why.map((one) => h("li", {}, h("strong", {}, words(one.code)), ` ${one.detail || ""}`))) : null,
    wide("Legs", h("table", { class: "plain-table" }, h("thead", {}, h("tr", {}, head)), h("tbody", {}, leg(seen.long), leg(seen.short)))),
    h(
      "dl",
      { class: "facts" },
      fact("Execution", seen.execution === "twap" ? `TWAP, ${seen.slices.length} slices in ${duration(seen.duration_seconds)}` : "market, at once"),
      fact("Margin", usd(seen.margin)),
      fact("Round trip", seen.round_trip_cost === null ? "–" : `${percent(seen.round_trip_cost)}, ${usd(seen.round_trip_cost * seen.position_size)}`),
      fact("Exits", exitsTold(seen)),
      fact("Prices of", time(new Date(now()).toISOString())),
    ),
    h("h3", {}, "What is left of each limit"),
    h("dl", { class: "headroom" }, seen.headroom.map(limit)),
  ];
}

function limit(one) {
  const [kind, coin] = one.name.split(":");
  const [name, told] = LIMITS[kind] || [words(kind), number];
  // Depth is measured no further than what is wanted: nothing left is enough.
  const left = kind === "depth" && one.left >= 0 ? "enough" : `${told(one.left)} left`;
  return h("div", { "data-level": one.left < 0 ? "bad" : "ok", title: one.detail }, h("dt", {}, coin ? `${name} ${coin}` : name), h("dd", { class: "num" }, h("span", {}, left), h("span", { class: "quiet" }, ` of ${told(one.limit)}`)));
}

function executed(window, position) {
  const said = position.guardian;
  toast(`${position.pair} is ${position.status}.`, "good");
  fill(
    window.body,
    h("p", { class: "big" }, { opening: "Being worked", closing: "Opened, and being closed", closed: `Closed already: ${words(position.exit_reason)}` }[position.status] || "Opened"),
    h("p", {}, `${position.pair}: ${usd(position.size)} filled of ${usd(position.requested_size)}.`),
    said ? h("div", { class: "quote" }, h("h3", {}, "Guardian approved"), h("p", {}, said.reasoning || "No reasoning was given."), said.risk_score === null ? null : h("p", { class: "small quiet" }, `risk ${number(said.risk_score)}`)) : null,
    h("div", { class: "buttons" }, h("button", { type: "button", class: "primary", onclick: window.close }, "Done")),
  );
  window.body.querySelector("button").focus();
}

const fact = (name, value) => h("div", {}, h("dt", {}, name), h("dd", { class: "num" }, value));
