// Mentions to search, filter and look at: fifty in the page at a time, twenty on a narrow screen, however many there are.
const OUTCOME = ["wrong", "right", "NIL, right", "NIL, wrong", "not counted"];
const RELATION = (name) => {
  const [kind, steps] = name.split(":");
  const far = steps ? ` by ${plural(Number(steps), "step")}` : "";
  return { ancestor: `too narrow${far}`, descendant: `too broad${far}`, unrelated: "neither above nor below", composite: "several codes", same: "another of the right codes" }[kind] || words(name);
};
const wideScreen = matchMedia("(min-width: 980px)");
const pageSize = () => (wideScreen.matches ? 50 : 20);
const plain = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();

class Book {
  // The data with names put back for numbers.
  constructor(data) {
    this.data = data;
    this.n = data.mentions.id.length;
    this.haystacks = new Map();
  }
  concept(i) {
    const [code, name, definition, path, groups] = this.data.concepts[i];
    return { code, name, definition: definition || "", path: path.map((j) => this.data.words[j]), groups: groups.map((j) => this.data.words[j]) };
  }
  text(i) { return this.data.text ? this.data.mentions.text[i] : `mention ${this.data.mentions.id[i]}`; }
  gold(i) { return this.data.mentions.gold[i]; }
  answers(system, i) { return system.results.answers[i]; }
  first(system, i) { return system.results.answers[i][0] || null; }
  answerName(answer) {
    if (!answer) return "no answer";
    return answer[1] || answer[0].map((c) => this.data.concepts[c][1]).join(" + ") || "NIL";
  }
  isGold(i, codes) { return this.gold(i).some((answer) => answer.length === codes.length && answer.every((c) => codes.includes(c))); }
  group(codes) { return codes && codes.length ? (this.concept(codes[0]).groups[0] || "no group") : "no answer"; }
  stratum(system, kind, i) {
    const found = (system.strata || this.data.systems[0].strata)[kind];
    return found && found.of[i] >= 0 ? found.values[found.of[i]] : null;
  }
  haystack(systems, i) {
    const key = systems.map((system) => system.number).join(" ");
    if (!this.haystacks.has(key)) this.haystacks.set(key, new Array(this.n));
    const known = this.haystacks.get(key);
    if (known[i] === undefined) {
      const { mentions } = this.data;
      const parts = [this.data.documents[mentions.document[i]], mentions.id[i]];
      if (this.data.text) parts.push(mentions.text[i], (mentions.sentence && mentions.sentence[i]) || "");
      const codes = [...this.gold(i).flat(), ...systems.flatMap((system) => (this.first(system, i) || [[]])[0])];
      for (const c of codes) parts.push(this.data.concepts[c][0], this.data.concepts[c][1]);
      for (const system of systems) parts.push((this.first(system, i) || [[], ""])[1] || "");
      known[i] = plain(parts.join("\n"));
    }
    return known[i];
  }
}

const CHANGE = {
  fixed: (before, after) => before === 0 && after === 1,
  broken: (before, after) => before === 1 && after === 0,
  "both wrong": (before, after) => before === 0 && after === 0,
  "both right": (before, after) => before === 1 && after === 1,
};

class Browser {
  // name: of the section, for ids. pair: two systems side by side, else one.
  constructor(name, book, systems, pair) {
    Object.assign(this, { name, book, pair, page: 0, open: null });
    this.filters = { q: "", outcome: pair ? "" : "wrong", cause: "", type: "", relation: "", goldGroup: "", saidGroup: "", change: pair ? "fixed" : "", sort: "", strata: {} };
    this.controls = new Map();
    this.list = h("ul", { class: "list", "aria-label": "Mentions", onkeydown: (event) => this.keys(event) });
    this.detail = h("div", { class: "detail", id: `${name}-detail`, role: "region", "aria-label": "The mention in full", tabindex: "-1" });
    this.grid = h("div", { class: "browser" }, this.list, this.detail);
    this.count = h("span", { role: "status", "aria-live": "polite", class: "found" });
    this.where = h("span", { class: "soft" });
    this.before = h("button", { class: "button", type: "button", onclick: () => this.turn(-1) }, "Previous");
    this.after = h("button", { class: "button", type: "button", onclick: () => this.turn(1) }, "Next");
    this.root = h("div", { class: "mentions" });
    this.use(systems);
    wideScreen.addEventListener("change", () => this.find());
  }

