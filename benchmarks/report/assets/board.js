// The leaderboard: groups of columns, sorting, differences from the chosen baseline.
{
  const board = byId("board");
  const tabs = [...document.querySelectorAll(".tabs button")];

  function showGroup(title) {
    for (const tab of tabs) tab.setAttribute("aria-pressed", String(tab.dataset.group === title));
    for (const cell of board.querySelectorAll("[data-group]")) cell.hidden = cell.dataset.group !== title;
  }
  for (const tab of tabs) tab.addEventListener("click", () => showGroup(tab.dataset.group));
  if (tabs.length) showGroup(tabs[0].dataset.group);
  if (tabs.length < 2) tabs.forEach((tab) => (tab.hidden = true));

  function showDeltas() {
    const baseline = byId("baseline").value;
    for (const row of board.tBodies[0].rows) {
      for (const target of row.querySelectorAll(".delta")) {
        const metric = metricOf.get(target.dataset.metric);
        const found = data.deltas[metric.name]?.[baseline]?.[row.dataset.method];
        target.className = "delta";
        const compared = data.deltas[metric.name]?.[baseline] !== undefined;
        target.textContent = compared && row.dataset.method === baseline ? "baseline" : "";
        target.title = "";
        if (!found || found[0] === null) continue;
        const [mean, low, high, p, n] = found;
        const significant = p !== null && p < 0.05;
        const better = metric.direction === "higher" ? mean > 0 : mean < 0;
        const ranked = metric.direction !== "none";
        if (significant && ranked) target.classList.add(better ? "better" : "worse");
        const mark = significant ? (ranked ? (better ? "▲ " : "▼ ") : "≠ ") : "";
        target.textContent = mark + number(metric, mean, true);
        const chance = p === null ? "no p-value" : p < 0.001 ? "p < 0.001" : `p = ${p.toFixed(3)}`;
        target.title =
          `${row.dataset.method} minus ${baseline}: ${number(metric, mean, true)}, ` +
          `95 % interval ${interval(metric, low, high)}, ${chance}, ${n} pairs`;
      }
    }
  }
  byId("baseline").addEventListener("change", showDeltas);
  showDeltas();

  // The first click puts the best on top; methods without a value stay at the bottom.
  function valueOf(row, key) {
    if (key === "name") return row.dataset.method;
    const value = row.querySelector(`td[data-metric="${CSS.escape(key)}"]`)?.dataset.value;
    return value === undefined ? null : Number(value);
  }
  for (const button of board.querySelectorAll("thead button")) {
    button.addEventListener("click", () => {
      const head = button.closest("th");
      const key = button.dataset.sort;
      const first = metricOf.get(key)?.direction === "higher" ? "descending" : "ascending";
      const other = first === "ascending" ? "descending" : "ascending";
      const order = head.ariaSort === first ? other : first;
      for (const cell of board.tHead.rows[0].cells) cell.ariaSort = "none";
      head.ariaSort = order;
      const sign = order === "ascending" ? 1 : -1;
      const rows = [...board.tBodies[0].rows].map((row) => [valueOf(row, key), row]);
      rows.sort(([a], [b]) => {
        if (a === null || b === null) return (a === null) - (b === null);
        return sign * (typeof a === "string" ? a.localeCompare(b) : a - b);
      });
      board.tBodies[0].append(...rows.map(([, row]) => row));
    });
  }
}
