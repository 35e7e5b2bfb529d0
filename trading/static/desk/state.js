// What the page knows, and who wants to hear of it.
// The law: everything here came from the API; what has not come is null. Listeners run once a frame, however much came.

export const desk = {
  session: null,
  health: null,
  // By performance.now(): an answer says nothing of what was done after its question.
  healthAskedAt: null,
  connections: null,
  portfolio: null,
  // Standing positions by id; null until the first answer.
  positions: null,
  // Closed before the page's eyes, and not told of yet.
  left: [],
  signals: null,
  log: [],
  // [seconds, USD] as each look at the account found it, since the page was opened.
  equities: [],
  // connecting, live (the stream), polling, or lost (nobody answers).
  link: "connecting",
  heardAt: null,
  problems: {},
  // How far the service's clock is ahead of this one, in milliseconds.
  ahead: 0,
};

const listeners = new Map();
let due = new Set();
let asked = false;

export function on(topics, listener) {
  for (const topic of topics.split(" ")) {
    if (!listeners.has(topic)) listeners.set(topic, new Set());
    listeners.get(topic).add(listener);
  }
  return () => {
    for (const topic of topics.split(" ")) listeners.get(topic).delete(listener);
  };
}

export function tell(topic) {
  due.add(topic);
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => {
    const topics = due;
    asked = false;
    due = new Set();
    const begun = performance.now();
    const called = new Set([...topics].flatMap((one) => [...(listeners.get(one) || [])]));
    for (const listener of called) listener(topics);
    desk.frameMs = performance.now() - begun;
  });
}

export const now = () => Date.now() + desk.ahead;
export const secondsSince = (iso) => (iso ? (now() - Date.parse(iso)) / 1000 : null);

const RANKS = ["read", "trade", "admin"];
export const may = (scope) => desk.session !== null && RANKS.indexOf(desk.session.scope) >= RANKS.indexOf(scope);

// Of a ledger that cannot be used no number of positions says anything: none in the book is not none at the venue.
export const ledgerLost = () => desk.health !== null && desk.health.status === "unhealthy";

// A mark older than this is shown as old.
export const MARK_AGE_MAX = 6;
export const isOld = (position) => {
  const seconds = secondsSince(position.marked_at);
  return seconds === null || seconds > MARK_AGE_MAX;
};
