"""NCBI disease × MEDIC: baselines and a fine-tuned model under a stated budget, seen and unseen concepts apart.

    python scripts/benchmark_ncbi.py --data ../shared/data --minutes 15

Trains a small Llama from nothing on the CPU, or fine-tunes `--model` (SmolLM2-135M where a GPU is at hand).  The figures go,
with their recipe, to docs/results/ncbi_disease.yaml.
"""

import argparse
import hashlib
import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import results_file
import torch
import yaml

from data_gen import TemplateWriter
from data_gen import run as generate
from syncabel.baselines import Cascade, apply, standard_baselines
from syncabel.config_files import find_config, read_config
from syncabel.corpora import read_corpus, read_jsonl
from syncabel.decoding import DecodingSettings
from syncabel.dense import SentenceEncoder
from syncabel.evaluate import evaluate
from syncabel.groups import TypeMap
from syncabel.kb import About, KnowledgeBase, read_medic
from syncabel.lexicon.build import build_lexicon
from syncabel.linker import Linker
from syncabel.progress import bars_on_terminals_only
from syncabel.prompt import PromptFormat, encode_prompts, encode_shared, format_named, from_document, prepare_tokenizer
from syncabel.sft import make_examples, write_examples, write_format
from syncabel.train.arguments import parse
from syncabel.train.record import public
from syncabel.train.run import train
from syncabel.train.scratch import train_tokenizer
from syncabel.types import Document, Ranker, SFTExample

FILES = {"train": "NCBItrainset_corpus.txt", "dev": "NCBIdevelopset_corpus.txt", "test": "NCBItestset_corpus.txt"}


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with corpora/ncbi_disease and kb/medic_06Jul2012.txt")
    parser.add_argument("--corpus", type=Path, help="folder of the three corpus files")
    parser.add_argument("--medic", type=Path, help="the MEDIC file")
    parser.add_argument("--minutes", type=float, default=15, help="training budget; 0 scores the baselines only")
    parser.add_argument("--steps", type=int, help="train exactly so many steps instead, however long they take: for comparing on a machine that others load")
    parser.add_argument("--encoder", help="sentence encoder for the dense baselines: minilm, sapbert, coder or a folder; none of them where not given")
    parser.add_argument("--model", help="pretrained model folder to start from; a small random Llama where not given")
    parser.add_argument("--per-concept", type=int, default=8, help="synthetic sentences asked for per concept")
    parser.add_argument("--vocabulary", type=int, default=1000, help="tokens of the tokenizer trained for a random model")
    parser.add_argument("--format", default="sentence", help="prompt format: sentence, syncabel or document-first")
    parser.add_argument("--context-chars", type=int, default=60, help="context on either side of a mention, in code points; give document-first 25")
    parser.add_argument("--document-chars", type=int, help="of document-first: code points of the document that come first")
    parser.add_argument("--max-length", type=int, default=256, help="longest prompt with its name that a random model is trained on, in tokens")
    parser.add_argument("--mix", default="1:1", help="human:synthetic in loss tokens")
    parser.add_argument("--hidden", type=int, default=192, help="hidden size of a random model")
    parser.add_argument("--learning-rate", type=float, default=2e-3, help="give a pretrained model 3e-4")
    parser.add_argument("--batch", type=int, default=16, help="examples a step of a pretrained model")
    parser.add_argument("--bf16", action="store_true", help="compute a pretrained model's layers in 16 bits, where the processor multiplies them natively")
    parser.add_argument("--beams", type=int, default=5)
    parser.add_argument("--free-beams", type=int, default=5, help="of free writing, which is the slower")
    parser.add_argument("--output", type=Path, default=Path("out/ncbi"))
    parser.add_argument("--results", type=Path, default=Path("docs/results/ncbi_disease.yaml"))
    return parser.parse_args()


def main() -> None:
    """Run the benchmark top to bottom."""
    args = arguments()
    bars_on_terminals_only()
    started = time.perf_counter()
    corpus = args.corpus or args.data / "corpora" / "ncbi_disease"
    kb = KnowledgeBase.build(
        read_medic(args.medic or args.data / "kb" / "medic_06Jul2012.txt").content,
        About(source="MEDIC", release="6 July 2012", licence="CTD terms of use", redistributable=False),
    )  # fmt: skip
    splits = {split: read_corpus(corpus / name, split=split).documents for split, name in FILES.items()}
    fitted = [*splits["train"], *splits["dev"]]

    types = TypeMap.counted(fitted, lambda _code: kb.groups, kb.groups)
    scores = {name: scored(ranker, splits["test"], kb, types, fitted) for name, ranker in baselines(args, kb, fitted).items()}
    recipe: dict[str, Any] = {}
    if args.minutes > 0:
        linker, synthetic, recipe = fine_tuned(args, kb, splits["train"])
        free = replace(linker, settings=DecodingSettings(constrained=False, num_beams=args.free_beams, max_new_tokens=64))
        for name, ranker in {"model_constrained": linker, "model_free": free}.items():
            scores[name] = scored(ranker, splits["test"], kb, types, splits["train"], synthetic)
        recipe["prompts"] = prompt_tokens(splits["test"], types, linker.fmt, linker.tokenizer)
    write_results(args, kb, scores, recipe, time.perf_counter() - started)


