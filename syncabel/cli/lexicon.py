"""`syncabel lexicon build|update|tokenizer`."""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from constrained.trie import save_array
from syncabel.cli.console import err, print_json
from syncabel.corpora import read_corpus
from syncabel.corpora.corpus import refuse_test
from syncabel.errors import ConfigError, FormatError, MissingExtraError
from syncabel.fetch import TOKENIZER_FILES, fetched
from syncabel.kb import KnowledgeBase
from syncabel.lexicon.store import Lexicon, refuse_foreign
from syncabel.prompt import format_named, prepare_tokenizer
from syncabel.types import Document, to_json

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Names of a knowledge base as a token trie.")


@app.callback()
def _root() -> None:
    """Names of a knowledge base as a token trie."""


@app.command()
def build(
    kb: Annotated[str, typer.Argument(help="Knowledge base: a folder, or `doid`.")],
    tokenizer: Annotated[Path, typer.Option(help="Folder of the model's tokenizer, or ORG/NAME of the model on the Hub.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write.")],
    prompt_format: Annotated[str, typer.Option(help="sentence or document-first, or syncabel, which adds its separator to the tokenizer.")] = "sentence",
    save_tokenizer: Annotated[Path | None, typer.Option(help="Also write the tokenizer as the lexicon needs it to this folder.")] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder that keeps token ids, so that the same names are tokenised once per tokenizer.")] = None,
    shared: Annotated[Path | None, typer.Option(help="Write the names that could not stand as they are, and their leaves, to this file, JSON Lines.")] = None,
    nil: Annotated[
        str | None, typer.Option(help="Name of one leaf more, which says that a mention is not in the knowledge base; offered only when asked for.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the header as JSON.")] = False,
) -> None:
    """Build the lexicon of a knowledge base for a tokenizer; training completes its tokenizer for the prompt format in the same way."""
    from syncabel.lexicon.build import lexicon_and_account

    fmt = format_named(prompt_format)
    refuse_foreign(output)  # before the minutes that a large one takes
    complete = prepare_tokenizer(load_tokenizer(tokenizer), fmt)
    lexicon, account = lexicon_and_account(KnowledgeBase.load(kb), complete, cache, lambda line: err.print(line, markup=False), nil)
    lexicon.save(output)
    if shared is not None:
        _write_lines(shared, map(to_json, account))
    if save_tokenizer is not None:
        complete.save_pretrained(save_tokenizer)
    if as_json:
        print_json(dict(lexicon.header))
        return
    header = lexicon.header
    reasons = Counter(row.reason for row in account)
    err.print(
        f"{output}: {header['entries']:,} names of {header['codes']:,} concepts, {header['shared']:,} told apart "
        f"({reasons['shared_name']:,} names that several concepts share, {reasons['tokenises_alike']:,} that tokenise alike), "
        f"{header['merged']:,} of one concept that tokenise alike merged; {lexicon.trie.n_nodes:,} nodes, "
        f"{lexicon.trie.nbytes / header['entries']:.1f} bytes a name",
        markup=False,
    )


@app.command()
def update(
    old: Annotated[Path, typer.Argument(help="Folder of the lexicon to start from; it may be the one to write.")],
    kb: Annotated[str, typer.Argument(help="Knowledge base as it is now: a folder, or `doid`.")],
    tokenizer: Annotated[Path, typer.Option(help="Folder of the model's tokenizer, the one of the old lexicon.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write.")],
    prompt_format: Annotated[str, typer.Option(help="As the old lexicon was built with.")] = "sentence",
    cache: Annotated[Path | None, typer.Option(help="Folder that keeps token ids, as for `build`.")] = None,
    changes: Annotated[Path | None, typer.Option(help="Write the leaves that went and came to this file, JSON Lines.")] = None,
    numbers: Annotated[Path | None, typer.Option(help="Write the new number of each old entry, -1 for one that is gone, to this .npy file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print header and counts as JSON.")] = False,
) -> None:
    """Bring a lexicon to a changed knowledge base; only names that are new to it are tokenised, and the result is what `build` gives."""
    from syncabel.lexicon.update import update_lexicon

    fmt = format_named(prompt_format)
    refuse_foreign(output)
    complete = prepare_tokenizer(load_tokenizer(tokenizer), fmt)
    result = update_lexicon(Lexicon.load(old), KnowledgeBase.load(kb), complete, cache, lambda line: err.print(line, markup=False))
    result.lexicon.save(output)
    if changes is not None:
        _write_lines(changes, result.changes())
    if numbers is not None:
        save_array(numbers, result.new_number)
    counts = {"kept": len(result.lexicon) - len(result.added), "retired": len(result.retired), "added": len(result.added), "tokenised": result.tokenised}
    if as_json:
        print_json({**result.lexicon.header, **counts})
        return
    err.print(
        f"{output}: {counts['kept']:,} names stay, {counts['retired']:,} retired, {counts['added']:,} added; {counts['tokenised']:,} tokenised", markup=False
    )


