"""What three options of training do, each alone: targets drawn by similarity, a contrast term, a NIL answer.  NCBI disease, judged on dev.

    python scripts/training_options.py --steps 500

Every variant trains the same small Llama from nothing on human train documents 1:1 with template sentences, at equal steps; the test
documents are not looked at.  A variant that is in OUTPUT already is not run again.
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
from syncabel.evaluate import document_interval, scores_of
from syncabel.lexicon.build import build_lexicon
from syncabel.lexicon.store import Lexicon
from syncabel.linker import Linker
from syncabel.progress import bars_on_terminals_only
from syncabel.sft import ExampleSettings, codes_held_out, make_examples, write_examples, write_format
from syncabel.train.arguments import parse
from syncabel.train.run import train
from syncabel.types import NIL_CODE, LinkedMention, SFTExample

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


def variants(seed: int, nil_hold_out: float) -> list[Variant]:
    """The plain one first."""
    plain = ExampleSettings(seed=seed)
    return [
        Variant("plain", plain, {}),
        Variant("sampled targets", replace(plain, target="sampled"), {}),
        Variant("contrast 0.5, 4 negatives", plain, {"contrast": 0.5, "negatives": 4}),
        Variant("contrast 0.5, 16 negatives", plain, {"contrast": 0.5, "negatives": 16}),
        Variant("nil", replace(plain, nil=True, nil_hold_out=nil_hold_out), {}),
    ]


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
    options = Options(steps=args.steps)
    bench = on_dev(SETS["ncbi_disease"](Places(args.data, args.ontologies, args.maker)))
    prepared = WithNil(bench, options, args.output / "data", None)
    found = {}
    for variant in variants(args.seed, args.nil_hold_out):
        folder = args.output / variant.name.replace(" ", "-").replace(",", "")
        if not (folder / "figures.json").exists():
            figures = trained_and_judged(variant, prepared, folder, args.seed)
            (folder / "figures.json").write_text(json.dumps(figures, indent=1), encoding="utf-8")
        found[variant.name] = json.loads((folder / "figures.json").read_text(encoding="utf-8"))
        print(f"{variant.name:28}", "  ".join(f"{name} {row['value']:.3f} (n={row['n']})" for name, row in found[variant.name]["metrics"].items()), flush=True)
    write_results(args, prepared, found)


def on_dev(bench: Bench) -> Bench:
    """The set with its train documents to fit on and its dev documents to score."""
    parts = {split: tuple(document for document in bench.fit if document.split == split) for split in ("train", "dev")}
    return replace(bench, fit=parts["train"], test=parts["dev"])


def trained_and_judged(variant: Variant, prepared: WithNil, folder: Path, seed: int) -> dict[str, Any]:
    """One training and its figures on dev."""
    folder.mkdir(parents=True, exist_ok=True)
    (human, human_tokens), (other, other_tokens) = (prepared.made(variant, source, folder) for source in ("human", "template"))
    batch = batch_for(human_tokens, other_tokens, prepared.options.batch)
    config = {**training_config(Cell("ncbi_disease", "human+template", seed), prepared, human, other, batch), **variant.training}
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    train(parse(["--config", str(folder / "config.yaml"), "--output_dir", str(folder / "run"), "--model_folder", str(folder / "model")]))
    ledger = ledger_of(folder / "run", batch)
    codes = [code for document in prepared.sources["human"] for mention in document.mentions for code in mention.codes]
    held_out = codes_held_out(codes, prepared.bench.kb.canonical, variant.examples) if variant.examples.nil_hold_out else ()
    return {"metrics": judged(prepared, folder / "model", held_out), "loss_tokens": ledger.loss_tokens, "seconds": ledger.seconds}


def judged(prepared: WithNil, model: Path, held_out: Sequence[str]) -> dict[str, Any]:
    """Recall@1 with NIL not offered; where concepts were held out also with it, on the others, and how NIL itself is answered."""
    bench = prepared.bench
    linked = apply(Linker.from_pretrained(model, DecodingSettings(num_beams=5)), bench.test, prepared.types.of)
    documents, scores = scores_of(bench.test, linked, bench.kb, "set")
    found = {"recall_at_1": row(documents, scores)}
    if not held_out:
        return found
    offered = apply(Linker.from_pretrained(model, DecodingSettings(num_beams=5, nil=True)), bench.test, prepared.types.of)
    gold = [{bench.kb.canonical(code) for code in mention.codes} for document in bench.test for mention in document.mentions if mention.answers]
    nil = [bool(codes) and codes <= set(held_out) for codes in gold]
    said = [answered_nil(linked) for linked, mention in zip(offered, mentions_of(bench), strict=True) if mention.answers]
    _, with_nil = scores_of(bench.test, offered, bench.kb, "set")
    known = [i for i, is_nil in enumerate(nil) if not is_nil]
    return found | {
        "recall_at_1 of known concepts, NIL not offered": row([documents[i] for i in known], [scores[i] for i in known]),
        "recall_at_1 of known concepts, NIL offered": row([documents[i] for i in known], [with_nil[i] for i in known]),
        "NIL recall": row(*taken(documents, said, nil)),
        "NIL precision": row(*taken(documents, nil, said)),
    }


def mentions_of(bench: Bench) -> list[Any]:
    """Every mention of the scored documents, in order."""
    return [mention for document in bench.test for mention in document.mentions]


def answered_nil(linked: LinkedMention) -> bool:
    """Whether the first answer is the NIL leaf."""
    return bool(linked.predictions) and linked.predictions[0].code == NIL_CODE


def taken(documents: Sequence[str], values: Sequence[bool], where: Sequence[bool]) -> tuple[list[str], list[float]]:
    """Documents and values of the places that count."""
    chosen = [i for i, counts in enumerate(where) if counts]
    return [documents[i] for i in chosen], [float(values[i]) for i in chosen]


def row(documents: Sequence[str], scores: Sequence[float]) -> dict[str, Any]:
    """A mean with its interval over documents; none of an empty stratum."""
    if not scores:
        return {"value": float("nan"), "ci95": None, "n": 0}
    return {"value": round(sum(scores) / len(scores), 4), "ci95": [round(x, 4) for x in document_interval(documents, scores)], "n": len(scores)}


def write_results(args: argparse.Namespace, prepared: WithNil, found: Mapping[str, Any]) -> None:
    """The results file: figures, and what is needed to get them again."""
    content = {
        **results_file.head(args.results),
        "config": prepared.options.stated | {"nil_hold_out": args.nil_hold_out},
        "digests": {"kb": prepared.bench.kb.digest, "lexicon": prepared.lexicon.digest},
        "hardware": "CPU, one thread",
        "seeds": [args.seed],
        "n": len(prepared.bench.test),
        "metrics": {name: figures["metrics"] for name, figures in found.items()},
        "given": {name: {key: figures[key] for key in ("loss_tokens", "seconds")} for name, figures in found.items()},
        "notes": "NCBI disease: fitted on train, judged on dev (n: its documents), protocol set.  A Llama of about a million parameters from nothing; "
        "one seed, so differences within the intervals say nothing.  With NIL the mentions of held-out concepts cannot be right where it is not offered.",
    }
    results_file.write(args.results, content)


if __name__ == "__main__":
    main()