  use(systems) {
    this.systems = systems;
    this.system = systems[systems.length - 1];
    this.filters.strata = {};
    const reset = h("button", { class: "button", type: "button", onclick: () => this.show({}) }, "Clear filters");
    this.controls.clear();
    const { main, more } = this.fields();
    this.root.replaceChildren(h("div", { class: "filters", role: "search" }, main), more.length ? h("details", {}, h("summary", {}, "Filter by stratum"), h("div", { class: "filters" }, more)) : "",
      h("div", { class: "status" }, this.count, h("span", { class: "spring" }), this.where, this.before, this.after, reset), this.grid);
    this.find();
  }

  fields() {
    const { data } = this.book;
    const main = [this.input("q", "Search", this.book.data.text ? "mention, sentence, concept, code, document" : "concept, code, document")];
    if (this.pair) main.push(this.select("change", "Change", Object.keys(CHANGE)));
    else main.push(this.select("outcome", "Outcome", ["wrong", "right", "NIL"].filter((one) => one !== "NIL" || data.mentions.nil.some(Boolean))));
    const results = this.system.results;
    if (results.cause) main.push(this.select("cause", "Cause of the miss", data.causes.filter((_, c) => results.cause.includes(c))));
    const types = [...new Set(data.mentions.type)].map((t) => data.words[t]).sort();
    if (types.length > 1) main.push(this.select("type", "Annotated type", types));
    if (results.relation && results.relation.some((r) => r >= 0)) main.push(this.select("relation", "In the hierarchy", data.relations.filter((_, r) => results.relation.includes(r)), RELATION));
    if (data.groups.length > 1) {
      main.push(this.select("goldGroup", "Gold group", data.groups));
      main.push(this.select("saidGroup", "Answered group", [...data.groups, "no answer"]));
    }
    if (this.system.kind === "run") main.push(this.select("sort", "Order", ["surest first", "least sure first"], undefined, "of the corpus"));
    const more = Object.entries(this.system.strata || data.systems[0].strata).map(([kind, { values }]) => this.select(kind, kindName(kind), values, words, "all", true));
    return { main, more };
  }

  input(name, label, placeholder) {
    const control = h("input", { type: "search", placeholder, autocomplete: "off", spellcheck: "false", "data-filter": name, oninput: (event) => { this.filters[name] = event.target.value; this.find(); } });
    control.value = this.filters[name];
    this.controls.set(name, control);
    return h("label", { class: "field search" }, h("span", {}, label), control);
  }

  select(name, label, values, title = words, none = "all", isStratum = false) {
    const place = isStratum ? this.filters.strata : this.filters;
    const control = h("select", { "data-filter": isStratum ? `stratum-${name}` : name, onchange: (event) => { (isStratum ? this.filters.strata : this.filters)[name] = event.target.value; this.find(); } },
      h("option", { value: "" }, none), values.map((value) => h("option", { value }, title(value))));
    if (place[name] && !values.includes(place[name])) place[name] = "";
    control.value = place[name] || "";
    this.controls.set(isStratum ? `stratum-${name}` : name, control);
    return h("label", { class: "field" }, h("span", {}, label), control);
  }

  // Set these filters and clear the others.
  show(wanted) {
    const { strata: asked = {}, ...rest } = wanted;
    for (const name of Object.keys(this.filters)) if (name !== "strata") this.filters[name] = rest[name] || "";
    this.filters.strata = { ...asked };
    for (const [name, control] of this.controls) {
      control.value = name.startsWith("stratum-") ? asked[name.slice(8)] || "" : this.filters[name] || "";
      if (name.startsWith("stratum-") && control.value) control.closest("details").open = true;
    }
    this.find();
  }

