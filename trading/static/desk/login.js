// The log-in page: a token goes in once, and a session that no script can read comes back.

import { ask } from "./api.js";
import { $, text } from "./dom.js";
import { showMode } from "./glance.js";

showMode();

$("log-in-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = event.target.querySelector("button");
  button.disabled = true;
  text($("token-error"), "");
  try {
    // A space that came along with the copied token is nobody's intention.
    await ask("POST", "/api/session", { token: $("token").value.trim() });
    location.assign("/");
  } catch (problem) {
    text($("token-error"), problem.detail);
    $("token").select();
    button.disabled = false;
  }
});
