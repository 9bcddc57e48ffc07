// Keeps the page up to date: a stream announces new reports, and the script then fetches the sections that change, in
// the same form as in the whole page. Pages of samples are fetched periodically. Without this script the page is reloaded periodically.
"use strict";

const MIN_INTERVAL = 1000; // Minimum time between two fetches.
const MAX_INTERVAL = 5000; // Maximum time between two fetches.
const FETCH_TIMEOUT = 8000;

const by = (id) => document.getElementById(id);
const away = by("away");
const live = document.body.dataset.live;
let fetched = performance.now();
let fetching = false;
let wanted = false;
let spoken = 0;

// Formats a duration as the server does: 3 s, 2 min, 1 h 5 min, 3 d.
function span(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86400) {
    const minutes = Math.floor(s / 60) % 60;
    return `${Math.floor(s / 3600)} h${minutes ? ` ${minutes} min` : ""}`;
  }
  return `${Math.floor(s / 86400)} d`;
}

function count() {
  const since = performance.now() - fetched;
  for (const age of document.querySelectorAll(".age")) {
    const text = document.body.dataset.ago.replace("{}", span((Number(age.dataset.age) + since) / 1000));
    if (age.textContent !== text) age.textContent = text;
  }
}

// Notifies screen readers rarely, but at once when reports stop or resume.
function speak(text, at_once) {
  if (!at_once && performance.now() - spoken < 30000) return;
  spoken = performance.now();
  by("spoken").textContent = text;
}

function exchange(html) {
  const fresh = new DOMParser().parseFromString(html, "text/html");
  const before = by("state")?.dataset.state;
  const focused = document.activeElement?.id;
  const open = [...document.querySelectorAll("details[open]")].map((details) => details.id);
  for (const section of fresh.querySelectorAll("section[id]")) {
    // Content that is unavailable because the store fails keeps its last version.
    if (section.hidden && fresh.querySelector("#state[data-state=store]")) continue;
    by(section.id)?.replaceWith(section);
  }
  for (const id of open) if (by(id)) by(id).open = true;
  if (focused && document.activeElement?.id !== focused) by(focused)?.focus({ preventScroll: true });
  const value = document.querySelector("#now .value");
  if (value) document.title = `${value.dataset.spoken} · Atalaya`;
  const state = by("state");
  const other = state.dataset.state !== before;
  const news = other && state.dataset.state !== "live" ? state.querySelector(".banner")?.textContent : value?.dataset.spoken;
  speak(news ?? "", other);
}

async function refresh() {
  if (fetching) {
    wanted = true;
    return;
  }
  fetching = true;
  wanted = false;
  try {
    const answer = await fetch(`${live}${location.search}`, { signal: AbortSignal.timeout(FETCH_TIMEOUT) });
    if (answer.status === 401) return location.reload();
    const html = await answer.text();
    if (!html.includes('id="state"')) throw new Error(answer.status);
    fetched = performance.now();
    exchange(html);
    away.hidden = true;
    delete document.body.dataset.away;
  } catch {
    // The ages continue from the last successful fetch.
    away.hidden = false;
    document.body.dataset.away = "";
    follow();
  }
  fetching = false;
  count();
  if (wanted) soon();
}

let timer;
function soon() {
  clearTimeout(timer);
  timer = setTimeout(refresh, Math.max(0, MIN_INTERVAL - (performance.now() - fetched)));
}

let stream;
function follow() {
  if (live !== "page/live" || (stream && stream.readyState !== EventSource.CLOSED)) return;
  // A fleet, or FLEET/ZONE. All zones together have no stream.
  const [fleet, zone] = (new URLSearchParams(location.search).get("fleet") ?? "").split("/");
  const query = new URLSearchParams([["fleet", fleet], ["zone", zone]].filter(([, name]) => name));
  stream = new EventSource(`api/v1/stream?${query}`);
  stream.addEventListener("report", () => document.hidden || soon());
}

// Handles the buttons of ranges and quantities without loading the page.
document.addEventListener("click", (event) => {
  const link = event.target.closest(".ranges a, .kinds a");
  if (!link || event.metaKey || event.ctrlKey || event.shiftKey || event.button) return;
  event.preventDefault();
  history.pushState(null, "", link.href);
  for (const other of link.closest("nav, ul").querySelectorAll("a")) other.removeAttribute("aria-current");
  link.setAttribute("aria-current", "true");
  link.focus({ preventScroll: true });
  refresh();
});
addEventListener("popstate", refresh);
document.addEventListener("visibilitychange", () => document.hidden || refresh());

// Displays the values of the chart at the pointer.
document.addEventListener("pointermove", (event) => {
  const plot = event.target.closest?.("svg.plot");
  const tip = by("tip") ?? document.body.appendChild(Object.assign(document.createElement("div"), { id: "tip", hidden: true }));
  for (const mark of document.querySelectorAll(".pointed.on")) mark.classList.remove("on");
  tip.hidden = !plot;
  if (!plot) return;
  const chart = plot.parentElement;
  chart.points ??= JSON.parse(chart.dataset.points);
  const box = plot.getBoundingClientRect();
  const scale = box.width / plot.viewBox.baseVal.width;
  const [left, top, width, height] = plot.dataset.area.split(" ").map(Number);
  const x = ((event.clientX - box.left) / scale - left) / width;
  const near = chart.points.reduce((best, point) => (Math.abs(point[0] - x) < Math.abs(best[0] - x) ? point : best));
  const [at, up] = [left + near[0] * width, top + near[1] * height];
  const mark = plot.querySelector(".pointed");
  const line = mark.querySelector("line");
  const dot = mark.querySelector("circle");
  line.setAttribute("x1", at);
  line.setAttribute("x2", at);
  dot.setAttribute("cx", at);
  dot.setAttribute("cy", up);
  mark.classList.add("on");
  const number = new Intl.NumberFormat(document.documentElement.lang, { maximumSignificantDigits: 6 });
  const when = new Intl.DateTimeFormat(document.documentElement.lang, { dateStyle: "medium", timeStyle: "medium" });
  tip.replaceChildren(
    Object.assign(document.createElement("strong"), { textContent: number.format(near[3]) }),
    ` ${number.format(near[4])} … ${number.format(near[5])}`,
    document.createElement("br"),
    when.format(near[2] * 1000),
  );
  tip.style.left = `${Math.min(Math.max(box.left + at * scale - tip.offsetWidth / 2, 8), innerWidth - tip.offsetWidth - 8)}px`;
  tip.style.top = `${Math.max(box.top + up * scale - tip.offsetHeight - 16, 4)}px`;
});

// The server formats times in the time zone of this browser.
const zone = String(-new Date().getTimezoneOffset());
const known = document.cookie.split("; ").find((cookie) => cookie.startsWith("tz="))?.slice(3) ?? "0";
document.cookie = `tz=${zone}; SameSite=Strict; Max-Age=31536000`;
if (zone !== known) refresh();

follow();
setInterval(() => {
  count();
  if (!document.hidden && performance.now() - fetched > MAX_INTERVAL && !fetching) refresh();
}, 1000);
