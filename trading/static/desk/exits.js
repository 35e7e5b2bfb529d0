// The barriers of a position: how far each is away, and the fields they are typed into.

import { h } from "./dom.js";
import { duration, limitPercent, number, percent, spread, usd } from "./format.js";
import { secondsSince } from "./state.js";

const PERCENT = 100;
const DIGITS = 12;

// Name, title, unit, and what a typed number is divided by.
const MAIN = [
  ["take_profit", "Take profit", "%", PERCENT],
  ["stop_loss", "Stop loss", "%", PERCENT],
  ["arm", "Trailing from", "%", PERCENT],
  ["gap", "Trailing gap", "%", PERCENT],
  ["max_holding_seconds", "Leave after", "s", 1],
];
const MORE = [
  ["take_profit_usd", "Profit", "$", 1],
  ["stop_loss_usd", "Loss", "$", 1],
  ["take_profit_spread", "Target spread", "", 1],
  ["stop_loss_spread", "Stop spread", "", 1],
  ["take_profit_z", "Target z", "σ", 1],
  ["stop_loss_z", "Stop z", "σ", 1],
];
const NEVER_OFF = ["take_profit", "stop_loss"];

// The nearer of the fixed stops, and of the targets, as net returns: USD barriers are returns on what was entered.
export function barriers(one) {
  const asReturn = (amount) => (amount === null || amount === undefined || !one.size ? Infinity : amount / one.size);
  return { stop: Math.min(one.stop_loss, asReturn(one.stop_loss_usd)), target: Math.min(one.take_profit, asReturn(one.take_profit_usd)) };
}

// The net return at which an armed trailing stop leaves; null while it is not armed. What has armed it may be gone again.
export function trail(one) {
  const trailing = one.trailing_stop;
  const armed = trailing && one.high_water !== null && one.high_water >= trailing.arm;
  return armed ? one.high_water - trailing.gap : null;
}

// The ratios price(A) / price(B) at which a barrier of *kind* in spread or z-score lies: {kind, "stop_loss" say}.
function ratiosOf(one, kind) {
  const [level, away, z] = [one[`${kind}_spread`] ?? null, one[`${kind}_z`] ?? null, one.zscore];
  return [level === null ? null : 1 + level, away === null || !z ? null : Math.exp(z.mean + sideOf(z) * away * z.deviation)].filter((ratio) => ratio > 0);
}

// The spread of a pair whose first coin is long gains as it rises.
const gainsUp = (one) => one.pair.startsWith(`${one.long.coin}/`);

// About what would be returned at *ratio*: each leg is half of the gross, so half of what the ratio moves.
function returnAt(one, ratio) {
  const gained = Math.log(ratio / (1 + one.current_spread)) / 2;
  return one.exit_return + (gainsUp(one) ? gained : -gained);
}

// The nearest of all stops and of all targets; `stop` is below zero where it keeps a profit. Those in spread and z-score
// are measured from the present prices, and only about.
export function reach(one) {
  const { stop, target } = barriers(one);
  const priced = one.exit_return !== null && one.current_spread !== null;
  const levels = (kind) => (priced ? ratiosOf(one, kind).map((ratio) => returnAt(one, ratio)) : []);
  const stops = [trail(one), ...levels("stop_loss")].filter((level) => level !== null);
  return { stop: Math.min(stop, ...stops.map((level) => -level)), target: Math.min(target, ...levels("take_profit")) };
}

const share = (part, whole) => (whole > 0 ? Math.min(1, Math.max(0, part / whole)) : 1);

// 0 at the stop, 1 at the target; null without a price.
export function progress(one) {
  if (one.exit_return === null) return null;
  const { stop, target } = reach(one);
  return share(one.exit_return + stop, stop + target);
}

// Where nothing is won or lost between the two.
export function even(one) {
  const { stop, target } = reach(one);
  return share(stop, stop + target);
}

// The side of the mean that a position was entered on: barriers in z count from there.
export const sideOf = (zscore) => (zscore.entry < 0 ? -1 : 1);

