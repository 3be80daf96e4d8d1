// One sample, large, with everything known about it; the arrows walk along the list it was opened from.
const detail = byId("detail");
let opened = { list: [], place: 0 };

function image(index, alternative) {
  if (index < 0) return make("span", { className: "absent", textContent: "no picture" });
  return make("img", { src: data.pictures[index], alt: alternative, loading: "lazy", decoding: "async" });
}

function openDetail(list, place) {
  opened = { list, place };
  const sample = data.samples[list[place]];
  byId("detail-title").textContent = sample.prompt;
  const pair = make("div", { className: "pair" });
  const show = (index, label) =>
    pair.append(make("figure", {}, image(index, label), make("figcaption", { textContent: label })));
  for (const [name, reference] of sample.people) show(reference, `reference: ${name}`);
  const plain = data.samples[sample.baseline];
  if (plain) show(plain.picture, `${plain.method}: same noise, without the person`);
  show(sample.picture, sample.method);
  const values = make("dl", { className: "values" });
  for (const metric of data.metrics) {
    if (metric.column < 0) continue;
    const value = sample.values[metric.column], note = sample.notes[metric.name];
    const shown = make("dd", { textContent: number(metric, value) });
    if (value === null && note !== undefined) {
      shown.className = "why";
      shown.textContent = data.notes[note];
    }
    values.append(make("div", {}, make("dt", { textContent: `${metric.title} ${metric.arrow}` }), shown));
  }
  const facts = [sample.identity, sample.category, `prompt ${sample.prompt_id}`, `seed ${sample.seed}`];
  const made = make("p", { className: "made", textContent: facts.filter((fact) => fact).join(" · ") });
  const status = make("p", {}, `${sample.method}: `, make("b", { textContent: sample.status }));
  if (sample.detail) status.append(`, ${sample.detail}`);
  const file = sample.file ? make("p", { className: "made" }, "file ", make("code", { textContent: sample.file })) : null;
  byId("detail-body").replaceChildren(pair, status, made, values);
  if (file) byId("detail-body").append(file);
  byId("detail-previous").disabled = place === 0;
  byId("detail-next").disabled = place === list.length - 1;
  if (!detail.open) detail.showModal();
}

function step(by) {
  const place = opened.place + by;
  if (place >= 0 && place < opened.list.length) openDetail(opened.list, place);
}
byId("detail-previous").addEventListener("click", () => step(-1));
byId("detail-next").addEventListener("click", () => step(1));
byId("detail-close").addEventListener("click", () => detail.close());
detail.addEventListener("click", (event) => event.target === detail && detail.close());
detail.addEventListener("keydown", (event) => {
  if (event.key === "ArrowLeft") step(-1);
  if (event.key === "ArrowRight") step(1);
});
