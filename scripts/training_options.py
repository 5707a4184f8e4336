"""What three options of training do, each alone: targets drawn by similarity, a contrast term, a NIL answer.  Judged on dev.

    python scripts/training_options.py --steps 500

Every variant trains the same small Llama from nothing on human train documents 1:1 with template sentences, at equal steps; the test
documents are not looked at.  NCBI disease annotates no mention as not in the vocabulary, so that NIL is taught there by held-out
concepts; BC5CDR chemical annotates some (-1), taught there alone and beside held-out concepts.  A variant that is in OUTPUT already
is not run again.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import results_file
import yaml
from evidence_cells import Cell, Options, Prepared, batch_for, ledger_of, training_config
from evidence_sets import SETS, Bench, Places

from syncabel.baselines import apply
from syncabel.decoding import DecodingSettings
from syncabel.evaluate import document_interval, nil_scores, scores_of
from syncabel.lexicon.build import build_lexicon
from syncabel.lexicon.store import Lexicon
from syncabel.linker import Linker
from syncabel.progress import bars_on_terminals_only
from syncabel.sft import ExampleSettings, make_examples, write_examples, write_format
from syncabel.train.arguments import parse
from syncabel.train.run import train
from syncabel.types import NIL_CODE, LinkedMention, Mention, SFTExample

NIL = "no entry of this vocabulary"


@dataclass(frozen=True, slots=True)
class Variant:
    """One training.

    Attributes:
        name: of the option.
        examples: how examples are made.
        training: settings of the training that differ.
    """

    name: str
    examples: ExampleSettings
    training: Mapping[str, Any]


def variants(seed: int, nil_hold_out: float) -> Mapping[str, Sequence[Variant]]:
    """By set; the plain one first."""
    plain = ExampleSettings(seed=seed)
    annotated, held_out = replace(plain, nil=True), replace(plain, nil=True, nil_hold_out=nil_hold_out)
    return {
        "ncbi_disease": (
            Variant("plain", plain, {}),
            Variant("sampled targets", replace(plain, target="sampled"), {}),
            Variant("contrast 0.5, 4 negatives", plain, {"contrast": 0.5, "negatives": 4}),
            Variant("contrast 0.5, 16 negatives", plain, {"contrast": 0.5, "negatives": 16}),
            Variant("nil", held_out, {}),
        ),
        "bc5cdr_chemical": (
            Variant("plain", plain, {}),
            Variant("nil, annotated", annotated, {}),
            Variant("nil, annotated and held out", held_out, {}),
        ),
    }


class WithNil(Prepared):
    """A set whose lexicon has a NIL leaf, so that all variants are held to the same names."""

    def _lexicon(self) -> Lexicon:
        super()._lexicon()
        lexicon = build_lexicon(self.bench.kb, self.tokenizer, nil=NIL)
        lexicon.save(self.folder / "lexicon")
        return lexicon

    def made(self, variant: Variant, source: str, folder: Path) -> tuple[Path, float]:
        """Examples of a source as the variant makes them, and their mean loss tokens."""
        asked = (self.sources[source], self.lexicon, self.bench.kb.canonical, self.types, self.fmt, variant.examples)
        rows = [row for row in make_examples(*asked) if isinstance(row, SFTExample)]
        path = folder / f"{source}.jsonl"
        write_examples(rows, path)
        write_format(folder, self.fmt, self.lexicon)
        return path, sum(len(self.tokenizer(f" {row.completion}")["input_ids"]) + 1 for row in rows) / len(rows)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with corpora and kb")
    parser.add_argument("--ontologies", type=Path, default=Path("out/ontologies"))
    parser.add_argument("--maker", type=Path, default=Path("../shared/tools/real_names.py"))
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--nil-hold-out", type=float, default=0.1, help="share of the concepts that are taught as NIL, a fraction")
    parser.add_argument("--output", type=Path, default=Path("out/training_options"))
    parser.add_argument("--results", type=Path, default=Path("docs/results/training_options.yaml"))
    return parser.parse_args()


def main() -> None:
    """Train what is missing, then write the results file."""
    args = arguments()
    bars_on_terminals_only()
    options, places = Options(steps=args.steps), Places(args.data, args.ontologies, args.maker)
    judged_sets = [judged_set(name, asked, places, options, args) for name, asked in variants(args.seed, args.nil_hold_out).items()]
    write_results(args, options, judged_sets)


@dataclass(frozen=True, slots=True)
class JudgedSet:
    """A set whose variants are all there.

    Attributes:
        prepared: the set.
        found: what `trained_and_judged` found, by the variant's name.
    """

    prepared: WithNil
    found: Mapping[str, Any]


def judged_set(name: str, asked: Sequence[Variant], places: Places, options: Options, args: argparse.Namespace) -> JudgedSet:
    """Train and judge those variants of a set that are not there."""
    print(name, flush=True)
    prepared = WithNil(on_dev(SETS[name](places)), options, args.output / name / "data", None)
    found = {}
    for variant in asked:
        folder = args.output / name / variant.name.replace(" ", "-").replace(",", "")
        if not (folder / "figures.json").exists():
            figures = trained_and_judged(variant, prepared, folder, args.seed)
            (folder / "figures.json").write_text(json.dumps(figures, indent=1), encoding="utf-8")
        found[variant.name] = json.loads((folder / "figures.json").read_text(encoding="utf-8"))
        said = (f"{title} {row['value']:.3f} (n={row['n']})" for title, row in found[variant.name]["metrics"].items())
        print(f"{variant.name:28}", "  ".join(said), flush=True)
    return JudgedSet(prepared, found)


def on_dev(bench: Bench) -> Bench:
    """The set with its train documents to fit on and its dev documents to score."""
    parts = {split: tuple(document for document in bench.fit if document.split == split) for split in ("train", "dev")}
    return replace(bench, fit=parts["train"], test=parts["dev"])


def trained_and_judged(variant: Variant, prepared: WithNil, folder: Path, seed: int) -> dict[str, Any]:
    """One training and its figures on dev."""
    folder.mkdir(parents=True, exist_ok=True)
    (human, human_tokens), (other, other_tokens) = (prepared.made(variant, source, folder) for source in ("human", "template"))
    batch = batch_for(human_tokens, other_tokens, prepared.options.batch)
    config = {**training_config(Cell(prepared.bench.name, "human+template", seed), prepared, human, other, batch), **variant.training}
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    train(parse(["--config", str(folder / "config.yaml"), "--output_dir", str(folder / "run"), "--model_folder", str(folder / "model")]))
    ledger = ledger_of(folder / "run", batch)
    return {"metrics": judged(prepared, folder / "model", variant.examples), "loss_tokens": ledger.loss_tokens, "seconds": ledger.seconds}


def judged(prepared: WithNil, model: Path, taught: ExampleSettings) -> dict[str, Any]:
    """Recall@1 with NIL not offered; where NIL was taught also with it, on the concepts that were not held out, and how NIL itself is answered."""
    bench = prepared.bench
    documents, scores = scores_of(bench.test, answers(model, prepared), bench.kb, "set")
    found = {"recall_at_1": row(documents, scores)}
    if not taught.nil:
        return found
    offered = answers(model, prepared, nil=True)
    _, with_nil = scores_of(bench.test, offered, bench.kb, "set")
    asked = list(zip(mentions_of(bench), gold_nil(bench, taught), map(answered_nil, offered), strict=True))
    known = [i for i, nil in enumerate(nil for (_, mention), nil, _ in asked if mention.answers) if nil is False]
    told = [(document, nil, said) for (document, _), nil, said in asked if nil is not None]
    nil = nil_scores(*map(list, zip(*told, strict=True)))
    more = {
        "recall_at_1 of known concepts, NIL not offered": row([documents[i] for i in known], [scores[i] for i in known]),
        "recall_at_1 of known concepts, NIL offered": row([documents[i] for i in known], [with_nil[i] for i in known]),
        "NIL recall": figure(nil.recall, nil.intervals["recall"], nil.n),
        "NIL precision": figure(nil.precision, nil.intervals["precision"], nil.predicted),
    }
    return found | {name: one for name, one in more.items() if one is not None}


def answers(model: Path, prepared: WithNil, nil: bool = False) -> list[LinkedMention]:
    """An answer to every mention of the scored documents, in order."""
    return apply(Linker.from_pretrained(model, DecodingSettings(num_beams=5, nil=nil)), prepared.bench.test, prepared.types.of)


def gold_nil(bench: Bench, taught: ExampleSettings) -> list[bool | None]:
    """Whether NIL is right, of every mention of the scored documents, in order.

    It is where the mention is annotated as not in the vocabulary, and where all its concepts are among those held out, whichever source
    would have shown them.  None where nobody knows: nothing is annotated, or a code that the knowledge base lacks.
    """
    found: list[bool | None] = []
    for _, mention in mentions_of(bench):
        gold = {bench.kb.canonical(code) for code in mention.codes}
        found.append(None if mention.answers is None or None in gold else all(map(taught.holds_out, gold)))
    return found


def mentions_of(bench: Bench) -> list[tuple[str, Mention]]:
    """Every mention of the scored documents, in order, beside its document's id."""
    return [(document.id, mention) for document in bench.test for mention in document.mentions]


