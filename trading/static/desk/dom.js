// Building and patching the page.
// The law: text becomes text and never markup, and a node is touched only when what it shows has changed.

const TOASTS_MAX = 4;

export const $ = (id) => document.getElementById(id);

// An element: h("td", {class: "num"}, "1.0", other). Attributes; on… are listeners; null and false leave one out.
export function h(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked") node[name] = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(3).filter((one) => one !== null && one !== undefined && one !== false));
  return node;
}

// The text of *node*, written only when it differs.
export function text(node, words) {
  const wanted = String(words);
  if (node.textContent !== wanted) node.textContent = wanted;
}

// The one attribute or class word, written only when it differs.
export function mark(node, name, value) {
  if (value === null || value === undefined || value === false) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
  } else if (node.getAttribute(name) !== String(value)) {
    node.setAttribute(name, value === true ? "" : value);
  }
}

export function style(node, name, value) {
  if (node.style.getPropertyValue(name) !== value) node.style.setProperty(name, value);
}

export function fill(node, ...children) {
  node.replaceChildren(...children.flat(3).filter((one) => one !== null && one !== undefined && one !== false));
}

// Like fill, but what shows the same stays the node that it was, and a selection in it stands.
export function renew(node, ...children) {
  const wanted = children.flat(3).filter((one) => one !== null && one !== undefined && one !== false);
  const had = [...node.childNodes];
  if (had.length !== wanted.length) {
    node.replaceChildren(...wanted);
    return;
  }
  had.forEach((old, place) => {
    const one = wanted[place];
    if (old.isEqualNode(one)) return;
    if (old.firstElementChild && one.firstElementChild && old.cloneNode(false).isEqualNode(one.cloneNode(false))) renew(old, [...one.childNodes]);
    else old.replaceWith(one);
  });
}

// Something that may be wider than its place: the keyboard reaches it, to scroll.
export const wide = (label, content) => h("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": label }, content);

// What a place says while it has nothing to show.
export const empty = (title, words) => h("div", { class: "empty" }, h("p", { class: "strong" }, title), h("p", {}, words));

export const skeleton = (lines) =>
  h("div", { class: "skeleton", "aria-busy": "true", "aria-label": "Loading" }, Array.from({ length: lines }, () => h("span", {})));

// A problem in the API's own words, with the facts of the case.
export function problemBox(problem) {
  const facts = [];
  for (const [field, why] of Object.entries(problem.fields || {})) facts.push(`${field} ${why}`);
  for (const breach of problem.breaches || []) facts.push(`${breach.code}: ${breach.detail || ""}`.trim());
  for (const cause of problem.causes || []) facts.push(cause);
  return h(
    "div",
    { class: "problem", role: "alert" },
    h("p", { class: "strong" }, `${problem.code.replaceAll("_", " ").toLowerCase()}`),
    h("p", {}, problem.detail),
    problem.reasoning && !problem.detail.includes(problem.reasoning) ? h("p", {}, `Guardian: ${problem.reasoning}`) : null,
    facts.length && !(facts.length === 1 && facts[0] === problem.detail) ? h("ul", {}, facts.map((one) => h("li", {}, one))) : null,
  );
}

// What went wrong, in *place*; where that is gone, because its window was closed meanwhile, for a while at the edge.
export function showProblem(place, problem, ...more) {
  fill(place, problemBox(problem), more);
  if (!place.isConnected) toast(`${problem.code.replaceAll("_", " ").toLowerCase()}: ${problem.detail}`, "bad");
}

let dialogs = 0;

// A modal dialog; its focus stays inside, Escape closes it, and it is gone once closed.
export function openDialog(title, content, options = {}) {
  const id = `dialog-${(dialogs += 1)}`;
  const close = () => dialog.close();
  const body = h("div", { class: "dialog-body" }, content);
  const dialog = h(
    "dialog",
    { "aria-labelledby": id, class: options.kind || "" },
    h(
      "header",
      {},
      h("h2", { id }, title),
      h("button", { type: "button", class: "plain close", "aria-label": "Close this window", onclick: close }, "×"),
    ),
    body,
  );
  dialog.addEventListener("close", () => {
    dialog.remove();
    if (options.closed) options.closed();
  });
  $("dialogs").append(dialog);
  dialog.showModal();
  const first = body.querySelector("[data-first]");
  if (first) first.focus();
  return { dialog, body, close };
}

// The latest few: all that close at once would hide the page, and the stop with it.
export function toast(words, kind = "info") {
  const node = h("p", { class: `toast ${kind}` }, words);
  const place = $("toasts");
  place.append(node);
  if (place.children.length > TOASTS_MAX) place.firstElementChild.remove();
  setTimeout(() => node.remove(), 7000);
}