  find() {
    const found = [];
    const tests = this.tests();
    for (let i = 0; i < this.book.n; i++) if (tests.every((test) => test(i))) found.push(i);
    if (this.filters.sort) {
      const sure = (i) => { const first = this.book.first(this.system, i); return first ? (first[3] ?? first[2] ?? 0) : -1; };
      const way = this.filters.sort === "surest first" ? -1 : 1;
      found.sort((a, b) => way * (sure(a) - sure(b)) || a - b);
    }
    this.found = found;
    this.page = 0;
    this.open = wideScreen.matches && found.length ? found[0] : null;
    this.draw();
  }

  tests() {
    const { q, outcome, cause, type, relation, goldGroup, saidGroup, change, strata: chosen } = this.filters;
    const { data } = this.book;
    const { status, cause: causes, relation: relations } = this.system.results;
    const tests = [];
    if (outcome) tests.push({ wrong: (i) => status[i] === 0, right: (i) => status[i] === 1, NIL: (i) => status[i] === 2 || status[i] === 3 }[outcome]);
    if (change) tests.push((i) => CHANGE[change](this.systems[0].results.status[i], status[i]));
    if (cause) { const c = data.causes.indexOf(cause); tests.push((i) => causes[i] === c); }
    if (type) { const t = data.words.indexOf(type); tests.push((i) => data.mentions.type[i] === t); }
    if (relation) { const r = data.relations.indexOf(relation); tests.push((i) => relations[i] === r); }
    if (goldGroup) tests.push((i) => status[i] < 2 && this.book.group(this.book.gold(i)[0]) === goldGroup);
    if (saidGroup) tests.push((i) => status[i] < 2 && this.book.group((this.book.first(this.system, i) || [[]])[0]) === saidGroup);
    for (const [kind, value] of Object.entries(chosen)) if (value) tests.push((i) => this.book.stratum(this.system, kind, i) === value);
    const terms = plain(q).split(/\s+/).filter(Boolean);
    if (terms.length) tests.push((i) => { const text = this.book.haystack(this.systems, i); return terms.every((term) => text.includes(term)); });
    return tests;
  }

  turn(by) {
    this.page += by;
    this.open = wideScreen.matches ? this.found[this.page * pageSize()] : null;
    this.draw();
    this.list.scrollTop = 0;
    if (!wideScreen.matches) this.root.querySelector(".status").scrollIntoView({ block: "start" });
  }

  draw() {
    const pages = Math.max(1, Math.ceil(this.found.length / pageSize()));
    const from = this.page * pageSize();
    this.count.textContent = `${count(this.found.length)} of ${plural(this.book.n, "mention")}`;
    this.where.textContent = pages > 1 ? `page ${count(this.page + 1)} of ${count(pages)}` : "";
    this.before.disabled = this.page === 0;
    this.after.disabled = this.page >= pages - 1;
    for (const button of [this.before, this.after]) button.hidden = pages === 1;
    this.list.replaceChildren(...this.found.slice(from, from + pageSize()).map((i) => h("li", { "data-mention": i }, this.item(i))));
    if (!this.found.length) this.list.append(h("li", {}, h("p", { class: "missing" }, "No mention fits these filters.")));
    this.place();
  }

  item(i) {
    const [said] = [this.book.answerName(this.book.first(this.system, i))];
    const { status, cause } = this.system.results;
    const right = status[i] === 1 || status[i] === 2;
    const why = this.pair ? this.change(i) : cause && cause[i] >= 0 ? words(this.book.data.causes[cause[i]]) : OUTCOME[status[i]];
    return h("button", { class: "item", type: "button", "aria-expanded": "false", "aria-controls": `${this.name}-detail`, onclick: () => this.toggle(i) },
      h("span", { class: `sign ${right ? "is-right" : "is-wrong"}`, "aria-hidden": "true" }, right ? "✓" : "✗"),
      h("span", { class: "what" }, h("bdi", {}, this.book.text(i)), h("span", { class: "said" }, this.pair ? [h("bdi", {}, this.book.answerName(this.book.first(this.systems[0], i))), " → "] : "→ ", h("bdi", {}, said))),
      h("span", { class: "why" }, why));
  }

