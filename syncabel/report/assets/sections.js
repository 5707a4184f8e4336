// One function a section: figures in, nodes out.  A part that was not measured says so in a line.

const CAUSE = {
  not_in_kb: "no right answer is in the knowledge base",
  filtered_by_group: "none of those in it is in the groups the search was held to",
  abstained: "nothing was answered, the answer was NIL, or what was written is no name",
  search: "a right answer was possible and is not among the candidates",
  ranking: "a right answer is among the candidates, and not first",
};
const KIND = {
  concept: "Concept in training data", string: "Mention text in training data", name: "Is the mention a shared name", group: "Annotated type",
  frequency: "Frequency of the concept in training", length: "Length of the mention", abbreviation: "Abbreviation", composite: "Simple or composite",
  occurrence: "First or later in the document", language: "Language", pair: "This text with this concept in training data",
  match: "Mention text is a name of the concept", frequent: "The 100 concepts most frequent in training", cell: "Concept and mention",
};
const METRIC = {
  set: "Recall@1, protocol set", any: "Recall@1, protocol any", "belb-strict": "Recall@1, BELB strict", "belb-lenient": "Recall@1, BELB lenient",
  syncabel: "Recall@1, SynCABEL’s rule", overlap: "Overlap of codes", jaccard: "Jaccard of codes", mrr: "MRR", precision: "Precision where answered",
  macro_group: "Macro over groups", macro_document: "Macro over documents", macro_concept: "Macro over concepts",
};
const SOURCE = { confidence: "the calibrated confidence", mass: "the concept’s probability under the model", log_prob: "the probability of the name written" };
const kindName = (kind) => KIND[kind] || words(kind.charAt(0).toUpperCase() + kind.slice(1));
const metricName = (name) => METRIC[name] || words(name.replace(/^recall_at_(\d+)$/, "Recall@$1").replace(/^([a-z])/, (c) => c.toUpperCase()));

function section(id, title, intro, ...content) {
  return h("section", { id, "aria-labelledby": `${id}-title` }, h("h2", { id: `${id}-title` }, title), intro ? h("p", { class: "intro" }, intro) : null, ...content);
}

function headline(data) {
  const first = data.systems[0];
  const others = data.systems.length > 1;
  const anyP = data.systems.some((system) => system.paired);
  const rows = data.systems.map((system) => {
    const paired = system.paired;
    return h("tr", { class: system.kind === "run" ? "run" : null },
      h("th", { scope: "row" }, system.name, system.kind === "run" ? null : h("span", { class: "soft small" }, " baseline")),
      number(withRange(score(system.facts.recall_at_1), range(system.facts.ci95))),
      h("td", { class: "plot wide-only" }, track(system.facts.recall_at_1, system.facts.ci95)),
      number(range(system.facts.ci95), { class: "soft roomy" }),
      number(count(system.facts.correct), { class: "wide-only" }),
      anyP ? [
        number(paired ? withRange(signed(paired.delta), signedRange(paired.ci95)) : DASH),
        number(paired ? signedRange(paired.ci95) : DASH, { class: "soft roomy" }),
        number(paired ? pValue(paired.p_sign_flip) : DASH, { class: "wide-only" }),
        number(paired ? pValue(paired.p_holm) : DASH),
      ] : null);
  });
  const head = ["System", numberHead("Recall@1"), h("th", { scope: "col", class: "wide-only" }, axis()), numberHead("95 % interval", "roomy"), numberHead("right", "wide-only"),
    anyP ? [numberHead("difference"), numberHead("95 % interval", "roomy"), numberHead("p", "wide-only"), numberHead("p, Holm")] : []].flat();
  const few = first.facts.documents < 30;
  return section("headline", "Systems",
    `Right on ${plural(first.facts.n, "mention")} of ${plural(first.facts.documents, "document")} under the protocol ${first.facts.protocol}. Ticks are scores, bands 95 % intervals over documents.`,
    table({ label: "Systems and baselines" }, head, rows),
    anyP ? h("p", { class: "small soft" }, `Differences: the system less ${first.name}, on the same mentions. p: sign flips of whole documents, two-sided; Holm: corrected over the rows of this table.`) : null,
    others ? null : missing("No baselines lie in this folder: syncabel evaluate --baselines puts them there."),
    few ? h("p", { class: "note warn" }, `Only ${plural(first.facts.documents, "document")}: under 30 an interval or a p over documents says little.`) : null);
}

