// Keeps the screen as the server has it: each section that has changed comes as HTML, and is merged into the document.

const connection = document.getElementById("connection");
const main = document.getElementById("main");
const RETRY_MS = 1000;
let source = null;
let retry = 0;

function say(text, isLost) {
  if (connection.textContent !== text) connection.textContent = text;
  connection.classList.toggle("lost", isLost);
}

// Nobody looks at a page that is hidden: it asks for nothing then.
function listen() {
  clearTimeout(retry);
  source?.close();
  if (document.hidden) return;
  source = new EventSource(location.pathname + location.search);
  source.onopen = () => say("live", false);
  source.onmessage = (event) => show(JSON.parse(event.data));
  source.onerror = () => {
    say("no connection, trying again", true);
    if (source.readyState === EventSource.CLOSED) retry = setTimeout(listen, RETRY_MS);
  };
}

function show({ order, sections }) {
  for (const [id, html] of Object.entries(sections)) {
    const told = new DOMParser().parseFromString(html, "text/html").body;
    const section = document.getElementById(id) ?? main.appendChild(Object.assign(document.createElement("section"), { id }));
    const log = section.querySelector(".log");
    const follows = log && log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    merge(section, told);
    if (follows) log.scrollTop = log.scrollHeight;
  }
  for (const section of [...main.querySelectorAll(":scope > section")]) {
    if (!order.includes(section.id)) section.remove();
  }
  order.map((id) => document.getElementById(id)).forEach((section, index) => {
    if (section && main.children[index] !== section) main.insertBefore(section, main.children[index]);
  });
}

// Makes a node's children those of another one, and keeps what is the same: with it focus, choices and scrolling.
function merge(node, told) {
  const wanted = [...told.childNodes];
  wanted.forEach((next, index) => {
    const now = node.childNodes[index];
    if (!now) node.append(document.importNode(next, true));
    else if (now.nodeName !== next.nodeName) now.replaceWith(document.importNode(next, true));
    else if (now.nodeType !== Node.ELEMENT_NODE) { if (now.data !== next.data) now.data = next.data; }
    else if (!now.isEqualNode(next)) {
      mergeAttributes(now, next);
      if (!now.classList.contains("readout")) merge(now, next);
    }
  });
  while (node.childNodes.length > wanted.length) node.lastChild.remove();
}

function mergeAttributes(now, next) {
  for (const { name } of [...now.attributes]) {
    if (!next.hasAttribute(name) && name !== "data-at" && !(now.nodeName === "DETAILS" && name === "open")) now.removeAttribute(name);
  }
  if (now.classList.contains("cursor")) return;
  for (const { name, value } of next.attributes) if (now.getAttribute(name) !== value) now.setAttribute(name, value);
}

// Another view of the same screen: its address changes, and the server sends what that shows.
function go(search) {
  history.replaceState(null, "", location.pathname + search);
  listen();
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-soft]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const sort = new URLSearchParams(link.search).get("sort");
  const kept = document.querySelector('form[data-soft] input[name="sort"]');
  if (kept && sort !== null) kept.value = sort;
  go(link.search);
});

for (const kind of ["input", "change", "submit"]) {
  document.addEventListener(kind, (event) => {
    const form = event.target.closest("form[data-soft]");
    if (!form) return;
    if (kind === "submit") event.preventDefault();
    go(`?${new URLSearchParams(new FormData(form))}`);
  });
}

// Reads a chart's values where the pointer is, or by the arrow keys.
function steps(path) {
  return (path.getAttribute("d").match(/-?\d+ -?\d+/g) ?? []).map((step) => step.split(" ").map(Number));
}

function read(plot, at) {
  const [left, right] = plot.dataset.x.split(" ").map(Number);
  const [bottom, top] = plot.dataset.y.split(" ").map(Number);
  const told = [];
  let nearest = null;
  for (const line of plot.querySelectorAll(".line")) {
    const found = steps(line).reduce((best, step) => (!best || Math.abs(step[0] - at) < Math.abs(best[0] - at) ? step : best), null);
    if (!found) continue;
    if (nearest === null || Math.abs(found[0] - at) < Math.abs(nearest - at)) nearest = found[0];
    told.push([line.dataset.name, bottom + (1 - found[1] / 1e4) * (top - bottom)]);
  }
  if (nearest === null) return;
  plot.dataset.at = nearest;
  plot.querySelector(".cursor").setAttribute("d", `M${nearest} 0V10000`);
  const round = Math.round(left + (nearest / 1e4) * (right - left));
  const words = told.map(([name, value]) => `${name} ${value.toPrecision(4)}`);
  plot.closest("figure").querySelector(".readout").textContent = `round ${round}: ${words.join(", ")}`;
}

document.addEventListener("pointermove", (event) => {
  const plot = event.target.closest?.(".plot");
  if (!plot) return;
  const box = plot.getBoundingClientRect();
  read(plot, ((event.clientX - box.left) / box.width) * 1e4);
});

document.addEventListener("keydown", (event) => {
  const plot = event.target.closest?.(".plot");
  if (!plot || !["ArrowLeft", "ArrowRight"].includes(event.key)) return;
  event.preventDefault();
  const places = [...new Set([...plot.querySelectorAll(".line")].flatMap((line) => steps(line).map(([x]) => x)))].sort((a, b) => a - b);
  const now = Number(plot.dataset.at ?? 1e4);
  const next = event.key === "ArrowRight" ? places.find((x) => x > now) : places.findLast((x) => x < now);
  read(plot, next ?? now);
});

const log = document.querySelector(".log");
if (log) log.scrollTop = log.scrollHeight;

// A form stays as it is.
if (!("still" in document.body.dataset)) {
  document.addEventListener("visibilitychange", listen);
  listen();
}
