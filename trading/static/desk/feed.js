// Keeping up with the desk: the event stream, polling while there is none, and slow looks at what no event tells.

import { get } from "./api.js";
import { desk, tell } from "./state.js";

const HEALTH_MS = 2000;
const PORTFOLIO_MS = 4000;
const SIGNALS_MS = 10000;
const CONNECTIONS_MS = 5000;
const POLL_MS = 2000;
const STREAM_RETRY_MS = 8000;
// Of a stream that says nothing, not even its beat every ten seconds: it hangs somewhere on the way.
const SILENCE_MAX_MS = 22000;
const LOG_LINES_MAX = 500;
const EQUITIES_MAX = 2000;
const MARKED = ["current_spread", "pnl", "pnl_percent", "unrealized_pnl", "exit_return", "liquidation_distance", "marked_at"];
const STANDING = ["opening", "open", "closing"];

let source = null;
let openedAt = 0;
let streamHeardAt = 0;
let whole = true;
let misses = 0;

export function start() {
  openStream();
  repeat(HEALTH_MS, health);
  repeat(PORTFOLIO_MS, portfolio);
  repeat(SIGNALS_MS, signals);
  repeat(CONNECTIONS_MS, connections);
  repeat(POLL_MS, () => (desk.link === "live" ? null : poll()));
  setInterval(reopen, STREAM_RETRY_MS);
  setInterval(() => tell("clock"), 1000);
}

// Again *every* so long after the last one has ended, so that a slow service is not asked in parallel.
function repeat(every, job) {
  const round = async () => {
    // Nobody looks at a hidden page: it only keeps its link.
    if (!document.hidden || job === health) await job();
    setTimeout(round, every);
  };
  round();
}

function openStream() {
  source = new EventSource("/api/events");
  openedAt = Date.now();
  whole = true;
  // Live is what has told what stands: an open connection may still be held back on the way.
  source.onopen = () => {
    whole = true;
    desk.problems.desk = null;
    tell("problems");
  };
  source.onerror = () => {
    if (desk.link !== "live") return;
    linked("polling");
    // Whether it is the stream or everything is known at once, and not at the next look.
    health();
  };
  hear("positions", (items) => {
    const before = desk.positions ? desk.positions.size : null;
    if (whole) {
      standing(items);
      desk.problems.positions = null;
      linked("live");
      log();
    } else items.forEach(moved);
    whole = false;
    tell("positions");
    // What is open decides about what would be taken.
    if (before !== null && before !== desk.positions.size) signals();
  });
  hear("marks", (items) => {
    for (const item of items) marked(item);
    tell("marks");
  });
  hear("trades", () => {
    tell("trades");
    portfolio();
  });
  hear("logs", (items) => {
    const known = new Set(desk.log.map((one) => one.id));
    desk.log = [...items.filter((one) => !known.has(one.id)), ...desk.log].slice(0, LOG_LINES_MAX);
    tell("log");
  });
  hear("problems", (items) => {
    desk.problems.desk = items[items.length - 1] || null;
    tell("problems");
  });
  hear("beat", () => null);
}

// A stream that was refused, that the browser has not got back by itself, or that has fallen silent.
function reopen() {
  const heard = source.readyState === EventSource.OPEN && !whole && Date.now() - streamHeardAt < SILENCE_MAX_MS;
  if (heard || Date.now() - openedAt < STREAM_RETRY_MS) return;
  source.close();
  if (desk.link === "live") linked("polling");
  openStream();
}

function hear(name, listener) {
  source.addEventListener(name, (event) => {
    desk.heardAt = streamHeardAt = Date.now();
    listener(JSON.parse(event.data));
  });
}

function linked(link) {
  if (desk.link !== link) {
    desk.link = link;
    tell("link");
  }
}

function standing(items) {
  const kept = items.filter((one) => one.status !== "closed").map((one) => [one.position_id, withLastMark(one)]);
  desk.positions = new Map(kept);
}

