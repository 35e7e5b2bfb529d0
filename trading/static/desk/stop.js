// The emergency stop: typed, not clicked by mistake; then what happens until the desk is flat.

import { ask } from "./api.js";
import { $, fill, h, openDialog, problemBox, showProblem, text } from "./dom.js";
import { health as lookAtHealth } from "./feed.js";
import { duration, quantity } from "./format.js";
import { openResume } from "./resume.js";
import { desk, ledgerLost, may, on, tell } from "./state.js";

const WORD = "STOP";
const WORD_OF_ALL = "STOP ACCOUNT";

export function start() {
  $("stop").addEventListener("click", openStop);
  on("session", () => {
    $("stop").disabled = !may("trade");
    $("stop").title = may("trade") ? "Close everything and open nothing more" : "Takes a token with the scope trade";
  });
}

function openStop() {
  const whole = h("input", { id: "stop-account", type: "checkbox", disabled: !may("admin"), "aria-describedby": "stop-foreign" });
  const field = h("input", { id: "stop-word", type: "text", autocomplete: "off", autocapitalize: "characters", spellcheck: "false", "data-first": true, "aria-describedby": "stop-help" });
  const asked = h("label", { for: "stop-word" });
  const go = h("button", { type: "submit", class: "danger", id: "stop-go" });
  const trouble = h("div", {});
  const form = h(
    "form",
    {},
    h("p", { id: "stop-help" }, bookWords()),
    h("div", { class: "option" }, h("label", { class: "check" }, whole, "Sell the whole account, not only the desk's part"), h("p", { class: "small quiet", id: "stop-foreign" }, accountWords())),
    asked,
    field,
    trouble,
    h("div", { class: "buttons" }, go),
  );
  const word = () => (whole.checked ? WORD_OF_ALL : WORD);
  const idle = () => {
    text(asked, `Type ${word()} to confirm`);
    text(go, whole.checked ? "Stop and sell the whole account" : "Stop everything");
    go.disabled = field.value.trim().toUpperCase() !== word();
  };
  idle();
  const window = openDialog("Emergency stop", form, { kind: "alarm" });
  field.addEventListener("input", idle);
  whole.addEventListener("change", idle);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (go.disabled) return;
    go.disabled = true;
    text(go, "Stopping …");
    try {
      await press(window, whole.checked ? { scope: "account" } : {});
    } catch (problem) {
      showProblem(trouble, problem, h("p", {}, "If the service does not answer: manage.py emergency_stop"));
      idle();
    }
  });
}

function bookWords() {
  if (ledgerLost()) return "Closes at market what the venue holds of the desk, as far as that is known without the ledger, and opens nothing more.";
  const count = desk.positions ? desk.positions.size : null;
  if (count === null) return "Closes every position of the desk at market and opens nothing more.";
  const what = count === 0 ? "Nothing of the desk is open. It" : count === 1 ? "Closes the 1 open position at market and" : `Closes all ${count} open positions at market and`;
  return `${what} opens nothing more, until somebody resumes.`;
}

// What the account holds beside the book; without a ledger that is all of it.
export function beside() {
  const account = desk.portfolio;
  const held = Object.entries((account && account.foreign_holdings) || {}).map(([coin, amount]) => `${quantity(amount)} ${coin}`);
  const none = account && account.equity !== null ? "The account holds nothing else now." : "What else the account holds cannot be read now.";
  if (!held.length) return none;
  return ledgerLost() ? `The account holds ${held.join(", ")}; what of it is the desk's cannot be told now.` : `Not the desk's: ${held.join(", ")}.`;
}

// The same, and who may sell it.
function accountWords() {
  const others = beside();
  return may("admin") ? others : `${others} What is not the desk's stays: to sell it takes a token with the scope admin.`;
}

async function press(window, asked, unled = false) {
  const { body } = await ask("POST", "/api/emergency_stop", asked);
  if (body.trading_state === "HALTED" && (unled || body.status === "closing")) withoutLedger(window, body, asked);
  else progress(window, body, asked);
}

const BY_HOLDINGS = "The ledger cannot be used, so what the venue holds is being closed. This window does not follow it by itself.";
const LEDGER_LOST = "The ledger cannot be used any more, so how far the stop has come is not known here. Stop again: what the venue holds is closed then.";

