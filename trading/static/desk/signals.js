// What Scout offers, each with whether the desk would take it; one click opens the ticket.

import { $, empty, fill, h, mark, problemBox, skeleton, text } from "./dom.js";
import { duration, number, percent, usd, words } from "./format.js";
import { desk, may, on, secondsSince } from "./state.js";
import { openTicket } from "./ticket.js";

const cards = new Map();
let list = null;

export function start() {
  fill($("signals"), skeleton(4));
  on("signals session", show);
  on("clock", () => cards.forEach(showAge));
}

function show() {
  const place = $("signals");
  const problem = desk.problems.signals;
  if (problem || desk.signals === null || desk.signals.length === 0) {
    if (!problem && desk.signals === null) return;
    cards.clear();
    list = null;
    text($("signals-count"), "");
    fill(place, problem ? problemBox(problem) : empty("Scout offers nothing", "New signals appear here by themselves."));
    return;
  }
  if (list === null) {
    list = h("ul", { class: "signals" });
    fill(place, list);
  }
  const shown = oneAPair(desk.signals);
  text($("signals-count"), `${shown.filter((one) => one.would_take).length} of ${shown.length} would be taken`);
  const order = shown.sort((a, b) => b.would_take - a.would_take || Math.abs(b.zscore) - Math.abs(a.zscore));
  const wanted = new Set(order.map((one) => one.pair));
  for (const [pair, card] of cards) {
    if (!wanted.has(pair)) {
      card.node.remove();
      cards.delete(pair);
    }
  }
  let next = list.firstChild;
  for (const signal of order) {
    if (!cards.has(signal.pair)) cards.set(signal.pair, newCard());
    const card = cards.get(signal.pair);
    card.signal = signal;
    showCard(card);
    if (card.node === next) next = next.nextSibling;
    else list.insertBefore(card.node, next);
  }
}

// Of the signals of a pair the newest that would be taken, else the newest; they come newest first.
function oneAPair(signals) {
  const best = new Map();
  for (const one of signals) {
    const known = best.get(one.pair);
    if (!known || (one.would_take && !known.would_take)) best.set(one.pair, one);
  }
  return [...best.values()];
}

// A card to a pair: a new signal of the same pair takes its place without moving what is around it.
function newCard() {
  const part = (kind = "") => h("span", { class: kind });
  const card = { pair: part("strong"), legs: part("small quiet"), z: part("num strong"), confidence: part("num"), age: part("num quiet small"), verdict: part("verdict"), why: part("small quiet") };
  card.open = h("button", { type: "button", class: "ticket-button", onclick: () => openTicket(card.signal) }, "Ticket");
  card.node = h(
    "li",
    { class: "signal" },
    h("span", { class: "signal-pair" }, card.pair, card.legs),
    h("span", { class: "signal-z" }, h("span", { class: "small quiet" }, "z-score"), card.z),
    h("span", { class: "signal-z" }, h("span", { class: "small quiet" }, "confidence"), card.confidence),
    card.open,
    h("span", { class: "signal-verdict" }, card.verdict, card.why, card.age),
  );
  return card;
}

function showCard(card) {
  const one = card.signal;
  text(card.pair, one.pair.replace("/", " / "));
  text(card.legs, `long ${one.long_coin}, short ${one.short_coin}`);
  text(card.z, `${one.zscore > 0 ? "+" : ""}${number(one.zscore)}`);
  text(card.confidence, percent(one.confidence, 0));
  mark(card.node, "data-take", String(one.would_take));
  text(card.verdict, one.would_take ? "✓ would take" : "✕ would not");
  const why = one.would_take ? `at ${usd(one.at_size, 0)}` : [...new Set(one.why_not.map((reason) => words(reason.code).replace("signal ", "")))].join(", ");
  text(card.why, why);
  mark(card.why, "title", one.why_not.map((reason) => reason.detail).join("\n") || null);
  mark(card.open, "aria-label", `${may("trade") ? "Open a ticket" : "Preview"} for ${one.pair}`);
  text(card.open, may("trade") ? "Ticket" : "Preview");
  mark(card.open, "class", one.would_take && may("trade") ? "ticket-button primary" : "ticket-button");
  showAge(card);
}

function showAge(card) {
  const seconds = secondsSince(card.signal.timestamp);
  text(card.age, `${duration(seconds)} old`);
}
