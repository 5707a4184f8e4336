function start() {
  const data = JSON.parse(document.getElementById("data").textContent);
  data.systems.forEach((system, i) => Object.assign(system, { number: i, shared: data.systems[0].strata }));
  const page = document.getElementById("page");
  const runs = data.systems.filter((system) => system.kind === "run");
  const book = new Book(data);
  const state = { run: runs[0] };

  const browser = new Browser("errors", book, [state.run], false);
  const show = (wanted) => { browser.show(wanted); document.getElementById("errors").scrollIntoView(); };
  const figures = h("div", {});
  const drawFigures = () => figures.replaceChildren(...sectionsOf(state.run, show));
  const comparison = data.systems.length > 1 ? compareSection(data, book) : null;

  const main = h("main", { id: "report" }, headline(data), figures, section("errors", "Mentions", browserIntro(data), browser.root),
    comparison || section("comparison", "Comparison", null, missing("One system alone: give a second RUN, or evaluate with --baselines, to compare.")));
  const choose = h("select", { "data-choose": "run", onchange: (event) => { state.run = data.systems[Number(event.target.value)]; drawFigures(); browser.use([state.run]); } }, runs.map((run) => h("option", { value: run.number }, run.name)));
  const links = [["headline", "Systems"], ["scores", "Scores"], ["strata", "Strata"], ["ledger", "Misses"], ["confidence", "Confidence"], ["groups", "Groups"], ["hierarchy", "Hierarchy"], ["errors", "Mentions"], ["comparison", "Comparison"], ["recipe", "Recipe"]];
  drawFigures();
  main.append(section("recipe", "Recipe, speed, memory", null, recipeParts(runs)));
  page.append(header(data, runs),
    h("nav", { class: "bar", "aria-label": "Sections" }, h("div", {}, h("ul", {}, links.map(([id, title]) => h("li", {}, h("a", { href: `#${id}` }, title)))), runs.length > 1 ? h("label", {}, h("span", { class: "sr" }, "Run shown in all sections"), choose) : null)),
    main, footer(data, page.dataset.size));
  follow(main);
  document.documentElement.dataset.ready = "yes";
}

function header(data, runs) {
  const first = runs[0];
  const { facts: known } = first;
  return h("header", { class: "top" },
    h("p", { class: "kicker" }, "syncabel evaluation report"),
    h("h1", {}, runs.map((run) => run.name).join(" and ")),
    h("p", { class: "soft under" }, [first.kb ? `Linked to ${first.kb}` : null, `protocol ${known.protocol}`].filter(Boolean).join("; ")),
    h("div", { class: "lede" }, runs.slice(0, 3).map((run) => h("div", { class: "figure" }, h("b", {}, score(run.facts.recall_at_1)), h("span", {}, runs.length > 1 ? `Recall@1 of ${run.name}, ` : "Recall@1, ", range(run.facts.ci95)))),
      h("div", { class: "figure minor" }, h("b", {}, count(known.n)), h("span", {}, "mentions")),
      h("div", { class: "figure minor" }, h("b", {}, count(known.documents)), h("span", {}, "documents")),
      known.ceiling === null ? null : h("div", { class: "figure minor" }, h("b", {}, score(known.ceiling)), h("span", {}, "ceiling: a right answer is within reach"))),
    data.text ? null : h("p", { class: "note" }, "Made with --no-text: sentences and the texts of mentions are not on this page."),
    data.notes.map((note) => h("p", { class: "note warn" }, note)));
}

function sectionsOf(run, show) {
  return [
    section("scores", "Scores", `All figures are fractions, of ${run.name}.`, h("div", { class: "columns wide" }, h("div", {}, metrics(run)), h("div", {}, h("h3", {}, "Seen and unseen"), cells(run, show), nil(run)))),
    section("strata", "Strata", h("span", {}, "Recall@1 on kinds of mentions, with 95 % intervals over documents; the dashed line is the score on all. Choose an n to see its mentions."), strata(run, show)),
    section("ledger", "What the misses are made of", "Each miss has one cause, the first that applies from the top down; together they cost 1 − Recall@1.", ledger(run, show)),
    section("confidence", "Confidence", run.confidence ? `${plural(run.confidence.n, "mention")} with an answer${run.confidence.nil ? `, ${count(run.confidence.nil)} of them not in the knowledge base` : ""}; the number is ${SOURCE[run.confidence.source] || "what the predictions state"}.` : null, confidence(run)),
    section("groups", "Confusion between groups", run.confusion.reason ? null : "Rows: group of the gold concept. Columns: group of the answer. Outlined: the same.", confusion(run, show)),
    section("hierarchy", "Misses in the hierarchy", run.hierarchy.rows.length === 0 ? null : "Where a wrong answer stands from the gold concept: above it, too broad, or below it, too narrow.", hierarchy(run, show)),
  ];
}

function browserIntro(data) {
  return data.text ? "Every mention with its sentence, its gold concepts and what was answered. Arrow keys move along the list." : "Every mention with its gold concepts and what was answered. Arrow keys move along the list.";
}

function recipeParts(runs) {
  return runs.map((run) => h("div", { class: "of-run" }, runs.length > 1 ? h("h3", {}, run.name) : null, h("div", { class: "columns wide" }, h("div", {}, recipe(run)), h("div", {}, h("h3", {}, "Speed and memory"), speed(run)))));
}

