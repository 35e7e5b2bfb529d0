// Closing a position, with what it will cost before it does.

import { ask, get } from "./api.js";
import { fill, h, openDialog, problemBox, showProblem, skeleton, toast, wide } from "./dom.js";
import { learn } from "./feed.js";
import { desk, now } from "./state.js";
import { bps, price, quantity, signedPercent, signedUsd, time, tone, usd } from "./format.js";

const ALSO = {
  opening: "The rest of its opening is cancelled, and both legs go together.",
  closing: "It is being closed already; what is left of that goes at once.",
};

// *left* is called when the window is gone, whatever came of it.
export function askClose(position, left) {
  const costs = h("div", { class: "costs" }, skeleton(4));
  const trouble = h("div", {});
  const go = h("button", { type: "button", class: "danger", onclick: () => close() }, `Close ${position.pair}`);
  const { close: shut } = openDialog(`Close ${position.pair}`, [costs, trouble, h("div", { class: "buttons" }, go)], { closed: left });
  const stands = () => desk.positions !== null && desk.positions.has(position.position_id);

  async function close() {
    go.disabled = true;
    go.textContent = "Closing …";
    const stood = stands();
    try {
      const { body } = await ask("POST", `/api/positions/${position.position_id}/close`, {});
      // The stream may have been faster than the answer, and has told of it then.
      const told = stood && !stands();
      learn(body);
      if (!told) toast(`${body.pair} is ${body.status}${body.status === "closed" ? `: ${signedUsd(body.pnl)} net` : ""}`, "good");
      shut();
    } catch (problem) {
      showProblem(trouble, problem);
      go.disabled = false;
      go.textContent = `Close ${position.pair}`;
    }
  }

  get(`/api/positions/${position.position_id}/close`).then(
    ({ body }) => fill(costs, costTable(body)),
    (problem) => fill(costs, problemBox(problem), h("p", { class: "quiet" }, "It can be closed all the same.")),
  );
}

function costTable(preview) {
  const leg = (one) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, `${one.side === "long" ? "Sell" : "Buy back"} ${one.coin}`),
      h("td", { class: "num" }, quantity(one.quantity)),
      h("td", { class: "num" }, price(one.expected_price)),
      h("td", { class: "num" }, bps(one.slippage_bps)),
      h("td", { class: "num" }, usd(one.fee)),
    );
  const head = ["Leg", "Coins", "Expected", "Slippage", "Fee"].map((one, place) => h("th", { scope: "col", class: place ? "num" : "" }, one));
  return [
    wide("Legs", h("table", { class: "plain-table" }, h("thead", {}, h("tr", {}, head)), h("tbody", {}, leg(preview.long), leg(preview.short)))),
    h(
      "dl",
      { class: "facts" },
      fact("Cost of leaving now", usd(preview.cost)),
      fact("Net result expected", signedUsd(preview.expected_pnl), tone(preview.expected_pnl)),
      fact("Net return expected", signedPercent(preview.exit_return), tone(preview.exit_return, 6)),
    ),
    h("p", { class: "small quiet" }, `${preview.cost === null ? "No price is known now; it can be closed all the same." : `By the depth of the book at ${time(new Date(now()).toISOString())}.`} ${ALSO[preview.status] || "Both legs go together."}`),
  ];
}

const fact = (name, value, kind = "") => h("div", {}, h("dt", {}, name), h("dd", { class: "num", "data-tone": kind || null }, value));
