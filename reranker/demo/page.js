"use strict";
// One request per query: its page has all k hits with their BM25 ranks, so both columns come from it.

const SHOWN = 10;
const $ = (selector) => document.querySelector(selector);
const form = $("#form"), box = $("#q"), statusLine = $("#status"), columns = $("#columns"), switcher = $("#switch");
const keyForm = $("#key");
const k = Number($("main").dataset.k);
let running = null;

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text; // textContent, not innerHTML: product texts are untrusted
  return made;
}

function tell(text, isProblem = false) {
  statusLine.textContent = text;
  statusLine.classList.toggle("problem", isProblem);
}

function movement(result, column) {
  const up = result.bm25_rank - result.rank;
  const badge = element("span", "moved" + (up > 0 ? " up" : up < 0 ? " down" : ""));
  const seen = column === "bm25" ? `→ ${result.rank}` : up > 0 ? `▲ ${up}` : up < 0 ? `▼ ${-up}` : "=";
  const said = column === "bm25" ? `reranked to place ${result.rank}` : up ? `moved ${up > 0 ? "up" : "down"} ${Math.abs(up)}, from place ${result.bm25_rank}` : "did not move";
  const shown = element("span", "", seen);
  shown.setAttribute("aria-hidden", "true");
  badge.append(shown, element("span", "unseen", said));
  badge.title = said;
  return badge;
}

function score(result, column, best) {
  const value = column === "bm25" ? result.bm25_score : result.student_score;
  const line = element("div", "score");
  const bar = element("span", "bar"), fill = element("i");
  fill.style.width = `${Math.max(0, Math.min(1, best > 0 ? value / best : 0)) * 100}%`;
  bar.append(fill);
  bar.setAttribute("aria-hidden", "true");
  line.append(element("span", "", column === "bm25" ? `BM25 ${value.toFixed(2)}` : `relevance ${value.toFixed(3)}`), bar);
  return line;
}

function item(result, column, best, reranked) {
  const product = result.product, made = element("li", "product");
  made.dataset.id = result.id;
  const place = column === "bm25" ? result.bm25_rank : result.rank;
  const about = [product.brand, product.description].filter((part) => typeof part === "string" && part.trim()).join(" · ");
  const title = element("h3", "", String(product.title ?? result.id));
  title.title = title.textContent;
  made.append(element("span", "rank", String(place)), title);
  made.append(reranked ? movement(result, column) : element("span"));
  made.append(element("p", "about", about.slice(0, 400)), score(result, column, best));
  return made;
}

function fill(column, results, best, reranked) {
  $(`#${column} ol`).replaceChildren(...results.slice(0, SHOWN).map((result) => item(result, column, best, reranked)));
}

function show(response) {
  const found = response.results.length > 0;
  const byBm25 = [...response.results].sort((a, b) => a.bm25_rank - b.bm25_rank);
  fill("bm25", byBm25, found ? byBm25[0].bm25_score : 1, response.reranked);
  fill("reranked", response.reranked ? response.results : [], 1, true);
  const notice = $("#reranked .notice");
  notice.hidden = response.reranked;
  notice.textContent = response.fallback_reason ? `Not reranked: ${response.fallback_reason}. Shown in BM25 order.` : "";
  columns.hidden = switcher.hidden = !found;
  if (!found) {
    tell(`No products found for “${response.query}”. Try other words.`, true);
    return;
  }
  const took = response.took_ms, ms = (value) => `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;
  tell(`BM25 took ${ms(took.first_stage)}` + (response.reranked ? ` · the student reranked ${response.scored} hits in ${ms(took.rerank)}` : ` · not reranked: ${response.fallback_reason}`));
}

async function problemOf(answer) {
  try {
    const { message, hint } = (await answer.json()).error;
    return hint ? `${message} ${hint}` : message;
  } catch {
    return `The service answered with status ${answer.status}.`;
  }
}

async function search(query) {
  running?.abort();
  const mine = (running = new AbortController());
  box.value = query;
  document.title = query.trim() ? `${query.trim()} · Distilled reranker` : "Distilled reranker";
  for (const button of document.querySelectorAll("#examples button")) {
    if (button.textContent === query) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
  }
  columns.classList.add("stale");
  try {
    const key = sessionStorage.getItem("key"), headers = key ? { "X-API-Key": key } : {};
    const answer = await fetch(`/search?${new URLSearchParams({ q: query, size: Math.max(k, SHOWN) })}`, { signal: mine.signal, headers });
    keyForm.hidden = answer.status !== 401;
    if (answer.ok) {
      show(await answer.json());
    } else {
      columns.hidden = switcher.hidden = true;
      tell(await problemOf(answer), true);
    }
  } catch (error) {
    if (error.name === "AbortError") return; // a newer query replaced it
    columns.hidden = switcher.hidden = true;
    tell("The service does not respond. Is `reranker demo` still running?", true);
  }
  columns.classList.remove("stale");
}

function go(query) {
  history.pushState(null, "", `?${new URLSearchParams({ q: query })}`);
  search(query);
}

function fromAddress() {
  const query = new URLSearchParams(location.search).get("q");
  if (query !== null) return search(query);
  running?.abort();
  box.value = "";
  columns.hidden = switcher.hidden = true;
  tell("");
}

function twins(event, on) {
  const id = event.target.closest?.("li.product")?.dataset.id;
  for (const product of columns.querySelectorAll("li.product")) product.classList.toggle("twin", on && product.dataset.id === id);
}

form.addEventListener("submit", (event) => { event.preventDefault(); go(box.value); });
keyForm.addEventListener("submit", (event) => { event.preventDefault(); sessionStorage.setItem("key", $("#key-box").value.trim()); search(box.value); });
$("#examples").addEventListener("click", (event) => { if (event.target.matches("button")) go(event.target.textContent); });
switcher.addEventListener("click", (event) => {
  const show = event.target.dataset.show;
  if (!show) return;
  columns.dataset.show = show;
  for (const button of switcher.querySelectorAll("button")) button.setAttribute("aria-pressed", String(button.dataset.show === show));
});
columns.addEventListener("mouseover", (event) => twins(event, true));
columns.addEventListener("mouseleave", (event) => twins(event, false));
addEventListener("popstate", fromAddress);
addEventListener("keydown", (event) => { // "/" puts the cursor in the box, as on many sites
  if (event.key === "/" && !event.ctrlKey && !event.metaKey && !event.altKey && document.activeElement !== box) { event.preventDefault(); box.select(); }
});

fetch("/ready").then((answer) => answer.json()).then(({ student, first_stage }) => {
  $("#about").textContent = `${first_stage.products.toLocaleString("en")} products · first stage: ${first_stage.name} · student: ${student}`;
}).catch(() => {});
fromAddress();