function compareSection(data, book) {
  const body = h("div", {});
  const runs = data.systems.filter((system) => system.kind === "run");
  const chosen = { from: runs.length > 1 ? runs[0] : data.systems.find((system) => system !== runs[0]), to: runs.length > 1 ? runs[1] : runs[0] };
  let browser = null;
  const draw = () => {
    browser ||= new Browser("comparison", book, [chosen.from, chosen.to], true);
    body.replaceChildren(...changes(data, chosen, (wanted) => { browser.show(wanted); browser.root.scrollIntoView(); }), browser.root);
  };
  const select = (name, label) => {
    const control = h("select", { "data-choose": name, onchange: (event) => { chosen[name] = data.systems[Number(event.target.value)]; browser.use([chosen.from, chosen.to]); draw(); } },
      data.systems.map((system) => h("option", { value: system.number }, system.name + (system.kind === "run" ? "" : " (baseline)"))));
    control.value = chosen[name].number;
    return h("label", { class: "field" }, h("span", {}, label), control);
  };
  draw();
  return section("comparison", "Comparison", "The same mentions, answered by two systems: what the second mends and what it breaks.",
    h("div", { class: "filters" }, select("from", "From"), select("to", "To")), body);
}

function changes(data, { from, to }, show) {
  const tally = (keep) => {
    const found = { fixed: 0, broken: 0, "both wrong": 0, "both right": 0 };
    from.results.status.forEach((before, i) => {
      if (keep(i)) for (const [name, test] of Object.entries(CHANGE)) found[name] += test(before, to.results.status[i]) ? 1 : 0;
    });
    return found;
  };
  const all = tally(() => true);
  const link = (change, n, more) => (n ? h("button", { class: "link", type: "button", "data-change": change, onclick: () => show({ change, ...more }) }, count(n)) : "0");
  const cross = table({ label: "Both systems" }, ["", numberHead(`${to.name}: right`), numberHead("wrong")], [
    h("tr", {}, h("th", { scope: "row" }, `${from.name}: right`), number(link("both right", all["both right"])), number([link("broken", all.broken), h("span", { class: "soft small" }, " broken")])),
    h("tr", {}, h("th", { scope: "row" }, `${from.name}: wrong`), number([link("fixed", all.fixed), h("span", { class: "soft small" }, " fixed")]), number(link("both wrong", all["both wrong"]))),
  ]);
  cross.firstChild.className = "change";
  const pair = data.pairs.find((one) => one.from === from.number && one.to === to.number);
  const tested = pair ? h("p", {}, `${to.name} less ${from.name}: `, h("b", {}, signed(pair.delta)), ` (${signedRange(pair.ci95)}), ${pEquals(pair.p_sign_flip)} by sign flips of documents.`) : null;
  const kinds = to.strata || data.systems[0].strata;
  const rows = Object.entries(kinds).flatMap(([kind, { values, of }]) => values.map((value, v) => {
    const part = tally((i) => of[i] === v);
    const more = { strata: { [kind]: value } };
    return part.fixed + part.broken + part["both wrong"] + part["both right"] === 0 ? null : h("tr", {}, h("th", { scope: "row" }, h("span", { class: "soft" }, `${kindName(kind)}: `), words(value)),
      number(link("fixed", part.fixed, more)), number(link("broken", part.broken, more)), number(net(part.fixed - part.broken)), number(link("both wrong", part["both wrong"], more), { class: "soft" }));
  }));
  return [h("div", { class: "columns two" }, h("div", {}, cross), h("div", {}, tested)),
    h("details", {}, h("summary", {}, "Fixed and broken by stratum"), table({ label: "Changes by stratum" }, ["Stratum", numberHead("fixed"), numberHead("broken"), numberHead("net"), numberHead("both wrong")], rows)), h("br")];
}

const net = (n) => (n > 0 ? `+${count(n)}` : n < 0 ? `−${count(-n)}` : "0");

function footer(data, size) {
  return h("footer", {}, h("p", {}, `This page stands alone: it loads nothing and sends nothing. ${size}, ${plural(data.mentions.id.length, "mention")}, syncabel ${data.version}. The same figures are in ${data.markdown} and in the CSV files of ${data.tables}/ beside it.`),
    data.text ? h("p", {}, "It holds text of the corpus; syncabel report --no-text leaves it out.") : h("p", {}, "It holds no sentence and no mention's text, only ids, codes and names of the knowledge base."));
}

// The link of the section in view is marked.
function follow(main) {
  const links = new Map([...document.querySelectorAll("nav.bar a")].map((link) => [link.hash.slice(1), link]));
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) for (const [id, link] of links) id === entry.target.id ? link.setAttribute("aria-current", "true") : link.removeAttribute("aria-current");
  }, { rootMargin: "-15% 0px -80% 0px" });
  const watch = () => main.querySelectorAll("section").forEach((one) => seen.observe(one));
  watch();
  new MutationObserver(watch).observe(main.children[1], { childList: true });
}

try {
  start();
} catch (error) {
  document.getElementById("page").replaceChildren(h("main", {}, missing("This page could not be drawn. The same figures are in the .md file and in the CSV tables beside it.")));
  throw error;
}
