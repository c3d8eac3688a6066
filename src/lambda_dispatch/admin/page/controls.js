// Commands: what may be done, the forms for it, and the overrides in force with the time that is left.
import { element, span } from "./format.js";

const FOR = [["15 min", 900], ["1 h", 3600], ["2 h", 7200], ["8 h", 28800], ["24 h", 86400], ["until ended", 0]];
// What ends an override, by its kind.
const END = {
  limits: (it) => [`pools/${encodeURIComponent(it.function)}/limits`, { clear: true }],
  pause: (it) => [`pools/${encodeURIComponent(it.function)}/resume`, {}],
  recycle: (it) => [`pools/${encodeURIComponent(it.function)}/recycle`, { stop: true }],
  drain: () => ["router/undrain", {}],
  "log-level": () => ["log-level", { level: "default" }],
};
const $ = (id) => document.getElementById(id);
const number = (id) => ($(id).value === "" ? undefined : Number($(id).value));
let shown = "";

async function send(path, body, reason) {
  const token = $("token").value.trim();
  const headers = { "content-type": "application/json" };
  if (token) headers.authorization = "Bearer " + token;
  say("busy", "sent…");
  try {
    const answer = await fetch("api/v1/" + path, {
      method: "POST", headers, body: JSON.stringify({ ...body, reason, who: $("who").value.trim() || undefined }),
    });
    const text = (await answer.text()).trim();
    if (answer.status === 401) $("token").focus();
    say(answer.ok ? "ok" : "bad", answer.ok ? told(path, JSON.parse(text)) : text);
  } catch {
    say("bad", "no answer: the admin process is away; nothing is known of the command");
  }
}

const told = (path, answer) => `${path}: done` + (answer.changed ? "" : ", nothing changed") +
  (answer.taken_up ? "" : "; the scaler takes it up when it is back");

function say(level, text) {
  $("said").className = level;
  $("said").textContent = text;
}

function command(path, body = {}, { timed = false, optional = false } = {}) {
  const reason = $("reason").value.trim();
  if (!reason && !optional) {
    say("bad", "say why: the reason is shown to others for as long as it lasts");
    $("reason").focus();
    return;
  }
  const ttl = timed && Number($("for").value) ? { ttl: Number($("for").value) } : {};
  send(path, { ...body, ...ttl }, reason || undefined);
}

export function build() {
  $("for").append(...FOR.map(([name, value]) => element("option", { value }, name)));
  $("for").value = "3600";
  const pool = (last) => `pools/${encodeURIComponent($("pool").value)}/${last}`;
  const actions = {
    "set-limits": () => command(pool("limits"), { min: number("min"), max: number("max") }, { timed: true }),
    "clear-limits": () => command(pool("limits"), { clear: true }),
    pause: () => command(pool("pause"), {}, { timed: true }),
    resume: () => command(pool("resume"), {}, { optional: true }),
    recycle: () => command(pool("recycle"), { max_unavailable: number("missing") }),
    breaker: () => command(pool("breaker"), {}, { optional: true }),
    "drain-instance": () => command(`instances/${encodeURIComponent($("instance").value.trim())}/drain`, {}, { optional: true }),
    drain: () => command("router/drain", {}, { timed: true }),
    undrain: () => command("router/undrain", {}, { optional: true }),
    "log-level": () => command("log-level", { level: $("level").value }, { timed: true, optional: true }),
    reload: () => command("reload", {}, { optional: true }),
  };
  for (const [name, act] of Object.entries(actions)) $("do-" + name).addEventListener("click", act);
  $("controls").addEventListener("submit", (event) => event.preventDefault());
}

// A row of the instances' table or a square of their map was chosen.
export function choose(id) {
  $("instance").value = id;
  $("controls-card").open = true;
}

export function update(state) {
  const names = Object.values(state.pools).sort((a, b) => a.pool - b.pool).map((pool) => pool.function);
  if (names.join() !== shown) {
    const chosen = $("pool").value;
    $("pool").replaceChildren(...names.map((name) => element("option", {}, name)));
    if (names.includes(chosen)) $("pool").value = chosen;
    shown = names.join();
  }
  $("controls").hidden = state.control === "off";
  $("off").hidden = state.control !== "off";
  $("token-row").hidden = state.control !== "token";
  overrides(state);
}

function overrides(state) {
  const list = state.overrides ?? [];
  const key = JSON.stringify(list) + state.control;
  if ($("overrides").dataset.key !== key) {
    $("overrides").dataset.key = key;
    $("overrides").replaceChildren(...list.map((it) => {
      const chip = element("li", {}, element("b", {}, it.says), it.function ? ` ${it.function}` : "",
        element("span", { class: "left", "data-until": it.until_ms ?? "" }), ` ${it.who}: ${it.reason} `);
      if (state.control !== "off") {
        const end = element("button", { type: "button" }, "End");
        end.addEventListener("click", () => send(...END[it.kind](it), "ended on the page"));
        chip.append(end);
      }
      return chip;
    }));
  }
  for (const left of $("overrides").querySelectorAll(".left")) {
    const until = Number(left.dataset.until);
    left.textContent = until ? ` ${span((until - state.taken_ms) / 1000)} left · ` : " until ended · ";
  }
}
