// The strip at the top: what matters at one look, and how sure it is.

import { $, h, mark, style, text } from "./dom.js";
import { NONE, age, duration, limitPercent, number, percent, signedPercent, signedUsd, tone, usd, wholeUsd, words } from "./format.js";
import { resumeWords } from "./resume.js";
import { desk, ledgerLost, now, on, secondsSince } from "./state.js";

const MODES = {
  demo: ["DEMO", "Paper venue. No real order is possible."],
  testnet: ["TESTNET", "Real exchange, play money."],
  local: ["SIMULATOR", "An exchange simulator on this machine."],
  mainnet: ["MAINNET", "Real money."],
  unknown: ["UNKNOWN", "The desk cannot be read; take it for real money."],
};
const STATES = {
  ACTIVE: ["Active", "ok", "opens and closes"],
  REDUCING: ["Reducing", "warn", "closes only"],
  LIQUIDATING: ["Liquidating", "bad", "closing everything"],
  HALTED: ["Halted", "bad", "opens nothing"],
};
const NAKED_NOTICE_USD = 1;
// An account read longer ago than this is shown as old.
const ACCOUNT_AGE_MAX = 15;

const tile = (name) => document.querySelector(`[data-of="${name}"]`);

export function showMode() {
  const [word, wordsOfIt] = MODES[document.documentElement.dataset.mode] || MODES.unknown;
  text($("mode-word"), word);
  text($("mode-words"), wordsOfIt);
}

// The page came from a desk of this mode.
const SERVED = document.documentElement.dataset.mode;

let version = null;

// Behind an open page the service may be started anew as another desk, what was paper is real money then, or as another
// version, which may say things that this page has no words for.
function followMode() {
  const health = desk.health;
  if (!health) return;
  const mode = health.demo_mode ? "demo" : health.network;
  version ??= health.version;
  if ((mode && mode !== SERVED) || health.version !== version) location.reload();
}

export function start() {
  showMode();
  on("health", followMode);
  on("health portfolio positions session link problems", showState);
  on("portfolio marks positions clock health", showMoney);
  on("portfolio positions", showLimits);
  on("health connections clock link", showParts);
  on("link clock portfolio problems health", showBanner);
  showState();
  showLimits();
  showParts();
}

function showState() {
  const state = (desk.health && desk.health.trading_state) || (desk.portfolio && desk.portfolio.trading_state);
  const [word, level, means] = STATES[state] || ["…", "none", "asking the desk"];
  const node = tile("state");
  text(node, word);
  mark($("tile-state"), "data-level", level);
  const causes = (desk.portfolio && desk.portfolio.causes) || [];
  text(tile("why"), causes.length && state !== "ACTIVE" ? `${means}: ${causes.map(words).join(", ")}` : means);
  const old = $("resume");
  const wanted = resumeWords(state);
  if (wanted && old) text(old, wanted);
  else if (wanted) $("tile-state").append(h("button", { type: "button", id: "resume", class: "primary small-button" }, wanted));
  else if (old) old.remove();
}

function showMoney() {
  const account = desk.portfolio;
  if (!account) return;
  text(tile("equity"), usd(account.equity));
  const seconds = secondsSince(account.taken_at);
  const old = seconds > ACCOUNT_AGE_MAX;
  mark($("glance"), "data-old", old);
  text(tile("free"), old ? `the account of ${duration(seconds)} ago` : account.margin_available === null ? "the venue cannot be read" : `${usd(account.margin_available, 0)} free margin`);
  text(tile("today"), signedUsd(account.today_pnl));
  mark(tile("today"), "data-tone", tone(account.today_pnl));
  const base = account.today_pnl === null || account.equity === null ? null : account.equity - account.today_pnl;
  const since = sinceWhen(account.today_since);
  text(tile("today-share"), base ? `${signedPercent(account.today_pnl / base, 3)} ${since}` : since);
  const lost = ledgerLost();
  text(tile("naked"), lost ? NONE : usd(account.naked_exposure));
  const open = lost || account.naked_exposure >= NAKED_NOTICE_USD;
  mark($("tile-naked"), "data-level", open ? "warn" : "ok");
  text(tile("naked-words"), lost ? "not known without the ledger" : open ? nakedWords() : "every leg has its match");
  const { max_usd: most, usd_seconds: integral } = account.naked_today;
  const worst = most >= NAKED_NOTICE_USD;
  text(tile("naked-worst"), worst ? `worst today ${wholeUsd(most)}` : "nothing else today");
  mark(tile("naked-worst"), "title", worst ? `${number(integral, 0)} USD·s today` : null);
}

// The monitor begins the day anew; without one it is still that of before.
function sinceWhen(iso) {
  const day = iso && iso.slice(0, 10);
  return !day || day === new Date(now()).toISOString().slice(0, 10) ? "since 00:00 UTC" : `since ${day} 00:00 UTC`;
}