def _write_lines(path: Path, rows: Iterable[Any]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


_UNREADABLE = (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError)  # transformers takes the files' word for their form


def load_tokenizer(folder: Path) -> Any:
    """A tokenizer from a folder, or from a repository of the Hub.

    Raises:
        FileNotFoundError: the folder has no tokenizer.json.
        IncompleteFolderError, ConfigError: there is no such folder, and no such repository.
        FormatError: its tokenizer.json is no JSON.
        ConfigError: it is JSON, but no tokenizer comes of it and the files beside it.
        MissingExtraError: transformers is not installed.
    """
    folder = fetched(folder, TOKENIZER_FILES)
    if not (folder / "tokenizer.json").exists():
        raise FileNotFoundError(2, "no tokenizer there; give the folder of a model or tokenizer", str(folder / "tokenizer.json"))
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise MissingExtraError("link", str(error.name)) from None
    from syncabel.decoding import exported_tokenizer

    try:
        json.loads((folder / "tokenizer.json").read_bytes())
    except ValueError as error:  # bad JSON or bad UTF-8
        raise FormatError(f"damaged: {error}", folder / "tokenizer.json", hint="copy the tokenizer again") from None
    try:
        return exported_tokenizer(folder) if _is_exported(folder) else AutoTokenizer.from_pretrained(folder)
    except Exception as error:
        # The Rust side of tokenizers raises `Exception` itself for what it cannot read; its subclasses are let through unless listed.
        if type(error) is not Exception and not isinstance(error, _UNREADABLE):
            raise
        problem = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigError(f"{folder}: no tokenizer can be made of its files ({problem[:200]}); copy the tokenizer again") from None


def _is_exported(folder: Path) -> bool:
    """Whether it is a model folder of this project; of one on the Hub, config.json comes with the tokenizer."""
    path = folder / "config.json"
    return path.is_file() and "syncabel" in json.loads(path.read_bytes())


@app.command()
def tokenizer(
    kb: Annotated[str, typer.Argument(help="Knowledge base: a folder, or `doid`.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write.")],
    documents: Annotated[list[Path] | None, typer.Option(help="Documents to learn from beside the names, JSON Lines or PubTator; may be repeated.")] = None,
    vocabulary: Annotated[int, typer.Option(min=257, help="Tokens.")] = 600,
) -> None:
    """Train a small byte-level tokenizer on names and sentences, for a model from scratch; a pretrained model brings its own."""
    try:
        import transformers
    except ImportError as error:
        raise MissingExtraError("link", str(error.name)) from None
    del transformers
    from syncabel.train.scratch import train_tokenizer

    names = [f" {name.text}" for concept in KnowledgeBase.load(kb).concepts() for name in concept.names]
    texts = [document.text for document in _training_documents(documents or [])]
    trained = train_tokenizer([*names, *texts], vocabulary)
    trained.save_pretrained(output)
    err.print(f"{output}: {len(trained):,} tokens, from {len(names):,} names and {len(texts):,} documents", markup=False)


def _training_documents(paths: list[Path]) -> tuple[Document, ...]:
    """The documents of some files; test documents are refused, what could not be read is said."""
    if not paths:
        return ()
    read = read_corpus(paths)
    refuse_test(read.documents, ", ".join(map(str, paths)))
    if read.rejections:
        first = read.rejections[0]
        reasons = dict(Counter(row.reason for row in read.rejections))
        err.print(f"rejected: {len(read.rejections):,} {reasons}, first: {first.where}: {first.reason}", markup=False)
    return read.documents
