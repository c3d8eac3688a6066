// One square per instance on a canvas: the fill is its load, the shape its state.
const GAP = 3;
let shown = [];
let grid = { side: 14, columns: 1 };

function style(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

export function draw(canvas, instances) {
  shown = instances;
  const width = canvas.clientWidth;
  const side = instances.length > 1500 ? 8 : instances.length > 400 ? 11 : 16;
  const columns = Math.max(1, Math.floor((width + GAP) / (side + GAP)));
  const rows = Math.max(1, Math.ceil(instances.length / columns));
  const height = rows * (side + GAP) - GAP;
  const scale = devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    canvas.style.height = height + "px";
  }
  grid = { side, columns };
  const pen = canvas.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, height);
  const accent = style("--accent"), muted = style("--muted"), fill = style("--fill"), bad = style("--bad");
  pen.lineWidth = 1.5;
  instances.forEach((it, at) => {
    const x = (at % columns) * (side + GAP), y = Math.floor(at / columns) * (side + GAP);
    const open = it.state === "open";
    pen.setLineDash(it.state === "starting" ? [2, 2] : []);
    pen.strokeStyle = open || it.state === "starting" ? accent : muted;
    if (open) {
      const load = Math.min(1, it.in_flight / Math.max(1, it.limit));
      pen.fillStyle = fill;
      pen.fillRect(x, y, side, side);
      pen.fillStyle = load >= 1 ? bad : accent;
      pen.fillRect(x, y + side * (1 - load), side, side * load);
    }
    pen.strokeRect(x + 0.75, y + 0.75, side - 1.5, side - 1.5);
    if (it.state === "draining" || it.state === "closed") {
      pen.beginPath();
      pen.moveTo(x + 1, y + side - 1);
      pen.lineTo(x + side - 1, y + 1);
      pen.stroke();
    }
  });
}

export function at(event) {
  const column = Math.floor(event.offsetX / (grid.side + GAP));
  const row = Math.floor(event.offsetY / (grid.side + GAP));
  return column < grid.columns ? shown[row * grid.columns + column] : undefined;
}