// The z-score of a spread, as the desk has it: of the log of price(A) / price(B), against what was frozen at entry.
export const zscoreAt = (zscore, spread) => (spread === null ? null : (Math.log(1 + spread) - zscore.mean) / zscore.deviation);

// Every exit that is on: its name, how much of the way to it is used up, and what is left, told.
export function distances(one) {
  const rows = [];
  const { stop, target } = barriers(one);
  const present = one.exit_return;
  const way = (used, whole) => (whole === 0 ? 1 : Math.min(1, Math.max(0, used / whole)));
  // A barrier may be behind: of a position that is closing already, or between two readings.
  const toGo = (left) => (left > 0 ? `${percent(left)} away` : "reached");
  if (present !== null) {
    rows.push([`Stop loss ${percent(-stop)}`, way(-present, stop), toGo(present + stop)]);
    rows.push([`Take profit ${percent(target)}`, way(present, target), toGo(target - present)]);
    if (one.trailing_stop) {
      const { arm, gap } = one.trailing_stop;
      const level = trail(one);
      if (level === null) rows.push([`Trailing ${percent(gap)} from ${percent(arm)}`, way(present, arm), present >= arm ? "arms now" : `arms in ${percent(arm - present)}`]);
      else rows.push([`Stop, trailing ${percent(level)}`, way(one.high_water - present, gap), toGo(present - level)]);
    }
  }
  if (one.window_expires_at) {
    const left = -secondsSince(one.window_expires_at);
    rows.push(["Time limit", way(one.max_holding_seconds - left, one.max_holding_seconds), left > 0 ? `${duration(left)} left` : "due now"]);
  }
  // *up*: it is met from below. There is no way to a stop on the other side of the entry, which keeps a profit.
  const level = (name, title, at, from, up, told) => {
    if (one[name] === null || one[name] === undefined || at === null || at === undefined) return;
    const [left, whole] = up ? [one[name] - at, one[name] - from] : [at - one[name], from - one[name]];
    rows.push([`${title} ${told(one[name])}`, left <= 0 ? 1 : whole <= 0 ? 0 : way(whole - left, whole), left > 0 ? `${told(left)} away` : "reached"]);
  };
  const rising = gainsUp(one);
  level("take_profit_spread", "Target spread", one.current_spread, one.entry_spread, rising, spread);
  level("stop_loss_spread", "Stop spread", one.current_spread, one.entry_spread, !rising, spread);
  const z = one.zscore;
  const away = z && z.current !== null ? z.current * sideOf(z) : null;
  level("take_profit_z", "Target z", away, z && Math.abs(z.entry), false, number);
  level("stop_loss_z", "Stop z", away, z && Math.abs(z.entry), true, number);
  if (one.liquidation_distance !== null) {
    rows.push(["Liquidation", way(1 - one.liquidation_distance, 1), one.liquidation_distance > 5 ? "more than 500 % away" : `${percent(one.liquidation_distance, 0)} away`]);
  }
  return rows;
}

// The fields; *values* are those of a position or a request, *hints* what holds where a field is left empty.
export function fields(prefix, values, hints, disabled) {
  const one = ([name, title, unit, by]) => {
    const id = `${prefix}-${name}`;
    const input = h("input", {
      id,
      name,
      type: "number",
      step: "any",
      inputmode: "decimal",
      value: written(values[name], by),
      placeholder: hints[name] || "off",
      disabled,
    });
    return h("div", { class: "field" }, h("label", { for: id }, title), h("span", { class: "unit" }, input, h("span", { "aria-hidden": "true" }, unit)));
  };
  const some = MORE.some(([name]) => values[name] !== null && values[name] !== undefined);
  return [MAIN.map(one), h("details", { open: some, class: "more" }, h("summary", {}, "USD, spread, z-score"), h("div", { class: "more-fields" }, MORE.map(one)))];
}

// What a field says of a value: all of its digits, for what is read back must be what was there.
const written = (value, by) => (value === null || value === undefined ? "" : by === 1 ? String(value) : String(Number((value * by).toPrecision(DIGITS))));