  change(i) {
    const states = this.systems.map((system) => system.results.status[i]);
    const name = Object.keys(CHANGE).find((one) => CHANGE[one](...states));
    if (name !== "both wrong") return name || OUTCOME[states[1]];
    const [a, b] = this.systems.map((system) => (this.book.first(system, i) || [[]])[0].join());
    return a === b ? "both wrong, alike" : "both wrong";
  }

  toggle(i) {
    this.open = this.open === i && !wideScreen.matches ? null : i;
    this.place();
  }

  // The mention in full stands beside the list on a wide screen and under its line on a narrow one.
  place() {
    let host = null;
    for (const line of this.list.querySelectorAll("li[data-mention]")) {
      const is = Number(line.dataset.mention) === this.open;
      line.firstChild.setAttribute("aria-expanded", String(is));
      if (is) host = line;
    }
    if (wideScreen.matches) this.grid.append(this.detail);
    else if (host) host.append(this.detail);
    else this.detail.remove();
    this.detail.replaceChildren();
    if (this.open !== null) fill(this.detail, {}, this.full(this.open));
    this.detail.scrollTop = 0;
  }

  keys(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const item = event.target.closest(".item");
    if (event.key === "Escape" && item && !wideScreen.matches) { this.open = null; this.place(); item.focus(); }
    if (!step || !item) return;
    const items = [...this.list.querySelectorAll(".item")];
    const next = items[items.indexOf(item) + step];
    if (!next) return;
    event.preventDefault();
    next.focus();
    if (wideScreen.matches) this.toggle(Number(next.parentNode.dataset.mention));
  }

  full(i) {
    const { data } = this.book;
    const { mentions } = data;
    const place = `document ${data.documents[mentions.document[i]]}, mention ${mentions.id[i]}, characters ${mentions.start[i]}${DASH}${mentions.end[i]}`;
    const kinds = Object.keys(this.system.strata || data.systems[0].strata).filter((kind) => kind !== "cell");
    return [
      h("h3", {}, h("bdi", {}, this.book.text(i))),
      this.sentence(i),
      h("div", { class: "small soft" }, place),
      h("div", { class: "pair" },
        h("div", { class: this.pair ? "whole" : null }, h("h4", {}, "Gold"), this.gold(i)),
        this.systems.map((system) => h("div", {}, h("h4", {}, this.pair ? `${system.name} answers` : "Answer", " ", this.tag(system, i)), this.said(system, i)))),
      this.systems.map((system) => this.alternatives(system, i)),
      h("ul", { class: "chips" }, [["type", kinds.includes("group") ? null : data.words[mentions.type[i]]], ...kinds.map((kind) => [kindName(kind), this.book.stratum(this.system, kind, i)])].filter(([, value]) => value).map(([name, value]) => h("li", {}, `${name}: `, h("b", {}, words(value))))),
    ];
  }

  tag(system, i) {
    const { status, cause, relation } = system.results;
    const parts = [OUTCOME[status[i]]];
    if (cause && cause[i] >= 0) parts.push(words(this.book.data.causes[cause[i]]));
    if (relation && relation[i] >= 0) parts.push(RELATION(this.book.data.relations[relation[i]]));
    return h("span", { class: status[i] === 1 || status[i] === 2 ? "tag" : "tag bad" }, parts.join(", "));
  }

