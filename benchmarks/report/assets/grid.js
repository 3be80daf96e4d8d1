// Reference, plain backbone and every method, row by row; rows appear as the reader comes near them.
const STATUS_TEXT = {
  no_face_ref: "no face in reference", no_face_gen: "no face", multi_face: "several faces",
  non_finite: "not finite", degenerate: "degenerate", error: "error",
  nobody_named: "nobody named", not_confined: "cannot confine",
};

function shot(index, list, place, metric) {
  const sample = data.samples[index];
  const frame = make("span", { className: "frame" }, image(sample.picture, `${sample.method}: ${sample.prompt}`));
  if (sample.status !== "ok")
    frame.append(make("span", { className: "badge", textContent: STATUS_TEXT[sample.status] ?? sample.status }));
  const key = make("i", { className: "key", "data-method": sample.method });
  const caption = make("span", { className: "caption" }, make("span", { title: sample.method }, key, sample.method));
  if (metric) {
    const value = sample.values[metric.column];
    caption.append(make("span", { className: "value", textContent: value === null ? "–" : number(metric, value) }));
  }
  const button = make("button", { type: "button", className: "shot" }, frame, caption);
  button.addEventListener("click", () => openDetail(list, place));
  paintKeys(button);
  return button;
}

{
  const STEP = 12;
  const grid = byId("grid");
  const measured = data.metrics.filter((metric) => metric.column >= 0);
  let order = [], shown = 0;

  const every = (values, label) => [["", label], ...[...new Set(values)].sort().map((value) => [value, value || "none"])];
  fillSelect(byId("filter-identity"), every(data.rows.map((row) => row.identity), "everybody"), "");
  fillSelect(byId("filter-category"), every(data.rows.map((row) => row.category ?? ""), "all"), "");
  fillSelect(byId("filter-status"), [["", "all"], ["failed", "not ok"],
    ...[...new Set(data.samples.map((sample) => sample.status))].sort().map((status) => [status, status])], "");
  fillSelect(byId("sort-metric"), [["", "order of the suite"], ...measured.map((m) => [m.name, `${m.title} ${m.arrow}`])], "");
  const last = bound.length ? bound[bound.length - 1] : methodNames[0];
  fillSelect(byId("sort-method"), [["", "any method"], ...methodNames.map((name) => [name, name])],
    bound.includes("spatialid") ? "spatialid" : last);

  const chosenMetric = () => metricOf.get(byId("sort-metric").value);

  // The value by which a row is sorted: of one method, or the most telling one of all.
  function key(row, metric, method, sign) {
    const cells = method === "" ? row.cells : [row.cells[methodNames.indexOf(method)]];
    const values = cells.filter((cell) => cell >= 0).map((cell) => data.samples[cell].values[metric.column]);
    const present = values.filter((value) => value !== null).map((value) => sign * value);
    return present.length ? Math.min(...present) : null;
  }

  function select() {
    const identity = byId("filter-identity").value, category = byId("filter-category").value;
    const status = byId("filter-status").value, text = byId("filter-prompt").value.trim().toLowerCase();
    const fits = (cell) => cell >= 0 && (status === "failed" ? data.samples[cell].status !== "ok" : data.samples[cell].status === status);
    order = data.rows.filter((row) =>
      (!identity || row.identity === identity) && (!category || (row.category ?? "") === category) &&
      (!text || row.prompt.toLowerCase().includes(text)) && (!status || row.cells.some(fits)));
    const metric = chosenMetric();
    if (metric) {
      const worst = byId("sort-order").value === "worst";
      const sign = (metric.direction === "lower" ? -1 : 1) * (worst ? 1 : -1);
      const method = byId("sort-method").value;
      const keyed = order.map((row) => [key(row, metric, method, sign), row]);
      keyed.sort(([a], [b]) => (a === null || b === null ? (a === null) - (b === null) : a - b));
      order = keyed.map(([, row]) => row);
    }
    const all = data.rows_of > data.rows.length ? ` (${data.rows.length} of the run's ${data.rows_of} rows are in this file, evenly chosen)` : "";
    byId("count").textContent = `${order.length} ${order.length === 1 ? "row" : "rows"}${all}`;
    shown = 0;
    grid.replaceChildren();
    append();
  }

  function append() {
    const metric = chosenMetric() ?? identityMetric ?? measured[0];
    for (const row of order.slice(shown, shown + STEP)) grid.append(drawRow(row, metric?.column >= 0 ? metric : null));
    shown = Math.min(shown + STEP, order.length);
    byId("more").hidden = shown >= order.length;
  }

  function drawRow(row, metric) {
    const list = row.cells.filter((cell) => cell >= 0);
    const strip = make("div", { className: "strip" });
    for (const [name, reference] of row.people) {
      const text = row.people.length > 1 ? `reference: ${name}` : "reference";
      const caption = make("span", { className: "caption" }, make("span", { textContent: text }));
      strip.append(make("div", { className: "shot" }, make("span", { className: "frame" }, image(reference, `reference: ${name}`)), caption));
    }
    list.forEach((cell, place) => strip.append(shot(cell, list, place, metric)));
    const where = [row.identity, row.category, `seed ${row.seed}`].filter((part) => part).join(" · ");
    const head = make("div", {}, make("h3", { textContent: row.prompt }), make("p", { className: "where", textContent: where }));
    if (metric) head.append(make("p", { className: "where", textContent: `figures: ${metric.title} ${metric.arrow}` }));
    return make("article", { className: "row" }, head, strip);
  }

  for (const id of ["filter-identity", "filter-category", "filter-status", "sort-metric", "sort-method", "sort-order"])
    byId(id).addEventListener("change", select);
  byId("filter-prompt").addEventListener("input", select);
  byId("filters").addEventListener("reset", () => setTimeout(select));
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("more").firstElementChild.addEventListener("click", append);
  new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && append(), { rootMargin: "600px" })
    .observe(byId("more"));

  grid.addEventListener("keydown", (event) => {
    const here = event.target.closest("button.shot");
    if (!here || !event.key.startsWith("Arrow")) return;
    const row = here.closest(".row"), place = [...row.querySelectorAll("button.shot")].indexOf(here);
    const rowTo = { ArrowUp: row.previousElementSibling, ArrowDown: row.nextElementSibling }[event.key] ?? row;
    const shots = rowTo.querySelectorAll("button.shot");
    const to = shots[Math.min(place + ({ ArrowLeft: -1, ArrowRight: 1 }[event.key] ?? 0), shots.length - 1)];
    if (to && to !== here) {
      event.preventDefault();
      to.focus();
      to.scrollIntoView({ block: "nearest", inline: "nearest" });
    }
  });
  select();
}
