"""`syncabel lexicon build|tokenizer`."""

import json
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from syncabel.cli.console import err, print_json
from syncabel.corpora import read_corpus
from syncabel.errors import FormatError, MissingExtraError
from syncabel.kb import KnowledgeBase
from syncabel.prompt import PromptFormat, prepare_tokenizer
from syncabel.types import to_json

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Names of a knowledge base as a token trie.")


@app.callback()
def _root() -> None:
    """Names of a knowledge base as a token trie."""


@app.command()
def build(
    kb: Annotated[str, typer.Argument(help="Knowledge base: a folder, or `doid`.")],
    tokenizer: Annotated[Path, typer.Option(help="Folder of the model's tokenizer.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write.")],
    prompt_format: Annotated[str, typer.Option(help="sentence, or syncabel, which adds its separator to the tokenizer.")] = "sentence",
    save_tokenizer: Annotated[Path | None, typer.Option(help="Also write the tokenizer as the lexicon needs it to this folder.")] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder that keeps token ids, so that the same names are tokenised once per tokenizer.")] = None,
    shared: Annotated[Path | None, typer.Option(help="Write the names that could not stand as they are, and their leaves, to this file, JSON Lines.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the header as JSON.")] = False,
) -> None:
    """Build the lexicon of a knowledge base for a tokenizer; training completes its tokenizer for the prompt format in the same way."""
    from syncabel.lexicon.build import lexicon_and_account

    fmt = PromptFormat(prompt_format)  # type: ignore[arg-type]
    complete = prepare_tokenizer(load_tokenizer(tokenizer), fmt)
    lexicon, account = lexicon_and_account(KnowledgeBase.load(kb), complete, cache, lambda line: err.print(line, markup=False))
    lexicon.save(output)
    if shared is not None:
        shared.write_text("".join(json.dumps(to_json(row), ensure_ascii=False) + "\n" for row in account), encoding="utf-8")
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


def load_tokenizer(folder: Path) -> Any:
    """A tokenizer from a local folder.

    Raises:
        FileNotFoundError: the folder has no tokenizer.json.
        FormatError: its tokenizer.json is no JSON.
        MissingExtraError: transformers is not installed.
    """
    if not (folder / "tokenizer.json").exists():
        raise FileNotFoundError(2, "no tokenizer there; give the folder of a model or tokenizer", str(folder / "tokenizer.json"))
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise MissingExtraError("link", str(error.name)) from None
    try:
        json.loads((folder / "tokenizer.json").read_bytes())
    except ValueError as error:  # bad JSON or bad UTF-8
        raise FormatError(f"damaged: {error}", folder / "tokenizer.json", hint="copy the tokenizer again") from None
    return AutoTokenizer.from_pretrained(folder)


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
    texts = [document.text for document in read_corpus(documents).documents] if documents else []
    trained = train_tokenizer([*names, *texts], vocabulary)
    trained.save_pretrained(output)
    err.print(f"{output}: {len(trained):,} tokens, from {len(names):,} names and {len(texts):,} documents", markup=False)