export const valuesOf = (one) => ({ ...one, arm: one.trailing_stop && one.trailing_stop.arm, gap: one.trailing_stop && one.trailing_stop.gap });

export const sameExits = (one, other) => {
  const [mine, theirs] = [valuesOf(one), valuesOf(other)];
  return [...MAIN, ...MORE].every(([name]) => (mine[name] ?? null) === (theirs[name] ?? null));
};

// What the fields say, by name; null where one is empty, and what *values* has where nobody has changed it.
function typed(form, values = {}) {
  const said = {};
  for (const [name, , , by] of [...MAIN, ...MORE]) {
    const text = form.elements[name].value.trim();
    if (text === written(values[name], by)) said[name] = values[name] ?? null;
    else said[name] = text === "" ? null : by === 1 ? Number(text) : Number((Number(text) / by).toPrecision(DIGITS));
  }
  return said;
}

// Fields of *form* in which something is written that is no number. A browser gives such a one as empty, and empty is
// an order of its own: off.
export function unreadable(form) {
  const wrong = [...form.elements].filter((one) => one.validity && one.validity.badInput);
  return wrong.length ? { code: "INVALID_REQUEST", detail: "nothing was sent", fields: Object.fromEntries(wrong.map((one) => [form.querySelector(`[for="${one.id}"]`)?.textContent || one.name, "holds something that is no number"])) } : null;
}

const trailingOf = ({ arm, gap }) => ({ ...(arm === null ? {} : { arm }), ...(gap === null ? {} : { gap }) });

// As execute takes it: what is empty is left out.
export function exitsOf(form) {
  const said = typed(form);
  const { arm, gap, ...rest } = said;
  const given = Object.entries(rest).filter(([, value]) => value !== null);
  return { ...Object.fromEntries(given), ...(arm === null && gap === null ? {} : { trailing_stop: trailingOf(said) }) };
}

// As a change takes it: what differs from *one*; null takes a barrier away.
export function changeOf(form, one) {
  const said = typed(form, valuesOf(one));
  const { arm, gap, ...rest } = said;
  const change = {};
  for (const [name, value] of Object.entries(rest)) {
    const was = one[name] === undefined ? null : one[name];
    if (value !== was && !(value === null && NEVER_OFF.includes(name))) change[name] = value;
  }
  const was = one.trailing_stop;
  if (arm === null && gap === null) {
    if (was) change.trailing_stop = null;
  } else if (!was || was.arm !== arm || was.gap !== gap) {
    change.trailing_stop = trailingOf(said);
  }
  return change;
}

// What the desk goes by where a field is empty.
export const hintsOf = (terms) => ({
  take_profit: written(terms.take_profit, PERCENT),
  stop_loss: written(terms.stop_loss, PERCENT),
  arm: terms.trailing_stop && written(terms.trailing_stop.arm, PERCENT),
  gap: terms.trailing_stop && written(terms.trailing_stop.gap, PERCENT),
  max_holding_seconds: terms.max_holding_seconds ? String(terms.max_holding_seconds) : "off",
});

// Every exit of a preview, in one line.
export function exitsTold(seen) {
  const trailing = seen.trailing_stop && `trailing ${limitPercent(seen.trailing_stop.gap)} from ${limitPercent(seen.trailing_stop.arm)}`;
  const limit = seen.max_holding_seconds && `after ${duration(seen.max_holding_seconds)}`;
  const write = (name) => (name.endsWith("_usd") ? usd : name.endsWith("_spread") ? spread : number);
  const more = MORE.filter(([name]) => name in seen.exits).map(([name, title]) => `${title.toLowerCase()} ${write(name)(seen.exits[name])}`);
  return [`stop ${limitPercent(seen.stop_loss)}`, `target ${limitPercent(seen.take_profit)}`, trailing, limit, ...more].filter(Boolean).join(", ");
}

// In one line: for a toast.
export const told = (one) => `stop ${percent(one.stop_loss)}${one.stop_loss_usd ? ` or ${usd(one.stop_loss_usd)}` : ""}, target ${percent(one.take_profit)}`;