// Legs are levelled by a trade that closes or repairs, as long as somebody works it; a small rest may stay for good.
function nakedWords() {
  const working = [...(desk.positions || new Map()).values()].map((one) => (one.status === "closing" ? "CLOSING" : one.execution.status));
  if (working.includes("SUSPENDED")) return "a trade is suspended";
  const worked = desk.health && desk.health.monitor.alive && desk.link !== "lost";
  return worked && working.some((one) => one === "CLOSING" || one === "REPAIRING") ? "legs are being levelled" : "legs do not match";
}

function limitsInUse() {
  const account = desk.portfolio;
  if (!account || account.equity === null || !account.terms) return null;
  const of = (name) => account.limits.find((one) => one.name === name);
  const rows = [];
  const count = of("max_positions");
  if (count && !ledgerLost()) rows.push(["Positions", count.actual, count.limit, `${count.actual} of ${count.limit}`]);
  const gross = of("max_gross");
  if (gross) rows.push(["Allocation", gross.actual, gross.limit, `${percent(gross.actual, 1)} of ${limitPercent(gross.limit)}`]);
  const highest = desk.positions && Math.max(0, ...[...desk.positions.values()].map((one) => one.leverage));
  if (desk.positions) rows.push(["Leverage", highest, account.terms.max_leverage, `${highest}× of ${account.terms.max_leverage}×`]);
  if (account.daily_loss !== null) {
    const lost = account.daily_loss;
    rows.push(["Daily loss", lost, account.terms.max_daily_loss, `${percent(lost, 2)} of ${limitPercent(account.terms.max_daily_loss)}`]);
  }
  return rows;
}

function showLimits() {
  const rows = limitsInUse();
  for (const node of $("limits").children) {
    const row = rows && rows.find(([name]) => name === node.dataset.limit);
    const [, used, limit, told] = row || [null, null, null, desk.portfolio ? "unknown" : "…"];
    const meter = node.lastElementChild;
    const share = limit ? used / limit : 0;
    style(meter.querySelector(".meter > span"), "width", `${Math.min(100, share * 100).toFixed(1)}%`);
    mark(meter, "data-level", limit === null ? "none" : share > 1 ? "bad" : share >= 0.75 ? "warn" : "ok");
    text(meter.lastElementChild, told);
  }
}

function partsNow() {
  const health = desk.health;
  const lost = desk.link === "lost";
  const links = { live: ["ok", "live"], polling: ["warn", "polling"], connecting: ["none", "connecting"], lost: ["bad", "no answer"] };
  const rows = [["Page", ...links[desk.link]]];
  if (!health) return rows;
  rows.push(["Redis", health.redis === "connected" ? "ok" : "warn", health.redis === "connected" ? "up" : "away"]);
  const beat = health.monitor.last_beat_seconds;
  rows.push(["Monitor", health.monitor.alive ? "ok" : "bad", health.monitor.alive ? age(beat) : beat === null ? "none" : `silent ${age(beat)}`]);
  for (const one of desk.connections || []) {
    const level = { up: "ok", late: "warn", down: "bad", unknown: "none" }[one.status];
    const since = one.heard_at === null ? "not heard yet" : age((now() - Date.parse(one.heard_at)) / 1000);
    // Of one that fails there may be no telling when it was heard last, and that is not never.
    rows.push([one.name, level, one.status !== "down" ? since : one.heard_at === null ? "down" : `down, ${since}`, one.words]);
  }
  return lost ? rows.map(([name, level, told, why], place) => (place ? [name, "none", told, why] : [name, level, told, why])) : rows;
}

function showParts() {
  for (const [name, level, told, why] of partsNow()) {
    const chip = $("parts").querySelector(`[data-part="${name}"]`);
    mark(chip, "data-level", level);
    mark(chip, "title", why || null);
    text(chip.lastElementChild, told);
  }
}

function showBanner() {
  const banner = $("banner");
  const lost = desk.link === "lost";
  document.body.classList.toggle("lost", lost);
  const told = bannerWords(lost);
  banner.hidden = told === null;
  if (told !== null) text(banner, told);
  mark(banner, "data-level", lost || (desk.health && desk.health.status === "unhealthy") ? "bad" : "warn");
}

function bannerWords(lost) {
  if (lost) {
    const seconds = desk.heardAt === null ? null : (Date.now() - desk.heardAt) / 1000;
    const old = seconds === null ? "" : ` What you see is ${duration(seconds)} old.`;
    return `The service does not answer; trying again.${old}`;
  }
  const ill = desk.health && desk.health.status !== "healthy" ? desk.health.problems : [];
  const told = [desk.problems.portfolio, desk.problems.desk].filter(Boolean).map((one) => one.detail);
  return [...new Set([...told, ...ill])].join(" · ") || null;
}