def baselines(args: argparse.Namespace, kb: KnowledgeBase, fitted: Sequence[Document]) -> dict[str, Ranker]:
    """Every baseline, reading mentions as they are written and then by their long forms."""
    encoder = SentenceEncoder.named(args.encoder, args.output / "embeddings") if args.encoder else None
    systems: dict[str, Ranker] = {}
    for long_forms in (False, True):
        named = "_long_forms" if long_forms else ""
        found = standard_baselines(kb, fitted, long_forms, encoder)
        found["dictionary_then_exact"] = Cascade((found["dictionary"], found["exact"]))
        systems |= {f"{name}{named}": ranker for name, ranker in found.items()}
    return systems


def fine_tuned(args: argparse.Namespace, kb: KnowledgeBase, human: Sequence[Document]) -> tuple[Linker, Sequence[Document], dict[str, Any]]:
    """Synthetic data, lexicon, examples, training; dev is not used for fitting here."""
    data = args.output / "data"
    generate(kb, TemplateWriter(), data / "synthetic", per_concept=args.per_concept, seed=0)
    synthetic = read_jsonl(data / "synthetic" / "documents.jsonl").documents
    fmt = format_of(args)
    tokenizer = prepare_tokenizer(tokenizer_for(args, kb, [*human, *synthetic[::20]]), fmt)
    tokenizer.save_pretrained(data / "tokenizer")
    lexicon = build_lexicon(kb, tokenizer)
    lexicon.save(data / "lexicon")
    types = TypeMap.counted(human, lambda _code: kb.groups, kb.groups)
    made = [row for row in make_examples([*human, *synthetic], lexicon, kb.canonical, types, fmt) if isinstance(row, SFTExample)]
    counts = {source: write_examples((row for row in made if row.source == source), data / f"{source}.jsonl") for source in ("human", "synthetic")}
    (data / "types.json").write_text(json.dumps(dict(types.table)), encoding="utf-8")
    write_format(data, fmt, lexicon)
    result = train(parse(training_flags(args, data)))
    linker = Linker.from_pretrained(args.output / "model", DecodingSettings(num_beams=args.beams))
    return linker, synthetic, {"examples": counts, "lexicon_entries": len(lexicon), "training_seconds": round(result.seconds), "run": public(result.run)}


def format_of(args: argparse.Namespace) -> PromptFormat:
    """The prompt format asked for."""
    return format_named(args.format, context_chars=args.context_chars, document_chars=args.document_chars)


def tokenizer_for(args: argparse.Namespace, kb: KnowledgeBase, documents: Sequence[Document]) -> Any:
    """The pretrained model's own tokenizer, or one trained on names and texts."""
    if args.model:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(args.model)
    names = [f" {name.text}" for concept in kb.concepts() for name in concept.names]
    return train_tokenizer([*names, *(document.text for document in documents)], args.vocabulary)


def training_flags(args: argparse.Namespace, data: Path) -> list[str]:
    """The quickstart's configuration with this benchmark's files, budget and size; or SmolLM2's."""
    flags = {
        "tokenizer": data / "tokenizer", "lexicon": data / "lexicon", "human_examples": data / "human.jsonl", "synthetic_examples": data / "synthetic.jsonl",
        "types": data / "types.json", "output_dir": args.output / "run", "model_folder": args.output / "model", "mix": args.mix,
        "prompt_format": args.format, "context_chars": args.context_chars, "licence": "other",
    }  # fmt: skip
    flags |= {"document_chars": args.document_chars} if args.document_chars is not None else {}
    flags |= {"max_steps": args.steps} if args.steps else {"max_steps": 9000, "max_minutes": args.minutes}
    if args.model:
        flags["model_name_or_path"] = args.model
    else:
        flags |= {"hidden_size": args.hidden, "intermediate_size": 3 * args.hidden, "learning_rate": args.learning_rate}
        flags |= {"max_length": args.max_length, "context_length": max(512, args.max_length)}
    config = pretrained_config(args) if args.model else "tiny-cpu"
    return ["--config", config, *(part for key, value in flags.items() for part in (f"--{key}", str(value)))]