// Where there is little room an interval stands under its figure, not in a column of its own.
const withRange = (value, interval) => [value, h("small", { class: "tight soft" }, interval)];

function metrics(run) {
  const rows = run.metrics.map((metric) => h("tr", {},
    h("th", { scope: "row" }, metricName(metric.name)), number(score(metric.value)),
    h("td", { class: "plot" }, track(metric.value, metric.ci95)), number(range(metric.ci95), { class: "soft" })));
  return table({ label: "Metrics" }, ["Metric", numberHead("score"), h("th", { scope: "col" }, axis()), numberHead("95 % interval")], rows, "All metrics");
}

function nil(run) {
  if (!run.nil.length) return null;
  const rows = run.nil.map(([name, value, ci]) => h("tr", {}, h("th", { scope: "row" }, name), number(Number.isInteger(value) ? count(value) : score(value)), number(ci ? range(ci) : "", { class: "soft" })));
  return table({ label: "Beside the denominator" }, ["Beside the denominator", numberHead(""), numberHead("95 % interval")], rows);
}

function cells(run, show) {
  if (!run.cells) return missing("Concepts and mention texts were not compared with training documents: evaluate with --train to fill these cells.");
  const at = new Map(run.cells.cells.map((cell) => [`${cell.row} ${cell.column}`, cell]));
  const rows = run.cells.rows.map((row) => h("tr", {}, h("th", { scope: "row" }, `concept: ${words(row)}`), run.cells.columns.map((column) => {
    const cell = at.get(`${row} ${column}`);
    if (!cell || !cell.n) return h("td", { class: "soft" }, h("b", {}, DASH), h("small", {}, "n = 0"));
    return h("td", { class: "tinted", vars: { "--a": (0.05 + 0.4 * cell.value).toFixed(3) } }, h("b", {}, score(cell.value)), h("small", {}, range(cell.ci95)), h("br"),
      h("button", { class: "link small", type: "button", onclick: () => show({ strata: { concept: row, string: column }, outcome: "" }) }, `n = ${count(cell.n)}`));
  })));
  return h("div", { class: "scroll" }, h("table", { class: "cells" }, h("caption", { class: "sr" }, "Recall@1 by whether concept and mention text are in the training documents"),
    h("thead", {}, h("tr", {}, h("td", {}), run.cells.columns.map((column) => h("th", { scope: "col" }, `mention: ${words(column)}`)))), h("tbody", {}, rows)));
}

