// Everything on the page is made by `h` and `s`: text becomes text nodes, never markup, whatever a corpus holds.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "style") Object.assign(node.style, value); // through the object model: the page's policy allows no style attributes
    else if (name === "vars") for (const [key, one] of Object.entries(value)) node.style.setProperty(key, one);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const s = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

const DASH = "–";
const count = (n) => n.toLocaleString("en");
const score = (x) => (typeof x === "number" ? x.toFixed(3) : DASH);
const range = (pair) => (pair ? `${score(pair[0])}${DASH}${score(pair[1])}` : DASH);
const signed = (x) => (x === null || x === undefined ? DASH : `${x < 0 ? "−" : x > 0 ? "+" : "±"}${Math.abs(x).toFixed(3)}`);
const signedRange = (pair) => (pair ? `${signed(pair[0])} to ${signed(pair[1])}` : DASH);
const pValue = (p) => (p === null || p === undefined ? DASH : p < 0.001 ? "< 0.001" : p.toFixed(3));
const pEquals = (p) => (p < 0.001 ? "p < 0.001" : `p = ${p.toFixed(3)}`);
const plural = (n, one, many) => `${count(n)} ${n === 1 ? one : many || one + "s"}`;
const words = (name) => name.replaceAll("_", " ").replace(/\bkb\b/, "KB");

// A probability may be far below what three decimals show.
const chance = (p) => (p === null || p === undefined ? DASH : p >= 0.0005 || p === 0 ? p.toFixed(3) : p.toExponential(0).replace(/e-(\d+)/, (_, power) => ` × 10⁻${Array.from(power, (digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit]).join("")}`));

function table(attributes, head, rows, caption) {
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": attributes.label },
    h("table", { class: attributes.class }, caption ? h("caption", {}, caption) : null,
      h("thead", {}, h("tr", {}, head.map((cell) => (cell instanceof Node ? cell : h("th", { scope: "col" }, cell))))),
      h("tbody", {}, rows)));
}

const number = (text, attributes) => h("td", { ...attributes, class: `n ${(attributes && attributes.class) || ""}`.trim() }, text);
const numberHead = (text, name) => h("th", { scope: "col", class: `n ${name || ""}`.trim() }, text);
const missing = (text) => h("p", { class: "missing" }, text);

function facts(pairs) {
  const shown = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return h("dl", { class: "facts" }, shown.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}
