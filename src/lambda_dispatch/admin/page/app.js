import * as charts from "./charts.js";
import * as controls from "./controls.js";
import { count, element, ms, NONE, span, table } from "./format.js";
import * as map from "./map.js";
import { follow } from "./stream.js";
import * as times from "./times.js";

const SHOWN = 100; // rows of the instance table; the filter finds the others
const $ = (id) => document.getElementById(id);
let state = null;
let heard = 0; // when the last event came, by this browser's clock

const by = (object, key) => Object.values(object ?? {}).sort((a, b) => a[key] - b[key]);
const age = (at) => (at ? span((state.taken_ms - at) / 1000) : NONE);
const left = (at) => (at ? span((at - state.taken_ms) / 1000) : NONE);

function verdicts() {
  const cards = by(state.pools, "pool").map((pool) => {
    const facts = [
      ["desired", pool.desired], ["open", pool.open], ["starting", pool.starting], ["draining", pool.draining],
      ["in flight", pool.in_flight], ["queued", pool.queued], ["max", pool.max_instances],
    ];
    const money = (usd) => (pool.cost_usd ? "$" + usd.toFixed(usd < 1 ? 4 : 2) : NONE);
    const wait = ["next waits", pool.predicted_wait ? span(pool.predicted_wait) : "0"];
    const cost = [
      wait, ["open", span(pool.open_seconds)], ["idle", span(pool.open_seconds - pool.busy_seconds)],
      ["invokes", count(pool.invokes)], ["cost", money(pool.cost_usd)],
      ["by Lambda", span(pool.direct_seconds)], ["would cost", money(pool.direct_cost_usd)],
    ].map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value)));
    const list = facts.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, count(value))));
    return element("article", { class: "card verdict " + pool.verdict.level },
      element("b", {}, pool.verdict.text), element("span", { class: "name" }, pool.function), element("dl", {}, ...list),
      element("dl", { class: "cost" }, ...cost));
  });
  $("verdicts").replaceChildren(...cards);
}