function strata(run, show) {
  if (!run.bars.length) return missing("No strata were counted.");
  return h("div", { class: "strata" }, run.bars.map(({ kind, rows }) => h("table", { class: "stratum" },
    h("caption", {}, kindName(kind)),
    h("colgroup", {}, ["label", "bar", "value", "wide-only", "many"].map((name) => h("col", { class: name }))),
    h("thead", { class: "sr" }, h("tr", {}, ["stratum", "Recall@1 between 0 and 1", "Recall@1", "95 % interval", "mentions"].map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, rows.map((row) => h("tr", {},
      h("th", { scope: "row" }, words(row.value)),
      h("td", { class: "plot" }, track(row.recall_at_1, row.ci95, { fill: true, mean: run.facts.recall_at_1 })),
      number(score(row.recall_at_1)),
      number(range(row.ci95), { class: "soft wide-only" }),
      number(row.n && kind in (run.strata || run.shared)
        ? h("button", { class: "link", type: "button", title: "Show these mentions", onclick: () => show({ strata: { [kind]: row.value }, outcome: "" }) }, `n = ${count(row.n)}`)
        : `n = ${count(row.n)}`, { class: "soft many" })))))));
}

function ledger(run, show) {
  const right = 1 - run.ledger.reduce((sum, line) => sum + line.share, 0);
  const swatch = (name) => h("i", { class: "swatch", style: { background: `var(--c-${name}, var(--c-other))` } });
  const rows = run.ledger.map((line) => h("tr", {},
    h("th", { scope: "row" }, swatch(line.cause), words(line.cause), h("span", { class: "soft small" }, ` ${CAUSE[line.cause] || ""}`)),
    number(line.n ? h("button", { class: "link", type: "button", onclick: () => show({ cause: line.cause, outcome: "wrong" }) }, count(line.n)) : "0"), number(score(line.share))));
  const missed = run.ledger.reduce((sum, line) => sum + line.n, 0);
  rows.push(h("tr", { class: "total" }, h("th", { scope: "row" }, "1 − Recall@1"), number(count(missed)), number(score(1 - right))));
  return [
    stack([{ name: "right", share: right }, ...run.ledger.map((line) => ({ name: line.cause, share: line.share }))]),
    table({ label: "Ledger of misses" }, ["First cause of the miss", numberHead("mentions"), numberHead("costs")], rows),
    h("p", { class: "small soft" }, swatch("right"), "right"),
    run.ledgers.length ? ledgers(run) : null,
  ];
}

function ledgers(run) {
  const body = h("div", {});
  const draw = (kind) => {
    const rows = run.ledgers.filter((one) => one.kind === kind).map((one) => h("tr", {}, h("th", { scope: "row" }, words(one.value)), number(count(one.n), { class: "soft" }),
      h("td", { class: "plot" }, stack([{ name: "right", share: 1 - one.causes.reduce((sum, line) => sum + line.share, 0) }, ...one.causes.map((line) => ({ name: line.cause, share: line.share }))], true)),
      number(score(one.causes.reduce((sum, line) => sum + line.share, 0)))));
    body.replaceChildren(table({ label: `Ledger by ${kindName(kind)}` }, ["Stratum", numberHead("n"), "right, and what misses cost", numberHead("costs")], rows));
  };
  const kinds = [...new Set(run.ledgers.map((one) => one.kind))];
  draw(kinds[0]);
  return h("details", {}, h("summary", {}, "The ledger in every stratum"),
    h("label", { class: "field" }, h("span", {}, "Stratum"), h("select", { onchange: (event) => draw(event.target.value) }, kinds.map((kind) => h("option", { value: kind }, kindName(kind))))), body);
}

function confidence(run) {
  const given = run.confidence;
  if (!given) return missing("No prediction carries a confidence in [0, 1], so there is nothing to plot: syncabel calibrate fits one.");
  const bins = given.bins.filter((bin) => bin.n).map((bin) => h("tr", {}, h("th", { scope: "row" }, range([bin.low, bin.high])), number(count(bin.n)), number(score(bin.confidence)), number(score(bin.accuracy)), number(range(bin.ci95), { class: "soft" })));
  const risk = given.curve.length ? given.curve[given.curve.length - 1][1] : null;
  return [
    h("div", { class: "columns two" },
      given.bins.some((bin) => bin.n) ? h("figure", {}, h("h3", {}, "Reliability"), reliability(given),
        h("figcaption", {}, "Share right against stated confidence, with 95 % intervals where they were measured; bars show how many mentions a bin has. Points under the diagonal are over-confident."),
        h("details", {}, h("summary", {}, "As a table"), table({ label: "Reliability bins" }, ["Confidence", numberHead("n"), numberHead("mean"), numberHead("right"), numberHead("95 % interval")], bins))) : missing("No bins of confidence were recorded."),
      given.curve.length ? h("figure", {}, h("h3", {}, "Risk and coverage"), riskCoverage(given, risk),
        h("figcaption", {}, "Share wrong among those answered, when only the most confident are; the dashed line answers all."),
        h("details", {}, h("summary", {}, "As a table"), table({ label: "Risk and coverage" }, ["Coverage", numberHead("risk")], tenths(given.curve).map(([c, r]) => h("tr", {}, h("th", { scope: "row" }, score(c)), number(score(r))))))) : missing("No risk–coverage curve was recorded.")),
    given.values.length ? table({ label: "Measures of confidence", class: "narrow" }, ["Measure", numberHead(""), numberHead("95 % interval")], given.values.map(([name, value, ci]) => h("tr", {}, h("th", { scope: "row" }, name), number(Number.isInteger(value) && value > 1 ? count(value) : score(value)), number(ci ? range(ci) : "", { class: "soft" })))) : null,
  ];
}

const tenths = (curve) => [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1].map((c) => curve.find((point) => point[0] >= c - 1e-9) || curve[curve.length - 1]);

function confusion(run, show) {
  const given = run.confusion;
  if (given.reason) return missing(given.reason);
  const rows = given.gold.map((gold, i) => {
    const total = given.counts[i].reduce((a, b) => a + b, 0);
    return h("tr", {}, h("th", { scope: "row" }, gold, h("span", { class: "soft small" }, ` ${count(total)}`)), given.predicted.map((predicted, j) => {
      const n = given.counts[i][j];
      if (!n) return h("td", { class: "soft" }, "·");
      return h("td", { class: gold === predicted ? "tinted own" : "tinted", vars: { "--a": (0.06 + (0.42 * n) / total).toFixed(3) } },
        given.folded ? count(n) : h("button", { class: "link", type: "button", "aria-label": `${count(n)} of ${gold} answered with ${predicted}`, onclick: () => show({ goldGroup: gold, saidGroup: predicted, outcome: "" }) }, count(n)));
    }));
  });
  return [h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Confusion between groups" }, h("table", { class: "confusion" },
    h("caption", {}, h("span", { class: "sr" }, "Rows: group of the gold concept; columns: group of the answer")),
    h("thead", {}, h("tr", {}, h("td", {}), given.predicted.map((name) => h("th", { scope: "col" }, name)))), h("tbody", {}, rows))),
    given.folded ? h("p", { class: "small soft" }, "Groups beyond the twelve most frequent are counted as “other groups”.") : null];
}

