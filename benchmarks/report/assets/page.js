// What every part uses: the data, elements made safely (text is text, never markup), colours, the theme.
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const metricOf = new Map(data.metrics.map((metric) => [metric.name, metric]));
// What a reader wants to see first: of pictures of one person, or else of several.
const identityMetric = metricOf.get("id_sim") ?? metricOf.get("id_people");
const methodNames = data.methods.map((method) => method.name);

function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && name !== "style") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

function fillSelect(select, options, chosen) {
  select.replaceChildren(
    ...options.map(([value, label]) => {
      const option = make("option", { value, textContent: label });
      option.defaultSelected = value === chosen;
      return option;
    }),
  );
}

function number(metric, value, signed = false) {
  if (value === null || value === undefined) return "n/a";
  const text = Math.abs(value).toFixed(metric.places);
  const sign = value < 0 && Number(text) !== 0 ? "−" : signed ? (Number(text) === 0 ? "±" : "+") : "";
  return sign + text;
}

const interval = (metric, low, high) =>
  low === null ? "no interval" : `${number(metric, low)} to ${number(metric, high)}`;

// Okabe and Ito's palette without its yellow, in an order that keeps neighbours apart; shapes repeat it.
const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#b8860b", "#8a63d2", "#7a4a21", "#4d9078"];
const bound = data.methods.filter((method) => !method.free).map((method) => method.name);
const colourOf = (name) => (bound.includes(name) ? COLOURS[bound.indexOf(name) % COLOURS.length] : "#8a8f99");

function paintKeys(root) {
  for (const key of root.querySelectorAll(".key[data-method]")) key.style.background = colourOf(key.dataset.method);
}
paintKeys(document);

const THEMES = ["auto", "light", "dark"];
let theme = 0;
byId("theme").addEventListener("click", () => {
  theme = (theme + 1) % THEMES.length;
  const name = THEMES[theme];
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  byId("theme").textContent = `${["◐", "○", "●"][theme]} ${name}`;
  byId("theme").setAttribute("aria-label", `Colour scheme: ${name === "auto" ? "automatic" : name}`);
});
