// The page comes up: who is looking, then everything else.

import { ask, get, leave, rememberKey } from "./api.js";
import { $, mark, text, toast } from "./dom.js";
import * as feed from "./feed.js";
import * as glance from "./glance.js";
import * as history from "./history.js";
import * as log from "./log.js";
import * as positions from "./positions.js";
import * as resume from "./resume.js";
import * as signals from "./signals.js";
import { desk, tell } from "./state.js";
import * as stop from "./stop.js";

const VIEWS = ["desk", "history", "log"];
const SESSION_RETRY_MS = 3000;
const SESSION_LOOK_MS = 60000;

function showView() {
  const wanted = VIEWS.includes(location.hash.slice(1)) ? location.hash.slice(1) : "desk";
  for (const name of VIEWS) $(`view-${name}`).hidden = name !== wanted;
  for (const link of document.querySelectorAll(".tabs a")) mark(link, "aria-current", link.dataset.view === wanted ? "page" : null);
  desk.view = wanted;
  tell("view");
}

function switchTheme() {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  try {
    localStorage.setItem("theme", root.dataset.theme);
  } catch (refused) {
    // A browser that keeps nothing shows the system's theme next time.
  }
}

// By this machine's clock, which may be wrong by hours: the service is asked then whether it has ended.
function untilItEnds(iso) {
  const left = Date.parse(iso) - Date.now();
  return Math.min(left > 0 ? left + 1000 : SESSION_LOOK_MS, 2 ** 31 - 1);
}

async function whoLooks() {
  try {
    const { body } = await get("/api/session");
    desk.session = body;
    rememberKey(body.write_key);
    document.body.dataset.scope = body.scope;
    text($("who"), body.scope === "read" ? `${body.name}, read only` : `${body.name}, ${body.scope}`);
    $("log-out").hidden = body.ends_at === null;
    $("log-in").hidden = !body.tokens || body.ends_at !== null;
    if (body.ends_at) setTimeout(whoLooks, untilItEnds(body.ends_at));
    tell("session");
  } catch (problem) {
    if (problem.status === 401) leave();
    else setTimeout(whoLooks, SESSION_RETRY_MS);
  }
}

$("theme").addEventListener("click", switchTheme);
$("log-out").addEventListener("click", async () => {
  try {
    await ask("DELETE", "/api/session");
    leave();
  } catch (problem) {
    // The browser still has the session: to look as if it had not would leave it to whoever comes next.
    toast(`You are still logged in: ${problem.detail}.`, "bad");
  }
});
addEventListener("hashchange", showView);
// A wheel that is turned over a number in hand would change it, and whoever turns it means the window.
addEventListener("wheel", ({ target }) => target === document.activeElement && target.matches("input[type=number], select") && target.blur(), { passive: true });

glance.start();
positions.start();
signals.start();
history.start();
log.start();
stop.start();
resume.start();
showView();
whoLooks().then(feed.start);
