// Numbers as people read them. No value is a dash, never 0.
export const NONE = "–";

export function count(value) {
  if (value === null || value === undefined) return NONE;
  if (value >= 1e6) return (value / 1e6).toFixed(1) + "M";
  if (value >= 1e5) return (value / 1e3).toFixed(0) + "k";
  return value >= 100 || Number.isInteger(value) ? Math.round(value).toLocaleString("en") : value.toFixed(1);
}

export function ms(value) {
  if (value === null || value === undefined) return NONE;
  if (value === 0) return "0 ms";
  if (value < 1) return value < 0.01 ? "< 0.01 ms" : value.toFixed(2) + " ms";
  if (value < 1000) return (value < 10 ? value.toFixed(1) : value.toFixed(0)) + " ms";
  return (value / 1000).toFixed(value < 10000 ? 1 : 0) + " s";
}

export function span(seconds) {
  if (seconds === null || seconds === undefined) return NONE;
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return whole + " s";
  const two = (n) => String(n).padStart(2, "0");
  if (whole < 3600) return Math.floor(whole / 60) + "m" + two(whole % 60) + "s";
  if (whole < 86400) return Math.floor(whole / 3600) + "h" + two(Math.floor((whole % 3600) / 60)) + "m";
  return Math.floor(whole / 86400) + "d" + two(Math.floor((whole % 86400) / 3600)) + "h";
}

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// columns: [heading, cell(row), numeric?]. Cells that did not change are left alone, so that a selection stays.
export function table(target, columns, rows) {
  if (!target.tHead) {
    const heads = columns.map(([name, , n]) => element("th", { scope: "col", ...(n ? { class: "n" } : {}) }, name));
    target.append(element("thead", {}, element("tr", {}, ...heads)), element("tbody"));
  }
  const body = target.tBodies[0];
  while (body.rows.length > rows.length) body.deleteRow(-1);
  while (body.rows.length < rows.length) {
    body.append(element("tr", {}, ...columns.map(([, , n]) => element("td", n ? { class: "n" } : {}))));
  }
  rows.forEach((row, at) => {
    columns.forEach(([, cell], column) => {
      const text = String(cell(row));
      const td = body.rows[at].cells[column];
      if (td.textContent !== text) td.textContent = text;
    });
  });
}
