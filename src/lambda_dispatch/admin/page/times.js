// Two pictures over the last 15 minutes: how long requests waited, and the lives of instances.
import { count, ms, NONE, span } from "./format.js";

const WINDOW = 900e3; // ms
const FOOT = 18, SIDE = 58; // px for the labels of the axes
const ORDERLY = ["RouterGoAway", "SelfLastActive", "SelfDeadline", "SelfInitOnly"];
const HIGHEST = 300, TALLEST = 12;

const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const clock = (at) => new Date(at).toLocaleTimeString([], { hour12: false });

// A pen for the whole canvas, cleared, with the time along its foot.
function begin(canvas, height, now) {
  const width = canvas.clientWidth, scale = devicePixelRatio || 1;
  const whole = [Math.round(width * scale), Math.round((height + FOOT) * scale)];
  if (canvas.width !== whole[0] || canvas.height !== whole[1]) {
    [canvas.width, canvas.height] = whole;
    canvas.style.height = height + FOOT + "px";
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, height + FOOT);
  pen.font = "11px system-ui";
  pen.fillStyle = style("--muted");
  pen.textAlign = "center";
  const x = (at) => SIDE + (1 - (now - at) / WINDOW) * (width - SIDE);
  for (let at = Math.ceil((now - WINDOW) / 180e3) * 180e3; at <= now; at += 180e3) {
    if (x(at) > SIDE + 16 && x(at) < width - 16) pen.fillText(clock(at).slice(0, 5), x(at), height + 14);
  }
  return { pen, width, x };
}

// Lives: one bar each, in a lane that is free again.

let ended = []; // oldest first
let asked = 0;
let drawn = { bars: [], row: 1 };
let busy = false;

export async function lives(canvas, summary, state) {
  if (!busy && state.lived !== asked) {
    busy = true;
    if (state.lived < asked) [asked, ended] = [0, []]; // a new router counts from 1
    try {
      const answer = await fetch(`api/v1/lives?state=ended&since=${asked}`);
      if (answer.ok) {
        const { next, lives } = await answer.json();
        asked = next;
        ended.push(...lives.reverse());
      }
    } finally {
      busy = false;
    }
  }
  const now = state.taken_ms;
  ended = ended.filter((it) => it.ended_ms > now - WINDOW);
  const living = Object.values(state.instances).filter((it) => it.state !== "closed")
    .map((it) => ({ ...it, asked_ms: it.created_ms, ended_ms: null, busy_ms: null }));
  draw(canvas, [...ended, ...living].sort((a, b) => a.asked_ms - b.asked_ms), now);
  const reasons = {};
  for (const it of ended) reasons[it.reason] = (reasons[it.reason] ?? 0) + 1;
  const list = Object.entries(reasons).sort((a, b) => b[1] - a[1]).map(([name, n]) => `${n} ${name}`).join(", ");
  summary.textContent = `${living.length} now, ${ended.length} ended in 15 minutes${list ? ": " + list : ""}`;
}

function draw(canvas, all, now) {
  const over = all.filter((it) => it.ended_ms).sort((a, b) => a.ended_ms - b.ended_ms);
  const lanes = new Map(), free = [];
  let next = 0, made = 0;
  const bars = all.map((it) => {
    for (; next < over.length && over[next].ended_ms < it.asked_ms; next++) free.push(lanes.get(over[next]));
    const lane = free.pop() ?? made++;
    lanes.set(it, lane);
    return { it, lane };
  });
  const row = Math.min(TALLEST, HIGHEST / Math.max(1, made)), height = Math.max(24, row * made);
  const { pen, x } = begin(canvas, height, now);
  const ink = { accent: style("--accent"), fill: style("--fill"), busy: style("--busy"), bad: style("--bad") };
  const thick = Math.max(0.6, row - (row > 4 ? 2 : 0));
  for (const bar of bars) {
    const { it, lane } = bar, y = lane * row, to = x(it.ended_ms ?? now);
    const from = Math.max(SIDE, x(it.asked_ms)), open = it.opened_ms ? Math.max(SIDE, x(it.opened_ms)) : to;
    Object.assign(bar, { y, from, to });
    pen.fillStyle = ink.busy; // until it opens: half as thick
    pen.fillRect(from, y + thick / 4, Math.max(1, open - from), thick / 2);
    if (it.opened_ms) {
      const share = it.busy_ms === null ? 0.4 : Math.min(1, it.busy_ms / Math.max(1, it.ended_ms - it.opened_ms));
      pen.fillStyle = ink.fill;
      pen.fillRect(open, y, to - open, thick);
      pen.globalAlpha = 0.15 + 0.85 * share;
      pen.fillStyle = ink.accent;
      pen.fillRect(open, y, to - open, thick);
      pen.globalAlpha = 1;
    }
    if (it.ended_ms && !ORDERLY.includes(it.reason)) {
      pen.fillStyle = ink.bad;
      pen.fillRect(to - 3, y - 1, 3, thick + 2);
    }
  }
  drawn = { bars, row };
}