// A position without a price now keeps the last one that was known, which its age tells to be old. Its risk is judged
// without one: nobody knows, and that is never low.
function withLastMark(position) {
  const before = desk.positions && desk.positions.get(position.position_id);
  if (position.marked_at !== null || !before || before.marked_at === null) return position;
  for (const name of MARKED) position[name] = before[name];
  for (const leg of ["long", "short"]) {
    position[leg].mark_price = before[leg].mark_price;
    position[leg].unrealized_pnl = before[leg].unrealized_pnl;
  }
  if (position.zscore && before.zscore) position.zscore.current = before.zscore.current;
  return position;
}

function moved(position) {
  if (desk.positions === null) desk.positions = new Map();
  if (position.status === "closed") {
    if (desk.positions.delete(position.position_id)) desk.left.push(position);
    tell("closed");
  } else {
    desk.positions.set(position.position_id, withLastMark(position));
  }
}

// What an answer to a write says of a position is known before the stream tells it.
export function learn(position) {
  moved(position);
  // Whoever asked for it tells of it.
  desk.left = desk.left.filter((one) => one !== position);
  tell("positions");
}

function marked(mark) {
  const position = desk.positions && desk.positions.get(mark.position_id);
  if (!position) return;
  if (mark.marked_at === null) {
    position.risk_level = mark.risk_level;
    return;
  }
  // What was on its way for longer tells nothing new.
  if (position.marked_at !== null && Date.parse(mark.marked_at) < Date.parse(position.marked_at)) return;
  for (const name of [...MARKED, "risk_level"]) position[name] = mark[name];
  position.long.mark_price = mark.long_price;
  position.short.mark_price = mark.short_price;
  position.long.unrealized_pnl = mark.long_unrealized_pnl;
  position.short.unrealized_pnl = mark.short_unrealized_pnl;
  if (position.zscore) position.zscore.current = mark.zscore;
}

export async function health() {
  try {
    const before = desk.health && desk.health.trading_state;
    const asked = performance.now();
    desk.health = (await get("/api/health")).body;
    desk.healthAskedAt = asked;
    // What would be taken is another matter in another state.
    if (before && before !== desk.health.trading_state) signals();
    misses = 0;
    desk.heardAt = Date.now();
    if (desk.link === "lost" || desk.link === "connecting") linked(source.readyState === EventSource.OPEN && !whole ? "live" : "polling");
    tell("health");
  } catch (problem) {
    misses += 1;
    // One lost answer is no lost service.
    if (misses > 1 || problem.code === "NO_ANSWER") linked("lost");
  }
}

async function look(name, path, keep) {
  try {
    const answer = await get(path);
    desk.problems[name] = null;
    keep(answer.body, answer);
  } catch (problem) {
    if (problem.code !== "NO_ANSWER" || desk[name] === null) desk.problems[name] = problem;
  }
  tell(name);
}

export const portfolio = () => {
  const begun = Date.now();
  return look("portfolio", "/api/portfolio?days=1", (body) => {
    desk.portfolio = body;
    // It was taken between the question and the answer: an answer that was slow says little about the clocks.
    const taken = Date.parse(body.taken_at);
    desk.ahead = Math.min(Math.max(desk.ahead, taken - Date.now()), taken - begun);
    if (body.equity !== null) desk.equities.push([Date.parse(body.taken_at) / 1000, body.equity]);
    if (desk.equities.length > EQUITIES_MAX) desk.equities = desk.equities.filter((_, place) => place % 2);
  });
};

export const signals = () =>
  look("signals", "/api/signals", (body) => {
    desk.signals = body;
  });

const connections = () => look("connections", "/api/connections", (body) => (desk.connections = body));

async function poll() {
  try {
    // One after the other, in the order in which a position goes through them: none is missed on its way.
    const pages = [];
    for (const status of STANDING) pages.push(await get(`/api/positions?status=${status}&limit=1000`));
    if (desk.link === "live") return;
    const gone = [...(desk.positions || new Map()).keys()];
    standing(pages.flatMap((page) => page.body).sort((a, b) => (a.entry_time < b.entry_time ? 1 : -1)));
    if (gone.some((id) => !desk.positions.has(id))) tell("closed");
    desk.problems.positions = null;
    tell("positions");
  } catch (problem) {
    desk.problems.positions = problem;
    tell("positions");
  }
  // A stream that is live has had it read.
  log();
}

async function log() {
  await look("log", "/api/agent/logs?limit=200", (body) => (desk.log = body));
}
