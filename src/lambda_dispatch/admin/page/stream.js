// The state of the router, kept up to date by the event stream: a snapshot, then JSON merge patches (RFC 7386).
export function merge(target, patch) {
  if (patch === null || typeof patch !== "object" || Array.isArray(patch)) return patch;
  const result = target !== null && typeof target === "object" && !Array.isArray(target) ? target : {};
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) delete result[name];
    else result[name] = merge(result[name], value);
  }
  return result;
}

export function follow(changed) {
  let state = null;
  const source = new EventSource("api/v1/stream");
  source.addEventListener("snapshot", (event) => changed((state = JSON.parse(event.data))));
  source.addEventListener("delta", (event) => {
    if (state) changed((state = merge(state, JSON.parse(event.data))));
  });
  // EventSource connects again by itself, with Last-Event-ID; a refused stream does not, so ask again.
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) setTimeout(() => follow(changed), 2000);
  });
}