function instances() {
  const all = by(state.instances, "slot");
  const words = $("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const found = all.filter((it) => words.every((word) => `${it.function} ${it.state} ${it.id}`.toLowerCase().includes(word)));
  map.draw($("map"), found);
  const more = found.length > SHOWN ? `, the first ${SHOWN} in the table` : "";
  $("count").textContent = words.length ? `${found.length} of ${all.length}${more}` : `${all.length}${more}`;
  table($("instances"), [
    ["Slot", (i) => i.slot, true], ["Id", (i) => i.id + "…"], ["Function", (i) => i.function], ["State", (i) => i.state],
    ["In flight", (i) => i.in_flight, true], ["Limit", (i) => i.limit, true], ["Idle channels", (i) => i.idle_channels, true],
    ["Requests", (i) => count(i.requests), true], ["Age", (i) => age(i.created_ms), true], ["Left", (i) => left(i.deadline_ms), true],
  ], found.slice(0, SHOWN));
}

function processes() {
  table($("workers"), [
    ["Worker", (w) => w.slot, true], ["Pid", (w) => w.pid, true], ["State", (w) => w.state],
    ["Connections", (w) => count(w.connections), true], ["Queued", (w) => count(w.queued), true],
    ["Running", (w) => count(w.running), true], ["Idle channels", (w) => count(w.idle_channels), true],
    ["Requests", (w) => count(w.requests), true], ["Loop lag p99", (w) => ms(w.lag_ms.p99), true],
  ], by(state.workers, "slot"));
  const scaler = state.scaler, pools = Object.values(state.pools);
  const sum = (name) => pools.reduce((total, pool) => total + pool[name], 0);
  table($("starts"), [["", (row) => row[0]], ["", (row) => row[1], true]], [
    ["Scaler", scaler.state], ["Invokes open", count(scaler.open_invokes)], ["Invokes sent", count(scaler.invokes)],
    ["Invokes failed", count(scaler.invokes_failed)], ["Throttled by Lambda", count(scaler.throttled)],
    ["Instances started", count(sum("starts"))], ["Starts failed", count(sum("starts_failed"))],
    ["Start budget", count(scaler.start_budget)],
  ]);
}

function header() {
  const workers = Object.values(state.workers), ready = workers.filter((w) => w.state === "ready").length;
  const drained = (state.overrides ?? []).some((it) => it.kind === "drain");
  const draining = drained || workers.some((w) => w.state === "draining") ? " · draining" : "";
  const names = by(state.pools, "pool").map((pool) => pool.function);
  const more = names.length > 2 ? ` and ${names.length - 2} more` : "";
  $("version").textContent = state.version;
  $("facts").textContent = `${names.slice(0, 2).join(", ")}${more} · pid ${state.pid} · ${ready} of ${workers.length} workers ready${draining}`;
  const bad = Object.values(state.pools).some((pool) => pool.verdict.level === "bad");
  document.title = (bad ? "! " : "") + (names[0] ?? "lambda-dispatch");
}

function freshness() {
  const old = heard ? (Date.now() - heard) / 1000 : 0;
  const [level, text] = !heard ? ["busy", "connecting"] : old < 3 ? ["ok", "live"] : old < 15
    ? ["busy", `${Math.round(old)} s old`]
    : ["bad", `disconnected since ${new Date(heard).toLocaleTimeString()}`];
  $("age").className = "age " + level;
  if ($("age").textContent !== text) $("age").textContent = text;
}

function render() {
  header();
  verdicts();
  controls.update(state);
  charts.update(state.taken_ms / 1000, state.signals);
  instances();
  processes();
  decided();
  times.lives($("lives"), $("ends"), state);
  times.waits($("waits"), state.taken_ms);
}

let decisions = [];
let asked = 0; // number of the last decision that is here
let router = 0;
let asking = false;

async function decided() {
  if (state.pid !== router) [router, asked, decisions] = [state.pid, 0, []]; // a new router counts from 1
  if (asking || (state.decided ?? 0) <= asked) return;
  asking = true;
  try {
    const answer = await fetch(`api/v1/decisions?since=${asked}&limit=${SHOWN}`);
    if (!answer.ok) return;
    // It may know of more than the stream has told.
    const body = await answer.json();
    asked = body.next;
    decisions = [...body.decisions, ...decisions].slice(0, SHOWN);
  } catch {
    return; // the admin process is away; the next event asks again
  } finally {
    asking = false;
  }
  $("undecided").hidden = decisions.length > 0;
  table($("decisions"), [
    ["Time", (d) => new Date(d.at_ms).toLocaleTimeString([], { hour12: false })], ["Function", (d) => d.function],
    ["Desired", (d) => (d.before === d.desired ? d.desired : `${d.before} → ${d.desired}`), true],
    ["Reason", (d) => d.reason], ["Bounded by", (d) => d.bounds.join(", ") || NONE],
    ["Started", (d) => (d.wanted > d.started ? `${d.started} of ${d.wanted}` : d.started), true],
    ["Closed", (d) => d.closed + d.released + d.recycled, true],
    ["Req/s", (d) => (d.rate_milli < 0 ? NONE : count(d.rate_milli / 1000)), true],
    ["Mean", (d) => (d.mean_us < 0 ? NONE : ms(d.mean_us / 1000)), true],
  ], decisions);
}

async function configuration() {
  const answer = await fetch("api/v1/config");
  if (!answer.ok) return;
  const rows = Object.entries(await answer.json());
  table($("config"), [
    ["Option", ([name]) => name], ["Value", ([, it]) => (it.value === "" ? NONE : it.value)], ["From", ([, it]) => it.source],
  ], rows);
}

charts.build($("signals"));
controls.build();
charts.load();
follow((next) => {
  state = next;
  heard = Date.now();
  render();
  freshness();
});
setInterval(freshness, 1000);
times.loadWaits();
setInterval(times.loadWaits, 10000);
$("filter").addEventListener("input", () => state && instances());
$("configuration").addEventListener("toggle", configuration);
$("map").addEventListener("mousemove", (event) => {
  const it = map.at(event);
  $("hover").textContent = it ? `${it.id}… ${it.state}, ${it.in_flight} of ${it.limit} in flight, ${count(it.requests)} requests, age ${age(it.created_ms)}` : "";
});
$("map").addEventListener("click", (event) => map.at(event) && controls.choose(map.at(event).id));
$("instances").addEventListener("click", (event) => {
  const row = event.target.closest("tbody tr");
  if (row) controls.choose(row.cells[1].textContent.replace("…", ""));
});
$("lives").addEventListener("mousemove", (event) => ($("life").textContent = times.life(event)));
$("waits").addEventListener("mousemove", (event) => ($("wait").textContent = state ? times.wait(event, state.taken_ms) : ""));
for (const [name, text] of [["map", "hover"], ["lives", "life"], ["waits", "wait"]]) {
  $(name).addEventListener("mouseleave", () => ($(text).textContent = ""));
}
addEventListener("resize", () => state && instances());
addEventListener("keydown", (event) => {
  if (event.key === "/" && !event.target.closest("input, select")) {
    event.preventDefault();
    $("filter").focus();
  }
});
