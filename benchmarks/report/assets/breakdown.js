// Means by category of prompt or by set, tinted by how good they are within the metric.
if (byId("breakdown")) {
  const kinds = Object.keys(data.breakdowns);
  const names = data.metrics.filter((metric) => kinds.some((kind) => data.breakdowns[kind][metric.name]));
  const table = byId("breakdown-table");

  function draw() {
    const metric = metricOf.get(byId("breakdown-metric").value);
    const parts = data.breakdowns[byId("breakdown-by").value][metric.name] ?? {};
    const values = Object.keys(parts);
    const means = values.flatMap((value) => Object.values(parts[value]).map(([mean]) => mean));
    const least = Math.min(...means), span = Math.max(...means) - least || 1;
    const head = make("tr", {}, make("th", { scope: "col", textContent: "method" }));
    for (const value of values) head.append(make("th", { scope: "col", textContent: value || "none" }));
    const body = make("tbody");
    for (const name of methodNames) {
      if (!values.some((value) => parts[value][name])) continue;
      const key = make("i", { className: "key", "data-method": name });
      const row = make("tr", {}, make("th", { scope: "row" }, key, name));
      for (const value of values) {
        const found = parts[value][name];
        const cell = make("td", { textContent: found ? number(metric, found[0]) : "n/a" });
        if (found) {
          const [mean, low, high, n] = found;
          cell.title = `95 % interval ${interval(metric, low, high)}, ${n} samples`;
          cell.tabIndex = 0;
          let share = (mean - least) / span;
          if (metric.direction === "lower") share = 1 - share;
          const tint = metric.direction === "none" ? 0 : Math.round(4 + 30 * share);
          cell.style.background = `color-mix(in srgb, var(--accent) ${tint}%, var(--paper))`;
        }
        row.append(cell);
      }
      body.append(row);
    }
    table.replaceChildren(make("thead", {}, head), body);
    paintKeys(table);
  }

  fillSelect(byId("breakdown-metric"), names.map((metric) => [metric.name, `${metric.title} ${metric.arrow}`]),
    names.includes(identityMetric) ? identityMetric.name : names[0]?.name);
  fillSelect(byId("breakdown-by"), kinds.map((kind) => [kind, kind === "category" ? "prompt category" : kind]), kinds[0]);
  for (const id of ["breakdown-metric", "breakdown-by"]) byId(id).addEventListener("change", draw);
  if (names.length) draw();
}
