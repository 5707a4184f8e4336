"""A linker small enough to be trained in a quarter of an hour on a CPU, with queries for it, for the arms of exact search in `decode.py`.

    python benchmarks/train_decode_model.py --names mesh_disease.tsv doid.tsv hpo.tsv --out FOLDER [--steps 2500 | --minutes 15]
    python benchmarks/train_decode_model.py --names … --tokenizer FOLDER --out FOLDER       # a given tokenizer instead of one of 4,096 tokens

Each file of `code<TAB>name<TAB>P|S` is a vocabulary and becomes a group of the lexicon.  What exact search costs hangs on how sure a model
is, so this one's queries are mixed until its first answers look like a real linker's: about three quarters above one half, a tail below 0.01.
They are made of sentences that training never saw; a tenth of the concepts has no training sentence at all (`seen: false`).

    FOLDER/DIGEST/model/          weights, tokenizer and lexicon, as `syncabel.train` exports them; Linker.from_pretrained loads it
    FOLDER/DIGEST/queries.jsonl   {"prompt", "ids", "gold", "seen", "group", "kind", "mention"}, prompts of at most 128 tokens, most just below
    FOLDER/DIGEST/report.json     the recipe and the figures printed; written last

DIGEST is over everything that decides the weights; where the folder is whole nothing is done again.
"""

import argparse
import hashlib
import json
import random
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from printing import show

from data_gen import TemplateWriter, generate_documents
from data_gen.mentions import initials
from syncabel.groups import TypeMap
from syncabel.kb import KnowledgeBase
from syncabel.kb.merge import merge
from syncabel.kb.readers.table import read_names
from syncabel.lexicon.build import build_lexicon
from syncabel.prompt import PromptFormat, encode_prompt, from_document, prepare_tokenizer, prompt_text
from syncabel.sft import ExampleSettings, make_examples, write_examples, write_format
from syncabel.text import fold
from syncabel.types import Concept, Document, Mention, Prompt, SFTExample, Span

VERSION = 2  # of what this file does with a recipe; part of the digest
END = "<|end|>"
HEADS = 4
KINDS = ("name", "changed", "short_form", "synonym")


@dataclass(frozen=True, slots=True)
class Recipe:
    """What decides the weights.

    Attributes:
        names: SHA-256 of each file of names, by group.
        tokenizer: SHA-256 of the tokenizer.json given, or the number of tokens of one to be trained on the names.
        steps, minutes: the budget; minutes may be None, steps then decide alone.
        unseen_share: fraction of the concepts without a training sentence.
        held_out: synonyms taken out of the lexicon, to serve as mentions.
        per_concept: training sentences asked for per concept.
        unchanged_share: fraction of the training mentions that are a name as it is.
        context_dropout: fraction of the prompts without context; those teach names at a quarter of the tokens.
        context_chars: context on either side of a mention, in code points; two of them are about 100 tokens.
        word_cuts: fraction of the places inside a prompt's words where it is tokenised apart.
        batch, hidden, layers, learning_rate, seed: of the training; at least two layers.
    """

    names: Mapping[str, str]
    tokenizer: str
    steps: int
    minutes: float | None
    unseen_share: float = 0.1
    held_out: int = 1500
    per_concept: int = 2
    unchanged_share: float = 0.8
    context_dropout: float = 0.88
    context_chars: int = 200
    word_cuts: float = 0.0
    batch: int = 16
    hidden: int = 192
    layers: int = 3
    learning_rate: float = 1.5e-3
    seed: int = 0

    @property
    def digest(self) -> str:
        return _sha256(json.dumps([VERSION, asdict(self)], sort_keys=True).encode())


@dataclass(frozen=True, slots=True)
class Mix:
    """Which queries are asked: how many, of what kinds, how long.

    Attributes:
        queries: of seen and of unseen concepts together, half of each.
        shares: fraction of each kind.  `name`: a name as it is; `changed`: misspelt, reordered …; `short_form`: initials without their
            long form; `synonym`: a synonym that the lexicon lacks.
        tokens: longest prompt.
    """

    queries: int = 1000
    shares: tuple[float, float, float, float] = (0.92, 0.04, 0.01, 0.03)
    tokens: int = 128