function hierarchy(run, show) {
  const given = run.hierarchy;
  if (!given.rows.length) return missing(given.reason);
  return [
    table({ label: "Misses by their place in the hierarchy" }, ["The answer is", numberHead("mentions"), h("th", { scope: "col" }, axis()), numberHead("of the misses")],
      given.rows.map((row) => h("tr", {}, h("th", { scope: "row" }, row.label), number(h("button", { class: "link", type: "button", onclick: () => show({ relation: row.relation, outcome: "wrong" }) }, count(row.n))),
        h("td", { class: "plot" }, h("span", { class: "track", "aria-hidden": "true" }, h("i", { class: "fill", style: { width: percent(row.n / given.misses) } }))), number(score(row.n / given.misses))))),
    h("p", { class: "small soft" }, `${plural(given.misses, "miss", "misses")} in all; those without an answer have no place in the hierarchy.`),
    given.within.length ? table({ label: "Recall within a distance", class: "narrow" }, ["Recall@1 where this counts as right", numberHead("Recall@1"), numberHead("95 % interval")], given.within.map((row) => h("tr", {}, h("th", { scope: "row" }, row.name), number(score(row.value)), number(row.ci95 ? range(row.ci95) : "", { class: "soft" })))) : null,
  ];
}

function speed(run) {
  return run.speed.length ? facts(run.speed.map(([name, value]) => [name, typeof value === "number" ? value.toLocaleString("en", { maximumSignificantDigits: 4 }) : String(value)])) : missing("Speed and memory were not recorded in this run.");
}

function recipe(run) {
  const mono = (text) => h("span", { class: "code" }, text);
  return [
    facts([["System", run.name], ["Command", run.command ? mono(run.command) : null], ["Knowledge base", run.kb], ["Versions", run.versions], ["Bootstrap", run.bootstrap]]),
    h("h3", {}, "Digests, SHA-256"),
    run.digests.length ? facts(run.digests.map(([name, value]) => [words(name), mono(value)])) : missing("No digests were recorded."),
    h("h3", {}, "Training"),
    run.recipe ? h("details", {}, h("summary", {}, "The record of the model's training"), h("pre", { class: "recipe" }, run.recipe)) : missing("The predictions name no model with a record of its training."),
  ];
}