// HALTED and still closing is a stop without a ledger, by what the venue holds: nothing but its own answer tells how far
// it has come. Asked again it is the same stop.
function withoutLedger(window, report, asked, words = BY_HOLDINGS) {
  const flat = report.status === "all_positions_closed";
  const again = h("button", { type: "button", class: "danger", id: "stop-again" }, "Stop again and look");
  const trouble = h("div", {});
  again.addEventListener("click", async () => {
    again.disabled = true;
    try {
      await press(window, asked, true);
    } catch (problem) {
      fill(trouble, problemBox(problem));
      again.disabled = false;
    }
  });
  fill(
    window.body,
    h("p", { class: "big" }, flat ? "Flat. The desk is halted." : "Not flat yet"),
    h("p", { id: "stop-words", role: "status" }, flat ? "The ledger cannot be used; the venue was read, and holds nothing of the desk." : words),
    h("ul", { class: "small" }, report.remaining.map((one) => h("li", {}, `${one.pair}: ${one.why}`)), report.foreign.map(foreignLine)),
    trouble,
    flat ? null : h("div", { class: "buttons" }, again),
  );
}

const foreignLine = (one) => h("li", {}, `${quantity(one.quantity)} ${one.coin} are not the desk's and stay`);

// What the stop has reached, followed until the desk is HALTED. The law: flat is what the stop's own answer said, or a
// health that was asked for since and has a ledger: without one the desk is HALTED whatever is open.
function progress(window, report, asked) {
  // The state is known from the answer before health is looked at again.
  if (desk.health) desk.health.trading_state = report.trading_state;
  tell("health");
  const begun = performance.now();
  const ended = report.trading_state === "HALTED";
  const total = report.closed.length + report.remaining.length;
  const step = h("p", { class: "big" });
  const words = h("p", { id: "stop-words", role: "status" });
  const meter = h("progress", { max: String(Math.max(total, 1)), "aria-label": "Positions closed" });
  const list = h("ul", { class: "small" });
  const accept = h("button", { type: "button", hidden: true, onclick: openResume }, "Leave what is left to somebody else");
  fill(window.body, step, meter, words, list, h("div", { class: "buttons" }, accept));
  const show = () => {
    const health = !ended && desk.healthAskedAt > begun ? desk.health : null;
    if (health && health.status === "unhealthy") {
      stopListening();
      withoutLedger(window, { ...report, status: "closing", remaining: [] }, asked, LEDGER_LOST);
      return;
    }
    const state = (health && health.trading_state) || report.trading_state;
    const standing = [...(desk.positions || new Map()).values()];
    const left = state === "LIQUIDATING" ? standing.length : 0;
    const held = state === "LIQUIDATING" && !left ? stillHeld() : null;
    meter.value = Math.max(total - left, 0);
    accept.hidden = held === null || !may("admin");
    if (!ended && desk.link === "lost") {
      text(step, "The service does not answer");
      text(words, "How far the stop has come is not known. Without the service: manage.py emergency_stop");
    } else if (state === "ACTIVE" || state === "REDUCING") {
      text(step, "Flat, and resumed since");
      text(words, "Every position was closed; somebody has taken the desk back to trading.");
    } else if (state === "HALTED") {
      text(step, "Flat. The desk is halted.");
      // A stop without a ledger counts no positions.
      const closed = total ? `${total} ${total === 1 ? "position" : "positions"} closed.` : "Nothing of the desk is left at the venue.";
      text(words, `${closed} Nothing opens until somebody resumes.`);
    } else if (held !== null) {
      text(step, "Closed, and not flat");
      text(words, held);
    } else {
      text(step, left ? `Closing: ${left} of ${total} left` : "Closed. Proving that the venue is flat …");
      text(words, left ? closingWords() : `No late fill may be possible any more; this takes some seconds. ${duration((performance.now() - begun) / 1000)} so far.`);
    }
    fill(list, left ? standing.map((one) => h("li", {}, `${one.pair}: ${one.status}`)) : [], report.foreign.map(foreignLine));
  };
  const stopListening = on("health positions connections clock link", show);
  window.dialog.addEventListener("close", stopListening);
  show();
  lookAtHealth();
}

function closingWords() {
  const venue = (desk.connections || []).find((one) => one.name === "Venue");
  const down = venue && venue.status === "down";
  return down ? `The venue does not answer: ${venue.words}. Every close is tried again until it does.` : "Every position is being closed at market.";
}

// The desk's words when all is closed and the account holds something all the same; else null.
function stillHeld() {
  return (desk.health && desk.health.problems.find((one) => one.includes("the account holds"))) || null;
}
