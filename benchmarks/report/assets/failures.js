// Every sample that is not ok, by what happened to it.
if (byId("failure-gallery")) {
  const byStatus = new Map();
  for (const index of data.failures) {
    const status = data.samples[index].status;
    byStatus.set(status, [...(byStatus.get(status) ?? []), index]);
  }
  for (const [status, list] of byStatus) {
    const gallery = make("div", { className: "gallery" });
    list.forEach((index, place) => {
      const sample = data.samples[index];
      const button = shot(index, list, place, null);
      button.append(make("strong", { textContent: sample.identity ?? "nobody" }), make("span", { className: "why", textContent: sample.detail || sample.prompt }));
      gallery.append(button);
    });
    const title = make("h3", { textContent: `${STATUS_TEXT[status] ?? status} ` }, make("span", { className: "tally", textContent: String(list.length) }));
    byId("failure-gallery").append(make("div", { className: "failures-of" }, title, gallery));
  }
}
