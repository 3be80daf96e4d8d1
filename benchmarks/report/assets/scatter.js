// Two metrics against each other, better always up and to the right, with the Pareto front.
{
  const LEFT = 52, TOP = 26, BOTTOM = 56;
  let WIDTH = 0, HEIGHT = 0, RIGHT = 0; // of the place there is, so that text keeps its size on a phone
  const SHAPES = [
    "M-6 0A6 6 0 1 0 6 0A6 6 0 1 0-6 0Z", "M-5.5-5.5H5.5V5.5H-5.5Z", "M0-7L6.5 5H-6.5Z", "M0-7.5L6.5 0L0 7.5L-6.5 0Z",
    "M0 7L6.5-5H-6.5Z", "M-2-6.5H2V-2H6.5V2H2V6.5H-2V2H-6.5V-2H-2Z",
  ];
  const choices = data.metrics.filter((metric) => metric.direction !== "none");

  function svg(tag, attributes, ...children) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }

  function scale(metric, points, start, end) {
    const ends = points.flatMap(([mean, low, high]) => [mean, low ?? mean, high ?? mean]);
    let least = Math.min(...ends), most = Math.max(...ends);
    const room = (most - least || Math.abs(most) || 1) * 0.12;
    least -= room;
    most += room;
    const flip = metric.direction === "lower";
    const place = (value) => {
      const share = (value - least) / (most - least);
      return start + (end - start) * (flip ? 1 - share : share);
    };
    const rough = (most - least) / (Math.abs(end - start) < 400 ? 4 : 6), power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
    const ticks = [];
    for (let tick = Math.ceil(least / step); tick * step <= most; tick++) ticks.push(tick * step);
    const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    return { place, ticks, digits };
  }

  // A label goes where it covers no other label and no marker: right, left, above, below.
  function placeLabel(x, y, name, taken) {
    const width = 7.4 * name.length;
    const candidates = [[12, 4, "start"], [-12, 4, "end"], [0, -14, "middle"], [0, 24, "middle"], [12, 20, "start"], [12, -12, "start"]];
    const box = ([dx, dy, anchor]) => {
      const left = x + dx - (anchor === "start" ? 0 : anchor === "end" ? width : width / 2);
      return [left, y + dy - 12, left + width, y + dy + 4];
    };
    const clear = ([l, t, r, b]) =>
      l > LEFT && r < WIDTH && t > 0 && taken.every(([ol, ot, or, ob]) => r < ol || l > or || b < ot || t > ob);
    const best = candidates.find((candidate) => clear(box(candidate))) ?? candidates[0];
    taken.push(box(best));
    return best;
  }

  function draw() {
    const across = metricOf.get(byId("scatter-x").value), up = metricOf.get(byId("scatter-y").value);
    const points = [], lines = [];
    for (const name of methodNames) {
      const x = data.scores[across.name]?.[name], y = data.scores[up.name]?.[name];
      const hasX = x && x[0] !== null, hasY = y && y[0] !== null;
      if (hasX && hasY) points.push({ name, x, y });
      else if (hasX || hasY) lines.push({ name, x: hasX ? x : null, y: hasY ? y : null });
    }
    const title = `${up.title} against ${across.title}`;
    WIDTH = Math.max(300, Math.min(900, byId("scatter").clientWidth));
    HEIGHT = WIDTH < 560 ? 360 : 470;
    RIGHT = WIDTH < 560 ? 12 : 90;
    const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, width: WIDTH, height: HEIGHT, role: "img", "aria-label": title });
    byId("scatter").replaceChildren(picture);
    const xs = [...points.map((p) => p.x), ...lines.filter((l) => l.x).map((l) => l.x)];
    const ys = [...points.map((p) => p.y), ...lines.filter((l) => l.y).map((l) => l.y)];
    if (!points.length) {
      const text = svg("text", { x: WIDTH / 2, y: HEIGHT / 2, "text-anchor": "middle", class: "empty" });
      text.textContent = "No method has a value on both axes.";
      picture.append(text);
      return;
    }
    const h = scale(across, xs, LEFT, WIDTH - RIGHT), v = scale(up, ys, HEIGHT - BOTTOM, TOP);
    const write = (x, y, text, attributes) => {
      const element = svg("text", { x, y, ...attributes });
      element.textContent = text;
      picture.append(element);
    };
    for (const tick of h.ticks) {
      picture.append(svg("path", { d: `M${h.place(tick)} ${TOP}V${HEIGHT - BOTTOM}`, class: "gridline" }));
      write(h.place(tick), HEIGHT - BOTTOM + 18, tick.toFixed(h.digits), { "text-anchor": "middle" });
    }
    for (const tick of v.ticks) {
      picture.append(svg("path", { d: `M${LEFT} ${v.place(tick)}H${WIDTH - RIGHT}`, class: "gridline" }));
      write(LEFT - 10, v.place(tick) + 4, tick.toFixed(v.digits), { "text-anchor": "end" });
    }
    write(WIDTH - RIGHT, HEIGHT - 14, `${across.title} ${across.arrow} · better is right`, { "text-anchor": "end", class: "axis" });
    write(0, 12, `${up.title} ${up.arrow} · better is up`, { class: "axis" });

    const good = (p, q) => {
      const dx = (across.direction === "lower" ? -1 : 1) * (p.x[0] - q.x[0]);
      const dy = (up.direction === "lower" ? -1 : 1) * (p.y[0] - q.y[0]);
      return dx >= 0 && dy >= 0 && (dx > 0 || dy > 0);
    };
    const front = points.filter((p) => !points.some((q) => good(q, p)));
    front.sort((a, b) => h.place(a.x[0]) - h.place(b.x[0]));
    if (front.length > 1) {
      const path = front.map((p, i) => {
        const x = h.place(p.x[0]), y = v.place(p.y[0]);
        return i ? `H${x}V${y}` : `M${x} ${y}`;
      });
      picture.append(svg("path", { d: path.join(""), class: "front" }));
    }
    const taken = points.map((p) => {
      const x = h.place(p.x[0]), y = v.place(p.y[0]);
      return [x - 7, y - 7, x + 7, y + 7];
    });
    for (const line of lines) {
      const at = line.x ? h.place(line.x[0]) : v.place(line.y[0]);
      const d = line.x ? `M${at} ${TOP}V${HEIGHT - BOTTOM}` : `M${LEFT} ${at}H${WIDTH - RIGHT}`;
      picture.append(svg("path", { d, class: "free" }));
      if (line.x) write(at - 6, TOP + 12, line.name, { "text-anchor": "end", class: "label" });
      else write(WIDTH - RIGHT, at - 6, line.name, { "text-anchor": "end", class: "label" });
    }
    for (const p of points) {
      const x = h.place(p.x[0]), y = v.place(p.y[0]), colour = colourOf(p.name);
      const shape = SHAPES[Math.max(bound.indexOf(p.name), 0) % SHAPES.length];
      if (p.x[1] !== null)
        picture.append(svg("path", { d: `M${h.place(p.x[1])} ${y}H${h.place(p.x[2])}`, class: "error", stroke: colour }));
      if (p.y[1] !== null)
        picture.append(svg("path", { d: `M${x} ${v.place(p.y[1])}V${v.place(p.y[2])}`, class: "error", stroke: colour }));
      const tip = svg("title", {});
      tip.textContent =
        `${p.name}: ${up.title} ${number(up, p.y[0])} (${interval(up, p.y[1], p.y[2])}), ` +
        `${across.title} ${number(across, p.x[0])} (${interval(across, p.x[1], p.x[2])})`;
      picture.append(svg("path", { d: shape, transform: `translate(${x} ${y})`, fill: colour, class: "point" }, tip));
    }
    for (const p of points) {
      const x = h.place(p.x[0]), y = v.place(p.y[0]);
      const [dx, dy, anchor] = placeLabel(x, y, p.name, taken);
      write(x + dx, y + dy, p.name, { "text-anchor": anchor, class: "label" });
    }
  }

  if (choices.length) {
    const names = choices.map((metric) => [metric.name, `${metric.title} ${metric.arrow}`]);
    const has = (name) => choices.some((metric) => metric.name === name);
    fillSelect(byId("scatter-y"), names, identityMetric?.name ?? names[0][0]);
    fillSelect(byId("scatter-x"), names, has("clip_t") ? "clip_t" : names[names.length > 1 ? 1 : 0][0]);
    for (const id of ["scatter-x", "scatter-y"]) byId(id).addEventListener("change", draw);
    let drawn = 0;
    new ResizeObserver(() => {
      if (byId("scatter").clientWidth === drawn) return;
      drawn = byId("scatter").clientWidth;
      draw();
    }).observe(byId("scatter"));
    draw();
  } else byId("tradeoff").hidden = true;
}