@dataclass(frozen=True, slots=True)
class Query:
    """A line of queries.jsonl; `gold` is a code, `ids` the prompt's token ids."""

    prompt: str
    ids: tuple[int, ...]
    gold: str
    seen: bool
    group: str
    kind: str
    mention: str


@dataclass(frozen=True)
class Material:
    """The vocabularies without the synonyms held out, and what was held out of training."""

    kbs: tuple[KnowledgeBase, ...]
    unseen: frozenset[str]
    synonyms: tuple[tuple[str, str], ...]  # (code, name)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def material(paths: Sequence[Path], recipe: Recipe) -> Material:
    """Read the vocabularies and hold out."""
    whole = [KnowledgeBase.build(vocabulary.content, vocabulary.about) for vocabulary in (read_names(path, group=path.stem) for path in paths)]
    concepts = [[kb.concept(code) for code in kb.codes] for kb in whole]
    rng = random.Random(recipe.seed)
    everything = [concept for part in concepts for concept in part]
    owners: dict[str, int] = {}
    for key in (fold(name.text) for concept in everything for name in concept.names):
        owners[key] = owners.get(key, 0) + 1
    # Drawn by the preferred name, so that a disease unseen in one vocabulary is unseen under this name in the others.
    unseen = frozenset(c.code for c in everything if random.Random(f"{recipe.seed} {fold(c.preferred_name)}").random() < recipe.unseen_share)
    # Half of each, because unseen concepts are few and their queries are half of all.
    synonyms = [pair for part in (True, False) for pair in _synonyms([c for c in everything if (c.code in unseen) is part], owners, recipe.held_out // 2, rng)]
    gone = set(synonyms)
    kbs = [KnowledgeBase.build((_without(concept, gone) for concept in part), kb.about) for part, kb in zip(concepts, whole, strict=True)]
    return Material(tuple(kbs), unseen, tuple(synonyms))


def _synonyms(concepts: Sequence[Concept], owners: Mapping[str, int], count: int, rng: random.Random) -> Iterator[tuple[str, str]]:
    """One synonym each of concepts with three names or more, of those that nobody else has and that are more than a short form."""
    for concept in rng.sample(concepts, len(concepts)):
        fit = [n.text for n in concept.names if n.text != concept.preferred_name and len(n.text) > 5 and owners[fold(n.text)] == 1]
        if count and fit and len(concept.names) >= 3:
            count -= 1
            yield concept.code, rng.choice(fit)


def _without(concept: Concept, gone: set[tuple[str, str]]) -> Concept:
    return replace(concept, names=tuple(name for name in concept.names if (concept.code, name.text) not in gone))


def sentences(stuff: Material, writer: TemplateWriter, per_concept: int, seed: int, codes: Mapping[str, Sequence[str]] | None = None) -> list[Document]:
    """Template sentences, vocabulary by vocabulary: among all of them the gates would refuse a name that two vocabularies share."""
    made = (
        generate_documents(kb, writer, per_concept=per_concept, seed=seed, codes=[code for code in kb.codes if code not in stuff.unseen])
        if codes is None
        else generate_documents(kb, writer, per_concept=per_concept, seed=seed, codes=codes[kb.groups[0]])
        for kb in stuff.kbs
    )
    return [item for part in made for item in part if isinstance(item, Document) and not item.abbreviations]


def in_context(document: Document, others: Sequence[Document], rng: random.Random) -> Document:
    """The sentence between eight of others', as one line of notes with semicolons: the prompt shows the line as far as its window reaches."""
    mention = document.mentions[0]
    around = [_run_on(other.text) for other in rng.choices(others, k=8)]
    before = "; ".join(around[:4]) + "; " + _run_on(document.text[: mention.start], whole=False)
    text = before + mention.text + _run_on(document.text[mention.end :], whole=False).rstrip(".") + "; " + "; ".join(around[4:])
    start = len(before)
    return replace(document, text=text, mentions=(replace(mention, spans=(Span(start, start + len(mention.text)),)),))


def _run_on(text: str, whole: bool = True) -> str:
    """Full stops inside become semicolons, so that the whole is one sentence."""
    for stop in (". ", "? ", "! "):
        text = text.replace(stop, "; ")
    return text.rstrip(".?! ") if whole else text


def train_model(stuff: Material, recipe: Recipe, given: Path | None, work: Path, folder: Path) -> dict[str, Any]:
    """Tokenizer, lexicon, examples, training with the project's own code; the model is exported to `folder`."""
    from syncabel.train.arguments import parse
    from syncabel.train.run import train

    begun = time.perf_counter()
    kb = merge(stuff.kbs) if len(stuff.kbs) > 1 else stuff.kbs[0]
    plain = sentences(stuff, TemplateWriter("train", unchanged_share=recipe.unchanged_share), recipe.per_concept, recipe.seed)
    tokenizer = _tokenizer(kb, plain, recipe, given)
    tokenizer.save_pretrained(work / "tokenizer")
    lexicon = build_lexicon(kb, tokenizer)
    lexicon.save(work / "lexicon")
    copying_llama(tokenizer, recipe).save_pretrained(work / "first")
    rng = random.Random(recipe.seed)
    documents = [in_context(document, plain, rng) for document in plain]
    fmt, types = PromptFormat(context_chars=recipe.context_chars), TypeMap(kb.groups, {})
    settings = ExampleSettings(context_dropout=recipe.context_dropout, seed=recipe.seed)
    rows = make_examples(documents, lexicon, kb.canonical, types, fmt, settings)
    examples = write_examples((row for row in rows if isinstance(row, SFTExample)), work / "synthetic.jsonl")
    (work / "types.json").write_text(json.dumps(dict(types.table)), encoding="utf-8")
    # The sentences were written for the vocabulary they are from; check_targets holds each against this lexicon.
    write_format(work, fmt, lexicon, rebased_to=str(lexicon.header["kb_digest"]))
    prepared = time.perf_counter() - begun
    result = train(parse(_flags(recipe, work, folder)))
    sample = [len(lexicon.trie.path(entry)) for entry in range(0, len(lexicon), 97)]
    return {
        "names": len(lexicon), "codes": len(lexicon.codes), "shared_names": lexicon.header["shared"], "tokens_a_name": round(float(np.mean(sample)), 2),
        "vocabulary": len(tokenizer), "parameters": f"{result.run['model']['parameters']:,}", "examples": examples, "steps": result.steps,
        "loss": round(result.loss, 4), "seconds_prepared": round(prepared), "seconds_trained": round(result.seconds),
    }  # fmt: skip


def copying_tokenizer(texts: Iterable[str], vocab_size: int) -> Any:
    """A byte-level BPE whose tokens end with their space, so that a word has the same tokens after a bracket and after a space.

    Most tokenizers write "[Asthma" and " Asthma" with other tokens, and a small model would have to know every word's two spellings.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(" ", "merged_with_previous"),
            pre_tokenizers.Punctuation("isolated"),
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=[END], initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=END, clean_up_tokenization_spaces=False)  # type: ignore[no-untyped-call]


def _tokenizer(kb: KnowledgeBase, documents: Sequence[Document], recipe: Recipe, given: Path | None) -> Any:
    if given is not None:
        from transformers import AutoTokenizer

        return prepare_tokenizer(AutoTokenizer.from_pretrained(given), PromptFormat())
    names = [f" {text}" for text in kb.tables.names["text"]]
    return copying_tokenizer([*names, *(document.text for document in documents[::20])], int(recipe.tokenizer))


def copying_llama(tokenizer: Any, recipe: Recipe) -> Any:
    """A Llama whose first weights already copy: two heads look for the last place the current token stood and give the one that followed.

    Such induction heads (Olsson et al., 2022) are what a linker copies names with.  From random weights, 14,000 examples and a third of the
    time did not find them; laid in by hand they leave the training what is particular: where a name begins and ends, and slips of the pen.

    The first half of the hidden size holds a token's random code, the other a head's width of the previous token's, its last place a
    constant.  Layer 0, head 0 attends to the previous position (constant queries and keys, turned by one rotary step) and writes the code
    there into the second half.  In layer 1 heads 0 and 1 compare codes with it and copy the code found.  Everything else starts at random.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    width = recipe.hidden // HEADS
    pairs, code = width // 2, recipe.hidden // 2
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=recipe.hidden, intermediate_size=5 * recipe.hidden // 2, num_hidden_layers=recipe.layers,
        num_attention_heads=HEADS, num_key_value_heads=HEADS, max_position_embeddings=512, bos_token_id=None, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id, tie_word_embeddings=True,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(recipe.seed)
        model: Any = LlamaForCausalLM(config)
        embedding = model.model.embed_tokens.weight.zero_()
        embedding[:, :code] = 0.2 * torch.randn(len(tokenizer), code)
        embedding[:, -1] = 2.0
        angles = 10_000.0 ** (-torch.arange(pairs) / pairs)  # rotary frequencies, radians a position
        first, second = (layer.self_attn for layer in model.model.layers[:2])
        _clear(first, slice(0, width))
        _clear(second, slice(0, 2 * width))
        sharp = torch.arange(6)  # the fastest pairs tell neighbours apart
        first.k_proj.weight[sharp, -1] = 0.8
        first.q_proj.weight[sharp, -1] = 0.8 * torch.cos(angles[sharp])
        first.q_proj.weight[pairs + sharp, -1] = -0.8 * torch.sin(angles[sharp])
        place = torch.arange(width)
        first.v_proj.weight[place, place] = 1.0
        first.o_proj.weight[code + place, place] = 0.2
        slow = torch.nonzero(angles < 0.02).squeeze(1)  # these hardly turn within a mention
        slow = torch.cat([slow, pairs + slow])
        for head in (0, 1):
            at = head * width
            second.q_proj.weight[at + slow, torch.arange(len(slow))] = 3.0
            second.k_proj.weight[at + slow, code + torch.arange(len(slow))] = 3.0
            second.v_proj.weight[at + place, at + place] = 1.0
            second.o_proj.weight[at + place, at + place] = 0.6  # three times a token's own code, which else would be said again
    return model


def _clear(attention: Any, rows: slice) -> None:
    for projection in (attention.q_proj, attention.k_proj, attention.v_proj):
        projection.weight[rows] = 0
    attention.o_proj.weight[:, rows] = 0


def _flags(recipe: Recipe, work: Path, folder: Path) -> list[str]:
    """The quickstart's configuration with this recipe's files, budget and size, and nothing human to mix."""
    import yaml

    from syncabel.config_files import read_config, shipped_configs

    config: dict[str, Any] = read_config(shipped_configs("sft")["tiny-cpu"])
    config = {key: value for key, value in config.items() if key not in ("human_examples", "mix", "max_repeats", "muon_factor")}
    config |= {
        "init": "pretrained", "model_name_or_path": str(work / "first"), "adam_beta2": 0.99,
        "tokenizer": str(work / "tokenizer"), "lexicon": str(work / "lexicon"), "synthetic_examples": str(work / "synthetic.jsonl"),
        "types": str(work / "types.json"), "output_dir": str(work / "run"), "model_folder": str(folder), "context_chars": recipe.context_chars,
        "max_steps": recipe.steps, "per_device_train_batch_size": recipe.batch, "learning_rate": recipe.learning_rate, "word_cuts": recipe.word_cuts,
        "seed": recipe.seed, "licence": "other", "max_length": 384, "warmup_steps": min(60, recipe.steps // 10), "save_strategy": "no",
    }  # fmt: skip
    if recipe.minutes is not None:
        config["max_minutes"] = recipe.minutes
    (work / "sft.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return ["--config", str(work / "sft.yaml")]


@dataclass(frozen=True)
class Asker:
    """Makes queries of sentences from test frames."""

    stuff: Material
    mix: Mix
    tokenizer: Any
    fmt: PromptFormat
    rng: random.Random

    def queries(self) -> list[tuple[Query, Prompt]]:
        """Half of them on unseen concepts, in shuffled order; fewer than asked for where a kind has no more."""
        fillers = sentences(self.stuff, TemplateWriter("test"), 1, self.rng.getrandbits(30), self._spread(True))
        found = [pair for seen in (True, False) for pair in self._half(seen, fillers)]
        self.rng.shuffle(found)
        return found

    def _spread(self, seen: bool) -> dict[str, list[str]]:
        """Twice as many codes as are needed, by group, the groups evenly."""
        fit = {kb.groups[0]: [code for code in kb.codes if (code not in self.stuff.unseen) is seen] for kb in self.stuff.kbs}
        return {group: sorted(self.rng.sample(codes, min(len(codes), 2 * self.mix.queries // len(fit)))) for group, codes in fit.items()}

    def _half(self, seen: bool, fillers: Sequence[Document]) -> Iterator[tuple[Query, Prompt]]:
        kinds = self._documents(seen)
        for kind, share in zip(KINDS, self.mix.shares, strict=True):
            for document in self.rng.sample(kinds[kind], min(len(kinds[kind]), round(share * self.mix.queries / 2))):
                query, prompt = self._query(in_context(document, fillers, self.rng))
                yield replace(query, kind=kind, seen=seen), prompt

    def _documents(self, seen: bool) -> dict[str, list[Document]]:
        chosen = self._spread(seen)
        kb_of = {code: kb for kb in self.stuff.kbs for code in kb.codes}
        plain, changed = (sentences(self.stuff, TemplateWriter("test", unchanged_share=share), 1, self.rng.getrandbits(30), chosen) for share in (1.0, 0.0))
        synonyms = [(code, name) for code, name in self.stuff.synonyms if (code not in self.stuff.unseen) is seen]
        frames = self.rng.sample(plain, len(plain))
        return {
            "name": plain,
            "changed": [document for document in changed if not kb_of[document.mentions[0].codes[0]].codes_of(document.mentions[0].text)],
            "short_form": [renamed(document, short) for document in plain if (short := initials(document.mentions[0].text))],
            "synonym": [renamed(frame, name, code, kb_of[code].groups[0]) for (code, name), frame in zip(synonyms, frames, strict=False)],
        }

    def _query(self, document: Document) -> tuple[Query, Prompt]:
        """The widest window that keeps the prompt within its tokens."""
        low, high = 0, 4 * self.mix.tokens
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if len(self._prompt(document, middle)[1]) <= self.mix.tokens else (low, middle - 1)
        mention, (prompt, ids) = document.mentions[0], self._prompt(document, low)
        return Query(prompt_text(prompt), tuple(ids), mention.codes[0], True, str(mention.type), "", mention.text), prompt

    def _prompt(self, document: Document, context_chars: int) -> tuple[Prompt, list[int]]:
        mention = document.mentions[0]
        prompt = from_document(document, mention, (str(mention.type),), replace(self.fmt, context_chars=context_chars))
        return prompt, encode_prompt(prompt, self.tokenizer)


def renamed(document: Document, text: str, code: str | None = None, group: str | None = None) -> Document:
    """The sentence with another mention in the same place; of another concept where one is given."""
    old = document.mentions[0]
    answers = old.answers if code is None else ((code,),)
    mention = Mention(old.id, (Span(old.start, old.start + len(text)),), text, group or old.type, answers)
    return replace(document, text=document.text[: old.start] + text + document.text[old.end :], mentions=(mention,), provenance=None)


def measure(folder: Path, asked: Sequence[tuple[Query, Prompt]]) -> dict[str, Any]:
    """Accuracy and confidence of the first answers under beam search of width 5, by part."""
    from syncabel.decoding import DecodingSettings, decode
    from syncabel.linker import Linker

    linker = Linker.from_pretrained(folder, device="cpu")
    answers = decode(linker.model, linker.tokenizer, linker.lexicon, [prompt for _, prompt in asked], DecodingSettings(num_beams=5, max_batch_tokens=8192))
    right = np.array([row[0].code == query.gold for (query, _), row in zip(asked, answers, strict=True)])
    mass = np.array([row[0].mass for row in answers])
    parts: dict[str, Iterable[bool]] = {"all": [True] * len(asked), "seen": [q.seen for q, _ in asked], "unseen": [not q.seen for q, _ in asked]}
    parts |= {kind: [q.kind == kind for q, _ in asked] for kind in KINDS}
    masks = {name: np.array(list(part), bool) for name, part in parts.items()}
    return {name: _figures(right[mask], mass[mask]) for name, mask in masks.items() if mask.any()}


def _figures(right: Any, mass: Any) -> dict[str, float]:
    shares = {"accuracy": right, "above_0.5": mass > 0.5, "above_0.9": mass > 0.9, "below_0.01": mass < 0.01, "below_0.001": mass < 0.001}
    return {"n": len(right), **{name: round(float(np.mean(values)), 3) for name, values in shares.items()}}


def prepare(paths: Sequence[Path], tokenizer: Path | None, recipe: Recipe, out: Path, mix: Mix = Mix()) -> tuple[Path, dict[str, Any]]:
    """The folder of the recipe, made where it is not whole yet, and its report."""
    home = out / recipe.digest[:12]
    report_path = home / "report.json"
    stated = json.loads(json.dumps({"recipe": asdict(recipe), "version": VERSION, "mix": asdict(mix), "digest": recipe.digest}))
    if report_path.exists() and (old := json.loads(report_path.read_text(encoding="utf-8"))) and all(old.get(k) == v for k, v in stated.items()):
        return home, old
    stuff = material(paths, recipe)
    training = home / "training.json"
    if not training.exists():
        work = home / "work"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        figures = train_model(stuff, recipe, tokenizer, work, home / "model")
        training.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
        shutil.rmtree(work)
    asked = _write_queries(home, stuff, recipe, mix)
    figures = {"training": json.loads(training.read_text(encoding="utf-8")), "queries": measure(home / "model", asked)}
    lengths = [len(query.ids) for query, _ in asked]
    report = {**stated, **figures, "prompt_tokens": {"median": int(np.median(lengths)), "min": min(lengths), "max": max(lengths)}}
    report_path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return home, report


def _write_queries(home: Path, stuff: Material, recipe: Recipe, mix: Mix) -> list[tuple[Query, Prompt]]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(home / "model")
    asked = Asker(stuff, mix, tokenizer, PromptFormat(context_chars=recipe.context_chars), random.Random(recipe.seed + 1)).queries()
    lines = (json.dumps(asdict(query), ensure_ascii=False) + "\n" for query, _ in asked)
    (home / "queries.jsonl").write_text("".join(lines), encoding="utf-8")
    return asked


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", type=Path, nargs="+", required=True, help="files of code<TAB>name<TAB>P|S, a vocabulary each")
    parser.add_argument("--tokenizer", type=Path, help="a tokenizer's folder; without it one is trained on the names")
    parser.add_argument("--vocabulary", type=int, default=4096, help="tokens of the tokenizer that is trained")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--minutes", type=float, help="end training by the clock")
    parser.add_argument("--hidden", type=int, default=192)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    names = {path.stem: _sha256(path.read_bytes()) for path in args.names}
    tokenizer = str(args.vocabulary) if args.tokenizer is None else _sha256((args.tokenizer / "tokenizer.json").read_bytes())
    recipe = Recipe(names, tokenizer, args.steps, args.minutes, hidden=args.hidden, layers=args.layers)
    folder, report = prepare(args.names, args.tokenizer, recipe, args.out)
    shown = report if args.json else {name: report[name] for name in ("training", "prompt_tokens", "queries")}
    show({"folder": str(folder), **shown}, args.json)


if __name__ == "__main__":
    main()
