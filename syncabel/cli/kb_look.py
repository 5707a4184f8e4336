"""`syncabel kb info|show|search|graph|diff`: look into knowledge bases, and compare two."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import fields, is_dataclass
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from syncabel.cli.console import err, out, print_json
from syncabel.kb import KnowledgeBase
from syncabel.kb.diff import diff as compared
from syncabel.kb.graph import Graph, Step
from syncabel.kb.graph import graph as graph_of
from syncabel.kb.search import HOWS, Hit, How
from syncabel.kb.search import search as searched
from syncabel.kb.summary import Summary, summarize
from syncabel.types import Concept, MapRule, Name, Relation, to_json

__all__ = ["KB", "diff", "graph", "info", "search", "show"]

KB = Annotated[str, typer.Argument(metavar="KB", help="A folder, or the name of a shipped knowledge base (doid).")]
Code = Annotated[str, typer.Argument(metavar="CODE", help="A code of the knowledge base, or an alternative one.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object.")]
_KB_HELP = "A folder, or the name of a shipped one."


def info(kb: KB, as_json: AsJson = False, verify: Annotated[bool, typer.Option("--verify", help="Read every file and compare its digest.")] = False) -> None:
    """What a knowledge base is, how much it holds, how ambiguous its names are."""
    summary = summarize(KnowledgeBase.load(kb, verify=verify))
    if as_json:
        print_json(_plain(summary))
    else:
        _show_pairs(_facts(summary))


def _plain(value: Any) -> Any:
    """A dataclass as JSON values, defaults too: whoever reads an answer finds every key."""
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    return value


def _facts(summary: Summary) -> dict[str, Any]:
    pairs = _plain(summary)
    pairs["by_group"] = [f"{one.group}: {one.concepts} concepts, {one.names} names, {one.ambiguous_names} of several concepts" for one in summary.by_group]
    pairs["by_language"] = [f"{one.language}: {one.names} names of {one.concepts} concepts" for one in summary.by_language]
    hierarchy = summary.hierarchy
    pairs["hierarchy"] = f"{hierarchy.links} links, {hierarchy.depth} deep, {hierarchy.roots} roots, {hierarchy.alone} concepts outside"
    pairs["parts"] = [" ".join(filter(None, (part.source, part.release, f"({part.licence})"))) for part in summary.parts]
    return {key: value for key, value in pairs.items() if value not in ("", [])}


def show(kb: KB, code: Code, as_json: AsJson = False) -> None:
    """One concept; an alternative code shows the concept it stands for, a retired one what is said of it."""
    base = KnowledgeBase.load(kb)
    known = base.canonical(code)
    if known is None:
        _answer(_without_concept(base, code), as_json)
        return
    concept = base.concept(known)
    if as_json:
        around = {"children": list(base.children(known)), "ancestors": base.ancestors(known)}
        print_json({**to_json(concept), **around, "maps": [to_json(rule) for rule in base.maps_of(known)]})
    else:
        _show_pairs(_described(base, concept))


def _answer(facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(facts)
        return
    lines: dict[str, Any] = {"code": facts["code"]}
    lines["retired"] = [" ".join([one["reason"], *one["successors"]]) for one in facts["retired"]]
    lines["left out"] = [f"{one['reason']}: {one['text']}" for one in facts["left_out"]]
    _show_pairs({key: value for key, value in lines.items() if value})


def _without_concept(kb: KnowledgeBase, code: str) -> dict[str, Any]:
    """What a knowledge base knows of a code that is no concept: that it was retired, or left out when it was built.

    Raises:
        UnknownNameError: nothing.
    """
    retired, left_out = kb.retired(code), kb.rejections_of(code)
    if not (retired or left_out):
        kb.concept(code)
    return {
        "code": code,
        "retired": [{"reason": one.reason, "successors": list(one.successors)} for one in retired],
        "left_out": [{"reason": one.reason, "text": one.text} for one in left_out],
    }


def _described(kb: KnowledgeBase, concept: Concept) -> dict[str, Any]:
    """What a person wants to see of a concept; empty parts are left out."""
    pairs = {
        "code": concept.code,
        "name": concept.preferred_name,
        "other names": [_written(name) for name in concept.names if name.text != concept.preferred_name],
        "groups": list(concept.groups),
        "types": list(concept.types),
        "definition": concept.definition,
        "ancestors": _titled(kb, kb.ancestors(concept.code)),
        "children": _titled(kb, kb.children(concept.code)),
        "alternative codes": list(concept.alt_codes),
        "cross-references": list(concept.xrefs),
        "maps": [_rule(rule) for rule in kb.maps_of(concept.code)],
    }
    return {key: value for key, value in pairs.items() if value}


def _rule(rule: MapRule) -> str:
    order = f"group {rule.group}, priority {rule.priority}" if rule.group or rule.priority else ""
    return "; ".join(filter(None, (rule.target, order, rule.rule, rule.advice)))


def _written(name: Name) -> str:
    return name.text if name.scope == "exact" else f"{name.text} ({name.scope})"


def _titled(kb: KnowledgeBase, codes: Iterable[str]) -> list[str]:
    return [f"{code} {kb.concept(code).preferred_name}" for code in codes]


def search(
    kb: KB,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="A name, or a piece of one.")],
    how: Annotated[list[str] | None, typer.Option(help="exact, prefix or fuzzy; repeatable; all three, in this order, where not given.")] = None,
    group: Annotated[str | None, typer.Option(help="Only concepts of this semantic group.")] = None,
    language: Annotated[str | None, typer.Option(help="Only names in this language, an ISO 639-1 code.")] = None,
    limit: Annotated[int, typer.Option(help="Most hits.")] = 20,
    cutoff: Annotated[float, typer.Option(help="Lowest score of a fuzzy hit, 0 to 100.")] = 70.0,
    as_json: AsJson = False,
) -> None:
    """Find concepts by a name: the very name, names that begin with the text, names that look like it."""
    hits = searched(KnowledgeBase.load(kb), text, _hows(how), group=group, language=language, limit=limit, cutoff=cutoff)
    if as_json:
        print_json({"text": text, "hits": _plain(hits)})
        return
    _show_rows(("code", "name", "groups", "score", "how"), [_row(hit) for hit in hits])
    if not hits:
        err.print("nothing found")


def _hows(given: Sequence[str] | None) -> Any:
    """As given: `search` itself says which ways there are."""
    hows: Sequence[How] | Sequence[str] = given or HOWS
    return hows


def _row(hit: Hit) -> tuple[str, ...]:
    return hit.code, hit.name, ", ".join(hit.groups), f"{hit.score:.1f}", hit.how


def graph(
    kb: KB,
    code: Code,
    hops: Annotated[int, typer.Option(help="How far the neighbourhood reaches.")] = 1,
    to: Annotated[str | None, typer.Option(metavar="CODE", help="Also the shortest way to this concept, by any relationship.")] = None,
    limit: Annotated[int, typer.Option(help="Most concepts shown of a long list; the JSON object has them all.")] = 20,
    as_json: AsJson = False,
) -> None:
    """What lies around a concept: hierarchy, neighbourhood, relationships by role group, the way to another concept."""
    base = KnowledgeBase.load(kb)
    known = base.canonical(code)
    if known is None:
        facts = _without_concept(base, code)
        empty: dict[str, Any] = {field.name: [] for field in fields(Graph)} | {"name": None, "path": None}
        _answer({**empty, **facts}, as_json)
        return
    end = to if to is None else base.canonical(to) or base.concept(to).code
    found = graph_of(base, known, hops=hops, to=end)
    if as_json:
        print_json(_plain(found))
    else:
        _show_pairs(_drawn(base, found, to, limit))


def _drawn(kb: KnowledgeBase, found: Graph, to: str | None, limit: int) -> dict[str, Any]:
    pairs: dict[str, Any] = {
        "code": found.code,
        "name": found.name,
        "parents": _titled(kb, found.parents),
        "children": _first(_titled(kb, found.children[:limit]), len(found.children)),
        "ancestors": [f"{at.depth} {title}" for at, title in zip(found.ancestors, _titled(kb, (at.code for at in found.ancestors)), strict=True)],
        "descendants": _first(_titled(kb, (at.code for at in found.descendants[:limit])), len(found.descendants)),
        "neighbourhood": _first(_titled(kb, (near.code for near in found.neighbourhood[:limit])), len(found.neighbourhood)),
    }
    for group, links in groupby(sorted(found.relations, key=lambda link: link.role_group), key=lambda link: link.role_group):
        pairs[f"relations, role group {group}"] = [_linked(kb, link) for link in links]
    if to is not None:
        pairs["path"] = f"none leads to {to}" if found.path is None else [_gone(kb, step) for step in found.path]
    return {key: value for key, value in pairs.items() if value}


def _first(titles: list[str], count: int) -> list[str]:
    return titles if len(titles) == count else [*titles, f"… {count} in all"]


def _linked(kb: KnowledgeBase, link: Relation) -> str:
    source, target = _titled(kb, (link.source, link.target))
    return f"{source} —{link.kind}→ {target}"


def _gone(kb: KnowledgeBase, step: Step) -> str:
    start, end = _titled(kb, (step.start, step.end))
    return f"{start} —{step.kind}→ {end}" if step.forward else f"{start} ←{step.kind}— {end}"


def diff(
    old: Annotated[str, typer.Argument(metavar="OLD", help=f"The edition a model was trained for: {_KB_HELP[0].lower()}{_KB_HELP[1:]}")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The edition it is to be used with.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="FILE", help="Every change, one JSON object a line.")] = None,
    as_json: AsJson = False,
) -> None:
    """What changed between two editions, and on how many codes a model must be rechecked."""
    found = compared(KnowledgeBase.load(old), KnowledgeBase.load(new))
    counts = {**found.counts(), "recheck": len(found.recheck())}
    if output is not None:
        with output.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in found.rows())
    if as_json:
        print_json({"old": found.old, "new": found.new, **counts})
    else:
        _show_pairs({key.replace("_", " "): value for key, value in counts.items()})


def _show_rows(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table on a terminal; elsewhere tab-separated lines without a header, for other programs to read."""
    if not out.is_terminal:
        for row in rows:
            typer.echo("\t".join(row))
        return
    table = Table(*header, box=None)
    for row in rows:
        table.add_row(*map(Text, row))
    out.print(table)


def _show_pairs(pairs: dict[str, Any]) -> None:
    """A table on a terminal; elsewhere `key<TAB>value` lines of any length, one per value, for other programs to read."""
    if not out.is_terminal:
        for key, value in pairs.items():
            for line in _cell(value).plain.splitlines() or [""]:
                typer.echo(f"{key}\t{line}")
        return
    table = Table(show_header=False, box=None)
    table.add_column()
    table.add_column(overflow="fold")  # a digest is shown whole, on as many lines as it takes
    for key, value in pairs.items():
        table.add_row(key, _cell(value))
    out.print(table, markup=False)


def _cell(value: Any) -> Text:
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    return Text("\n".join(value) if isinstance(value, list) else str(value))
