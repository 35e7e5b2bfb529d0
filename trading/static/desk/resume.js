// The way back to trading: why the desk opens nothing, what the venue holds beside the book, and whose that is.
// The law: a holding is accepted as somebody else's only when it was ticked and the word was typed.

import { ask } from "./api.js";
import { fill, h, openDialog, showProblem, text, toast } from "./dom.js";
import { portfolio } from "./feed.js";
import { quantity, words } from "./format.js";
import { desk, may, tell } from "./state.js";

const WORD = "ACCEPT";

export function start() {
  document.addEventListener("click", (event) => {
    if (event.target.id === "resume") openResume();
  });
}

// What the venue holds and the book cannot explain: [coin, words].
export function differences() {
  const account = desk.portfolio;
  if (!account) return [];
  const beside = (one) => (one.accepted ? `, and ${quantity(one.accepted)} are accepted as others'` : "");
  const drifted = account.drifts.map((one) => [
    one.coin,
    `the venue holds ${quantity(one.venue)}, the book ${quantity(one.book)}${beside(one)}`,
  ]);
  const accepted = (coin, amount) => account.accepted_drift[coin] === amount;
  const foreign = Object.entries(account.foreign_holdings).filter(([coin, amount]) => !accepted(coin, amount));
  return [...drifted, ...foreign.map(([coin, amount]) => [coin, `${quantity(amount)} held, no position of the desk`])];
}

// What the button in the tile says; null while there is nothing to resume, or nobody who may.
export function resumeWords(state) {
  if (!may("admin")) return null;
  if (state === "HALTED" || state === "REDUCING") return "Resume trading";
  const closed = desk.positions !== null && desk.positions.size === 0;
  return state === "LIQUIDATING" && closed && differences().length ? "Accept holdings" : null;
}

export function openResume() {
  const why = h("p", { id: "resume-why" });
  const found = h("div", {});
  const field = h("input", { id: "resume-word", type: "text", autocomplete: "off", autocapitalize: "characters", spellcheck: "false" });
  const confirmation = h("div", { class: "field", hidden: true }, h("label", { for: "resume-word" }, `Type ${WORD} to confirm`), field);
  const trouble = h("div", {});
  const go = h("button", { type: "submit", class: "primary", id: "resume-go" });
  const form = h("form", {}, why, found, confirmation, trouble, h("div", { class: "buttons" }, go));
  const ticked = () => [...found.querySelectorAll("input:checked")].map((one) => one.value);
  const idle = () => {
    const count = ticked().length;
    confirmation.hidden = count === 0;
    text(go, count ? `Accept ${count === 1 ? "1 holding" : `${count} holdings`} and resume` : "Resume trading");
    go.disabled = count > 0 && field.value.trim().toUpperCase() !== WORD;
  };
  let told = new Map();
  const look = () => {
    text(why, whyStopped());
    const rows = differences();
    // What was ticked while the desk was asked stays ticked, if it is the same still.
    const kept = new Set(ticked().filter((coin) => rows.some(([one, held]) => one === coin && held === told.get(coin))));
    told = new Map(rows);
    fill(found, holdings(rows, kept));
    idle();
  };
  look();
  const { close } = openDialog("Resume trading", form);
  form.addEventListener("input", idle);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (go.disabled) return;
    go.disabled = true;
    text(go, "Asking the desk …");
    const coins = ticked();
    try {
      const { body } = await ask("POST", "/api/resume", coins.length ? { accept_drift: coins } : {});
      if (desk.health) desk.health.trading_state = body.trading_state;
      tell("health");
      toast(`The desk is ${words(body.trading_state)}.`, "good");
      portfolio();
      close();
    } catch (problem) {
      showProblem(trouble, problem);
      await portfolio();
      look();
    }
  });
}

function whyStopped() {
  const said = desk.health && desk.health.problems.find((one) => one.startsWith("the desk is "));
  return `${said ? `${said[0].toUpperCase()}${said.slice(1)}. ` : ""}After this it opens trades again.`;
}

function holdings(rows, kept) {
  if (!rows.length) return null;
  const row = ([coin, held]) => h("label", { class: "check" }, h("input", { type: "checkbox", name: "coin", value: coin, checked: kept.has(coin) }), h("span", {}, h("strong", {}, coin), `: ${held}`));
  return h(
    "fieldset",
    { class: "option", id: "resume-holdings" },
    h("legend", {}, "Held at the venue, unknown to the book"),
    rows.map(row),
    h("p", { class: "small quiet" }, "What is ticked is somebody else's from now on: the desk allows for it and never sells it. What is not ticked may keep the desk from trading."),
  );
}
