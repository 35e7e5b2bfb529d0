// Asking the API. Whatever goes wrong is a Problem with the API's own words, or says that nobody answered.

const TIMEOUT_MS = 12000;

let writeKey = null;

export class Problem extends Error {
  constructor(status, body) {
    super(body.detail || "no answer");
    Object.assign(this, body);
    this.status = status;
    this.code = body.code || "NO_ANSWER";
    this.detail = body.detail || "the service gave no answer";
  }
}

export const rememberKey = (key) => {
  writeKey = key;
};

export async function ask(method, path, body, headers = {}) {
  const sent = { Accept: "application/json", ...headers };
  if (body !== undefined) sent["Content-Type"] = "application/json";
  if (method !== "GET" && writeKey) sent["X-CSRF-Token"] = writeKey;
  // No answer is no conclusion.
  const unknown = method === "GET" ? "" : "; what was asked may have been done all the same";
  let response;
  try {
    response = await fetch(path, {
      method,
      headers: sent,
      body: body === undefined ? undefined : JSON.stringify(body),
      cache: "no-store",
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
  } catch (failure) {
    throw new Problem(0, { code: "NO_ANSWER", detail: `the service does not answer${unknown}` });
  }
  let content = null;
  try {
    content = response.status === 204 ? null : await response.json();
  } catch (failure) {
    throw new Problem(response.status, { code: "NO_ANSWER", detail: `the service answered with status ${response.status} and no JSON${unknown}` });
  }
  // Health says 503 with a body of its own, which is an answer. A problem has a code, and may tell the trading state
  // besides; what has neither comes from somebody in between.
  if (!response.ok && !(content && content.trading_state && !content.code)) {
    if (response.status === 401 && path !== "/api/session") leave();
    if (content && content.code) throw new Problem(response.status, content);
    throw new Problem(response.status, { code: "NO_ANSWER", detail: `the way to the service answered with status ${response.status}${unknown}` });
  }
  return { status: response.status, body: content, total: Number(response.headers.get("X-Total-Count") || 0) };
}

export const get = (path) => ask("GET", path);

// The session is over, or there never was one.
export function leave() {
  location.assign("/login");
}
