// One tile per golden signal: the value now, and the last 15 minutes.
import { count, element, ms } from "./format.js";

const KEPT = 900;
const STEPS = [...Array(8).keys()].flatMap((n) => [1, 2, 5].map((x) => x * 10 ** n)); // whole numbers on axes of counts
// [title, how to print, series]
const TILES = [
  ["Requests per second", count, ["requests"]],
  ["In flight", count, ["in_flight"]],
  ["Queued", count, ["queued"]],
  ["Queue wait, p99 / p50", ms, ["wait_p99", "wait_p50"]],
  ["Request time, p99 / p50", ms, ["time_p99", "time_p50"]],
  ["Errors per second, 5xx / 4xx", count, ["server_errors", "client_errors"]],
];
const INK = { wait_p50: "--muted", time_p50: "--muted", client_errors: "--busy", server_errors: "--bad" };
const NAMES = [...new Set(TILES.flatMap((tile) => tile[2]))];

const times = [];
const values = Object.fromEntries(NAMES.map((name) => [name, []]));
const tiles = [];

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function plot(host, print, series) {
  const ink = colour("--muted");
  const axis = { stroke: ink, grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui" };
  const options = {
    width: Math.max(60, host.clientWidth),
    height: host.clientHeight,
    legend: { show: false },
    cursor: { y: false, points: { size: 5 } },
    padding: [8, 18, 0, 0],
    scales: {
      x: { range: (_, low, high) => [Math.min(low, high - 120), high] },
      y: { range: (_, low, high) => [0, high > 0 ? high * 1.1 : 1] },
    },
    axes: [
      { ...axis, grid: { show: false }, size: 20, space: 70, incrs: [60, 180, 300], values: "{HH}:{mm}" },
      { ...axis, size: 56, space: 28, incrs: print === count ? STEPS : undefined, values: (_, ticks) => ticks.map((tick) => print(tick)) },
    ],
    series: [{}, ...series.map((name) => ({ stroke: colour(INK[name] ?? "--accent"), width: 1.5, spanGaps: false, points: { show: false } }))],
  };
  return new uPlot(options, [times, ...series.map((name) => values[name])], host);
}

function draw() {
  for (const tile of tiles) {
    tile.plot?.destroy();
    tile.plot = plot(tile.host, tile.print, tile.series);
  }
}

export function build(target) {
  for (const [title, print, series] of TILES) {
    const host = element("div", { class: "chart" });
    const now = element("p", { class: "now" });
    target.append(element("div", { class: "card tile" }, element("h2", {}, title), now, host));
    tiles.push({ host, now, print, series });
  }
  draw();
  let waiting = 0;
  const again = () => {
    clearTimeout(waiting);
    waiting = setTimeout(draw, 100);
  };
  addEventListener("resize", again);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
}

export async function load() {
  const answer = await fetch("api/v1/history?span=15m&series=" + NAMES.join(","));
  if (!answer.ok) return;
  const past = await answer.json();
  const first = times[0] ?? Infinity;
  const older = past.times_ms.map((at) => at / 1000).filter((at) => at < first);
  times.unshift(...older);
  for (const name of NAMES) values[name].unshift(...past.series[name].slice(0, older.length));
}

export function update(at, signals) {
  if (times.length && at <= times[times.length - 1]) return;
  times.push(at);
  for (const name of NAMES) values[name].push(signals?.[name] ?? null);
  if (times.length > KEPT) {
    times.shift();
    for (const name of NAMES) values[name].shift();
  }
  for (const tile of tiles) {
    const [first, second] = tile.series.map((name) => tile.print(signals?.[name] ?? null));
    tile.now.replaceChildren(first, ...(second === undefined ? [] : [" ", element("small", {}, "/ " + second)]));
    tile.plot.setData([times, ...tile.series.map((name) => values[name])]);
  }
}