export function life({ offsetX, offsetY }) {
  const lane = Math.floor(offsetY / drawn.row);
  const found = drawn.bars.find((bar) => bar.lane === lane && bar.from <= offsetX && offsetX <= bar.to + 1)?.it;
  if (!found) return "";
  const end = found.ended_ms ? `${found.reason} at ${clock(found.ended_ms)} after ${span((found.ended_ms - found.asked_ms) / 1000)}` : found.state;
  const opening = found.opened_ms ? ms(found.opened_ms - found.asked_ms) : NONE;
  const share = found.busy_ms === null || !found.opened_ms ? "" : `, busy ${Math.round((100 * found.busy_ms) / Math.max(1, found.ended_ms - found.opened_ms))} %`;
  return `${found.id}… asked ${clock(found.asked_ms)}, opened in ${opening}, ${count(found.requests)} requests${share}, ${end}`;
}

// Waits: a cell per step and class, the stronger its colour the more requests.

const CELL = 8;
let heat = null;

export async function loadWaits() {
  const answer = await fetch("api/v1/waits");
  if (answer.ok) heat = await answer.json();
}

export function waits(canvas, now) {
  if (!heat) return;
  const rows = heat.bounds_ms.length + 1;
  const { pen, width, x } = begin(canvas, rows * CELL, now);
  pen.textAlign = "right";
  heat.bounds_ms.forEach((bound, at) => at % 5 === 0 && pen.fillText("≤ " + ms(Math.round(bound)), SIDE - 6, (rows - at) * CELL));
  const most = Math.log1p(Math.max(1, ...heat.counts.flat()));
  const step = (heat.step * 1e3 * (width - SIDE)) / WINDOW;
  pen.fillStyle = style("--accent");
  heat.counts.forEach((cells, column) => {
    const right = x(heat.times_ms[column]);
    if (right - step < SIDE - 1) return;
    cells.forEach((n, at) => {
      if (!n) return;
      pen.globalAlpha = 0.12 + (0.88 * Math.log1p(n)) / most;
      pen.fillRect(right - step, (rows - 1 - at) * CELL, Math.max(1, step - 0.5), CELL - 0.5);
    });
  });
  pen.globalAlpha = 1;
}

export function wait(event, now) {
  if (!heat) return "";
  const width = event.target.clientWidth, rows = heat.bounds_ms.length + 1;
  const at = now - WINDOW * (1 - (event.offsetX - SIDE) / (width - SIDE));
  const column = heat.times_ms.findIndex((time) => time - heat.step * 1e3 <= at && at < time);
  const row = rows - 1 - Math.floor(event.offsetY / CELL);
  if (column < 0 || row < 0 || row >= rows) return "";
  const low = row ? ms(heat.bounds_ms[row - 1]) : "0", high = row < rows - 1 ? ` to ${ms(heat.bounds_ms[row])}` : " and more";
  return `${count(heat.counts[column][row])} requests waited ${low}${high}, ${clock(heat.times_ms[column])}`;
}