  sentence(i) {
    const { mentions, text } = this.book.data;
    if (!text) return missing("Sentences and mention texts were left out of this page.");
    const sentence = mentions.sentence && mentions.sentence[i];
    if (!sentence) return missing("The sentence is not in this run: there is no line for it in sentences.jsonl.");
    const characters = Array.from(sentence); // offsets count code points, JavaScript's strings do not
    const parts = [];
    let at = 0;
    for (const [start, end] of mentions.spans[i]) {
      parts.push(characters.slice(at, start).join(""), h("mark", {}, characters.slice(start, end).join("")));
      at = end;
    }
    return h("p", { class: "sentence", dir: "auto" }, parts, characters.slice(at).join(""));
  }

  gold(i) {
    const options = this.book.gold(i);
    if (!options.length) return h("p", { class: "small" }, "NIL: annotated as not in the knowledge base");
    return options.map((codes, k) => [k ? h("p", { class: "small soft" }, "or") : null, codes.map((c) => this.concept(c, "gold"))]);
  }

  said(system, i) {
    const first = this.book.first(system, i);
    const { abstained, error, held } = system.results;
    if (error && error[i]) return h("p", { class: "small" }, `No answer: ${error[i]}`);
    if (abstained && abstained[i]) return h("p", { class: "small" }, `Abstained: ${abstained[i]}`, held && held[i] ? "; what was held back is below" : "");
    if (!first) return h("p", { class: "small" }, "No answer.");
    if (!first[0].length) return h("p", { class: "small" }, first[1] ? ["Wrote ", h("bdi", {}, `“${first[1]}”`), ", which is no concept here."] : "NIL");
    const right = this.book.isGold(i, first[0]);
    return first[0].map((c) => this.concept(c, right ? "gold" : "wrong", first[1]));
  }

  concept(c, kind, written) {
    const { code, name, definition, path, groups } = this.book.concept(c);
    return h("div", { class: `concept ${kind}` }, h("b", {}, h("bdi", {}, name || written || "not in the knowledge base")), " ", h("span", { class: "code soft" }, code),
      written && name && written !== name ? h("p", { class: "soft" }, "written as ", h("bdi", {}, `“${written}”`)) : null,
      path.length > 1 ? h("p", { class: "path" }, path.join(" › ")) : null,
      definition ? h("p", {}, h("bdi", {}, definition)) : null,
      this.book.data.groups.length > 1 && groups.length ? h("p", { class: "soft" }, groups.join(", ")) : null);
  }

  alternatives(system, i) {
    const held = system.results.held && system.results.held[i];
    const answers = held || this.book.answers(system, i);
    if (system.kind !== "run") return this.pair ? null : missing("Only the first answer of a baseline is kept on this page.");
    if (!answers.length) return null;
    const sure = answers.some((answer) => answer[3] !== null);
    const rows = answers.map((answer, k) => h("tr", {}, number(String(k + 1), { class: "soft" }),
      h("th", { scope: "row" }, h("bdi", {}, this.book.answerName(answer)), " ", h("span", { class: "code soft" }, answer[0].map((c) => this.book.data.concepts[c][0]).join(" + ")), this.book.isGold(i, answer[0]) ? [" ", h("span", { class: "tag" }, "gold")] : null),
      h("td", {}, h("span", { class: "track", "aria-hidden": "true" }, h("i", { class: "fill", style: { width: percent(answer[2] || 0) } }))), number(chance(answer[2])), sure ? number(score(answer[3])) : null));
    const set = system.results.set && system.results.set[i];
    return [h("h4", {}, held ? "Held back" : "Candidates", this.pair ? ` of ${system.name}` : ""),
      h("div", { class: "scroll" }, h("table", { class: "answers" }, h("thead", {}, h("tr", {}, numberHead("#"), h("th", { scope: "col" }, "Concept"), h("th", { scope: "col" }, h("span", { class: "sr" }, "bar")), numberHead("probability"), sure ? numberHead("confidence") : null)), h("tbody", {}, rows))),
      set ? h("p", { class: "small soft" }, `Prediction set: ${set.join(", ")}`) : null];
  }
}