def pretrained_config(args: argparse.Namespace) -> str:
    """SmolLM2's configuration without dev documents: nothing is chosen on dev here, the last weights are the model."""
    own = ("dev_documents", "eval_strategy", "eval_steps", "dev_sample", "packing", "report_to")
    config = {key: value for key, value in read_config(find_config("smollm2-135m", "sft")).items() if key not in own}
    config |= {
        "packing": False, "bucket_batches": 16, "per_device_train_batch_size": args.batch, "gradient_accumulation_steps": 1,
        "learning_rate": args.learning_rate, "max_length": args.max_length, "bf16": args.bf16, "max_repeats": 1000,
        "eval_strategy": "no", "report_to": "none", "save_steps": 100,
    }  # fmt: skip
    path = args.output / "config.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return str(path)


def scored(
    ranker: Ranker, documents: Sequence[Document], kb: KnowledgeBase, types: TypeMap, train: Sequence[Document], synthetic: Sequence[Document] = ()
) -> dict[str, Any]:
    """Recall@1 on all mentions, and by whether human training documents, only synthetic ones, or neither had the concept."""
    report = evaluate(documents, apply(ranker, documents, types.of, k=5), kb, protocol="any", train=train, synthetic=synthetic)
    cells = {"all": (report.n, report.recall_at_1, report.ci95)}
    cells |= {name: (cell.n, cell.recall_at_1, cell.ci95) for name, cell in report.strata["concept"].items() if cell.n}
    return {name: {"recall_at_1": {"value": round(recall, 4), "ci95": [round(x, 4) for x in ci95], "n": n}} for name, (n, recall, ci95) in cells.items()}


def prompt_tokens(documents: Sequence[Document], types: TypeMap, fmt: PromptFormat, tokenizer: Any) -> dict[str, float]:
    """Mean tokens of a mention's prompt; of them those that are new where what mentions share comes first and is run once, and where every common prefix is."""
    counts = Counter[str]()
    for document in documents:
        prompts = [from_document(document, mention, types.of(mention.type), fmt) for mention in document.mentions]
        rows = encode_prompts(prompts, tokenizer)
        heads = {prompt.shared: len(encode_shared(prompt, tokenizer)) for prompt in prompts}
        own = sum(len(row) - heads[prompt.shared] for row, prompt in zip(rows, prompts, strict=True))
        prefixes = {tuple(row[:end]) for row in rows for end in range(1, len(row) + 1)}
        counts.update(mentions=len(rows), all=sum(map(len, rows)), new_if_shared_once=own + sum(heads.values()), new_if_every_prefix_once=len(prefixes))
    return {name: round(count / counts["mentions"], 1) for name, count in counts.items() if name != "mentions"}


def write_results(args: argparse.Namespace, kb: KnowledgeBase, scores: Mapping[str, Any], recipe: Mapping[str, Any], seconds: float) -> None:
    """The results file, in the form of docs/results/README.md: figures, and everything needed to get them again."""
    settings = {key: str(value) if isinstance(value, Path) else value for key, value in vars(args).items()}
    content = {
        **results_file.head(args.results),
        "config": settings,
        "digests": {"config": hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest(), "kb": kb.digest},
        "kb": {"source": kb.about.source, "release": kb.about.release},
        "data": {"baselines": "NCBI disease train + dev", "model": "NCBI disease train, and template sentences for every concept", "test": "NCBI disease test"},
        "threads": torch.get_num_threads(),
        "hardware": results_file.processor(),
        "software": results_file.software("torch", "transformers"),
        "protocol": "any",
        "seeds": [42],
        "n": scores["tfidf"]["all"]["recall_at_1"]["n"],
        "seconds": round(seconds),
        "metrics": dict(scores),
        **({"model_recipe": dict(recipe)} if recipe else {}),
        "notes": "All 960 mentions, composites included; alternative ids resolved.  human / synthetic_only / neither: where the concept was seen; "
        "for the baselines `human` means train + dev, for the model train.",
    }
    results_file.write(args.results, content)
    for name, score in scores.items():
        print(f"{name:24}", "  ".join(f"{part} {cell['recall_at_1']['value']:.3f} (n={cell['recall_at_1']['n']})" for part, cell in score.items()))


if __name__ == "__main__":
    main()