def answered_nil(linked: LinkedMention) -> bool:
    """Whether the first answer is the NIL leaf."""
    return bool(linked.predictions) and linked.predictions[0].code == NIL_CODE


def row(documents: Sequence[str], scores: Sequence[float]) -> dict[str, Any] | None:
    """A mean with its interval over documents; none of an empty stratum."""
    return figure(sum(scores) / len(scores), document_interval(documents, scores), len(scores)) if scores else None


def figure(value: float | None, interval: tuple[float, float] | None, n: int) -> dict[str, Any] | None:
    """A figure in the form of a results file; none without a denominator."""
    return None if value is None else {"value": round(value, 4), "ci95": interval and [round(x, 4) for x in interval], "n": n}


def write_results(args: argparse.Namespace, options: Options, sets: Sequence[JudgedSet]) -> None:
    """The results file: figures, and what is needed to get them again."""
    by_set = {one.prepared.bench.name: one for one in sets}
    content = {
        **results_file.head(args.results),
        "config": options.stated | {"nil_hold_out": args.nil_hold_out},
        "digests": {name: {"kb": one.prepared.bench.kb.digest, "lexicon": one.prepared.lexicon.digest} for name, one in by_set.items()},
        "hardware": "CPU, one thread",
        "seeds": [args.seed],
        "n": {name: len(one.prepared.bench.test) for name, one in by_set.items()},
        "metrics": {name: {title: figures["metrics"] for title, figures in one.found.items()} for name, one in by_set.items()},
        "given": {
            name: {title: {key: figures[key] for key in ("loss_tokens", "seconds")} for title, figures in one.found.items()} for name, one in by_set.items()
        },
        "notes": "Fitted on train, judged on dev (n: its documents), protocol set.  A Llama of about a million parameters from nothing; one seed, so "
        "differences within the intervals say nothing.  With NIL the mentions of held-out concepts cannot be right where it is not offered.  NIL is right "
        "of mentions annotated as not in the vocabulary and of held-out concepts, also of those that no source shows; a mention whose code the knowledge base "
        "lacks is neither known nor NIL.",
    }
    results_file.write(args.results, content)


if __name__ == "__main__":
    main()
