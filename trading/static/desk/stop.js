// The emergency stop: typed, not clicked by mistake; then what happens until the desk is flat.

import { ask } from "./api.js";
import { $, fill, h, openDialog, problemBox, text, toast } from "./dom.js";
import { duration } from "./format.js";
import { desk, may, on, tell } from "./state.js";

const WORD = "STOP";

export function start() {
  $("stop").addEventListener("click", openStop);
  document.addEventListener("click", (event) => {
    if (event.target.id === "resume") resume(event.target);
  });
  on("session", () => {
    $("stop").disabled = !may("trade");
    $("stop").title = may("trade") ? "Close everything and open nothing more" : "Takes a token with the scope trade";
  });
}

function openStop() {
  const count = desk.positions ? desk.positions.size : null;
  const field = h("input", { id: "stop-word", type: "text", autocomplete: "off", autocapitalize: "characters", spellcheck: "false", "data-first": true, "aria-describedby": "stop-help" });
  const go = h("button", { type: "submit", class: "danger", id: "stop-go", disabled: true }, "Stop everything");
  const trouble = h("div", {});
  const form = h(
    "form",
    {},
    h("p", { id: "stop-help" }, count === null ? "Closes every position of the desk at market and opens nothing more." : `Closes ${count === 1 ? "the 1 open position" : `all ${count} open positions`} at market and opens nothing more, until somebody resumes.`),
    h("label", { for: "stop-word" }, `Type ${WORD} to confirm`),
    field,
    trouble,
    h("div", { class: "buttons" }, go),
  );
  const window = openDialog("Emergency stop", form, { kind: "alarm" });
  field.addEventListener("input", () => {
    go.disabled = field.value.trim().toUpperCase() !== WORD;
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (go.disabled) return;
    go.disabled = true;
    go.textContent = "Stopping …";
    try {
      const { body } = await ask("POST", "/api/emergency_stop", {});
      progress(window, body);
    } catch (problem) {
      fill(trouble, problemBox(problem), h("p", {}, "If the service does not answer: manage.py emergency_stop"));
      go.disabled = false;
      go.textContent = "Stop everything";
    }
  });
}

// What the stop has reached, followed until the desk is HALTED.
function progress(window, report) {
  // The state is known from the answer before health is looked at again.
  if (desk.health) desk.health.trading_state = report.trading_state;
  tell("health");
  const begun = Date.now();
  const total = report.closed.length + report.remaining.length;
  const step = h("p", { class: "big" });
  const words = h("p", { id: "stop-words", role: "status" });
  const meter = h("progress", { max: String(Math.max(total, 1)), "aria-label": "Positions closed" });
  const list = h("ul", {});
  fill(window.body, step, meter, words, list);
  const show = () => {
    const state = desk.health ? desk.health.trading_state : report.trading_state;
    const standing = [...(desk.positions || new Map()).values()];
    const left = state === "HALTED" ? 0 : standing.length;
    meter.value = Math.max(total - left, 0);
    if (state === "HALTED") {
      text(step, "Flat. The desk is halted.");
      text(words, `${total} ${total === 1 ? "position" : "positions"} closed. Nothing opens until somebody resumes.`);
      stopListening();
    } else {
      text(step, left ? `Closing: ${left} of ${total} left` : "Closed. Proving that the venue is flat …");
      text(words, left ? "Every position is being closed at market." : `No late fill may be possible any more; this takes some seconds. ${duration((Date.now() - begun) / 1000)} so far.`);
    }
    fill(list, left ? standing.map((one) => h("li", {}, `${one.pair}: ${one.status}`)) : [], report.foreign.map((one) => h("li", {}, `${one.quantity} ${one.coin} are not the desk's and stay`)));
  };
  const stopListening = on("health positions clock", show);
  window.dialog.addEventListener("close", stopListening);
  show();
}

async function resume(button) {
  button.disabled = true;
  try {
    const { body } = await ask("POST", "/api/resume", {});
    if (desk.health) desk.health.trading_state = body.trading_state;
    tell("health");
    toast(`The desk is ${body.trading_state}.`, "good");
  } catch (problem) {
    openDialog("The desk does not resume", problemBox(problem));
  }
  button.disabled = false;
}
