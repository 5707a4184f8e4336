"""Style examples: human training sentences of a semantic group, seeded, and the same for a whole run so that prompts share their start."""

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from data_gen.writer import Shot, document_seed
from syncabel.corpora import SOURCES, source_of
from syncabel.errors import ConfigError
from syncabel.text import fold, sentence_around, title_of
from syncabel.types import Document, Mention, Span

if TYPE_CHECKING:
    from syncabel.kb import KnowledgeBase

__all__ = ["is_shareable", "refuse_private", "style_examples"]

_CONTEXT_CHARS = 300  # most code points on either side of a mention
_SHORTEST, _LONGEST = 30, 400  # code points of a sentence worth showing


def is_shareable(paths: Iterable[Path | str]) -> bool:
    """Whether every file is an official one, content verified, of a corpus whose owner lets its text go to other machines.

    Raises:
        OSError: a file cannot be read.
    """
    found = [source_of(path) for path in paths]
    return bool(found) and all(official is not None and official.verified is True and SOURCES[official.source].shareable for official in found)


def refuse_private(*, shareable: bool, local: bool, where: str) -> None:
    """Keep a corpus that is not marked shareable on this machine.

    Args:
        shareable: whether its owner lets its text go elsewhere.
        local: whether whatever reads it stays on this machine, see `ChatEngine.local`.
        where: the corpus, as the caller knows it.

    Raises:
        ConfigError: it would leave the machine.
    """
    if not (shareable or local):
        raise ConfigError(
            f"{where}: not marked shareable, and the engine is not on this machine; use a local engine, leave the style examples out, or mark the corpus "
            "shareable if its owner says so"
        )


def style_examples(
    documents: Iterable[Document], kb: "KnowledgeBase", k: int, seed: int, *, shareable: bool, local: bool, language: str = "en", where: str = "the corpus"
) -> dict[str, tuple[Shot, ...]]:
    """Up to k sentences for each group, each with another mention.

    Titles, discontinuous mentions, mentions without a concept of the knowledge base, documents of other languages and synthetic ones are
    passed over; a group of which nothing is left is not in the result, and prompts do without.

    Args:
        documents: of split train, all of them.
        kb: tells the groups of a mention's concepts.
        k: most examples a group.
        seed: of the run.
        shareable, local, where: see `refuse_private`.
        language: ISO 639-1 code of the prompts.

    Returns:
        Group -> examples in corpus order.  A group's do not depend on the other groups.

    Raises:
        ConfigError: a document is of another split or of none, or the corpus may not leave this machine.
    """
    refuse_private(shareable=shareable, local=local, where=where)
    candidates: defaultdict[str, list[Shot]] = defaultdict(list)
    seen: set[tuple[str, str]] = set()
    for document in documents:
        _refuse_other_splits(document, where)
        if document.source == "human" and document.language == language:
            for group, mention, shot in _shots(document, kb):
                keys = {(group, mention), (group, shot.text)}
                if not keys & seen:
                    seen |= keys
                    candidates[group].append(shot)
    return {group: _drawn(shots, k, document_seed(seed, group, 0)) for group, shots in sorted(candidates.items()) if k > 0}


def _refuse_other_splits(document: Document, where: str) -> None:
    if document.split != "train":
        found = f"of split {document.split!r}" if document.split else "of no split"
        raise ConfigError(f"{where}: document {document.id} is {found}; style examples come from split train only, give `split='train'` or leave it out")


def _drawn(shots: list[Shot], k: int, seed: int) -> tuple[Shot, ...]:
    chosen = random.Random(seed).sample(range(len(shots)), min(k, len(shots)))
    return tuple(shots[i] for i in sorted(chosen))


def _shots(document: Document, kb: "KnowledgeBase") -> Iterator[tuple[str, str, Shot]]:
    """(group, folded mention, example) for every mention that can serve."""
    title = title_of(document.text)
    for mention in document.mentions:
        if len(mention.spans) == 1 and not (title and mention.start < title.end):
            sentence = sentence_around(document.text, mention.spans, _CONTEXT_CHARS)
            if _SHORTEST <= sentence.end - sentence.start <= _LONGEST:
                shot = Shot(document.surface(sentence), Span(mention.start - sentence.start, mention.end - sentence.start))
                for group in _groups(mention, kb):
                    yield group, fold(mention.text), shot


def _groups(mention: Mention, kb: "KnowledgeBase") -> Mapping[str, None]:
    """The groups of its concepts, each once; a code that the base does not know has none."""
    known = [code for given in mention.codes if (code := kb.canonical(given)) is not None]
    return dict.fromkeys(group for code in known for group in kb.concept(code).groups)
