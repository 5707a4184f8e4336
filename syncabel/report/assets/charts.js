// Every score is drawn on the line from 0 to 1, so that lengths can be compared across the whole page.

const percent = (x) => `${(100 * Math.min(1, Math.max(0, x))).toFixed(2)}%`;

function track(value, ci, { fill: filled = false, mean = null } = {}) {
  if (value === null || value === undefined) return h("span", { class: "track", "aria-hidden": "true" });
  return h("span", { class: "track", "aria-hidden": "true" },
    filled ? h("i", { class: "fill", style: { width: percent(value) } }) : null,
    mean === null ? null : h("i", { class: "mean", style: { left: percent(mean) } }),
    ci ? h("i", { class: "span", style: { left: percent(ci[0]), width: percent(ci[1] - ci[0]) } }) : null,
    h("i", { class: "dot", style: { left: percent(value) } }));
}

const axis = () => h("div", { class: "axis", "aria-hidden": "true" }, [0, 0.5, 1].map((x) => h("span", { style: { left: percent(x) } }, String(x))));

function stack(parts, slim) {
  const label = parts.filter((part) => part.share > 0).map((part) => `${words(part.name)} ${score(part.share)}`).join(", ");
  return h("div", { class: slim ? "stack slim" : "stack", role: "img", "aria-label": label },
    parts.filter((part) => part.share > 0).map((part) =>
      h("i", { title: `${words(part.name)}: ${score(part.share)}`, style: { width: percent(part.share), background: `var(--c-${part.name}, var(--c-other))` } })));
}

// A square of two scores: names of the axes, a grid at the quarters, whatever `draw` puts inside.
const PLOT = { left: 60, top: 12, side: 340, bottom: 44 };
const X = (x) => PLOT.left + x * PLOT.side;
const Y = (y) => PLOT.top + (1 - y) * PLOT.side * 0.82;

function plot(title, description, across, up, draw) {
  const ticks = [0, 0.25, 0.5, 0.75, 1];
  const floor = Y(0);
  return s("svg", { class: "chart", viewBox: `0 0 ${PLOT.left + PLOT.side + 14} ${floor + PLOT.bottom}`, role: "img", "aria-label": `${title}. ${description}` },
    ticks.map((t) => [
      s("line", { class: t ? "grid" : "base", x1: X(0), x2: X(1), y1: Y(t), y2: Y(t) }),
      s("line", { class: "grid", x1: X(t), x2: X(t), y1: Y(0), y2: Y(1) }),
      s("text", { x: X(t), y: floor + 17, "text-anchor": "middle" }, String(t)),
      s("text", { x: X(0) - 8, y: Y(t) + 4, "text-anchor": "end" }, String(t)),
    ]),
    s("text", { class: "t", x: X(0.5), y: floor + 37, "text-anchor": "middle" }, across),
    s("text", { class: "t", x: 0, y: 0, transform: `translate(11 ${Y(0.5)}) rotate(-90)`, "text-anchor": "middle" }, up),
    draw());
}

function reliability(confidence) {
  const bins = confidence.bins.filter((bin) => bin.n > 0);
  const most = Math.max(...bins.map((bin) => bin.n));
  return plot("Reliability", `${bins.length} bins of confidence; the dashed diagonal is perfect calibration`, "confidence", "share right", () => [
    bins.map((bin) => s("rect", { class: "bar", x: X(bin.low) + 1, width: Math.max(1, X(bin.high) - X(bin.low) - 2), y: Y((0.16 * bin.n) / most), height: Y(0) - Y((0.16 * bin.n) / most) },
      s("title", {}, `${plural(bin.n, "mention")} of confidence ${score(bin.low)} to ${score(bin.high)}`))),
    s("line", { class: "ideal", x1: X(0), y1: Y(0), x2: X(1), y2: Y(1) }),
    s("path", { class: "line", d: pathOf(bins.map((bin) => [bin.confidence, bin.accuracy])) }),
    bins.map((bin) => [
      bin.ci95 ? s("line", { class: "whisker", x1: X(bin.confidence), x2: X(bin.confidence), y1: Y(bin.ci95[0]), y2: Y(bin.ci95[1]) }) : null,
      s("circle", { class: "point", cx: X(bin.confidence), cy: Y(bin.accuracy), r: 4.5 },
        s("title", {}, `confidence ${score(bin.confidence)}, right ${score(bin.accuracy)}, n = ${count(bin.n)}`)),
    ]),
  ]);
}

function riskCoverage(confidence, risk) {
  return plot("Risk and coverage", "the share wrong among the mentions answered when only the most confident are", "coverage: share answered", "risk: share wrong among them", () => [
    s("line", { class: "ideal", x1: X(0), x2: X(1), y1: Y(risk), y2: Y(risk) }),
    s("path", { class: "line", d: pathOf(confidence.curve) }),
  ]);
}

const pathOf = (points) => points.map(([x, y], i) => `${i ? "L" : "M"}${X(x).toFixed(1)} ${Y(y).toFixed(1)}`).join("");
