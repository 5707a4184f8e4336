"""The documents that `syncabel examples` is made of: human ones are few and held; synthetic ones may be millions and are read twice instead."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from data_gen.gates import reason_against
from syncabel.corpora import iter_corpus, split_documents
from syncabel.corpora.corpus import refuse_test
from syncabel.errors import ConfigError, DigestMismatchError
from syncabel.groups import Annotations, annotation_counts
from syncabel.kb import KnowledgeBase
from syncabel.types import Document, Mention, Rejection

__all__ = ["Train", "TrainingDocuments", "with_current_codes"]


class TrainingDocuments:
    """What files hold for a training, gone through once when made.

    Args:
        files: documents in any format that `read_corpus` reads.
        kind: their format, or `auto`.
        kb: the knowledge base that examples are made for.
        rebase: whether synthetic documents of another knowledge base are taken where they hold in this one.

    Attributes:
        rejections: rows that are no documents.
        fallen: documents of another knowledge base that do not hold in this one.
        rechecked: how many were made for another one.

    Raises:
        ConfigError: there are test documents among them.
        DigestMismatchError: a document was made for another knowledge base, without `rebase`.
        FormatError: as `read_corpus`.
    """

    def __init__(self, files: Sequence[Path], kind: str, kb: KnowledgeBase, rebase: bool = False) -> None:
        self._files, self._kind, self._kb, self._rebase = files, kind, kb, rebase
        self._human: list[Document] = []
        self._dev: list[Document] = []
        self._annotations = Annotations()  # of the synthetic ones
        self.rejections: list[Rejection] = []
        self.fallen: list[Rejection] = []
        self.rechecked = 0
        test = []
        for row in iter_corpus(files, kind):
            if isinstance(row, Rejection):
                self.rejections.append(row)
            elif row.split == "test":
                test.append(row)
            else:
                self._take(row)
        refuse_test(test, ", ".join(map(str, files)))

    def _take(self, document: Document) -> None:
        self.rechecked += bool(self._other_kb(document))
        row = self._of_this_kb(document)
        if isinstance(row, Rejection):
            self.fallen.append(row)
        elif row.split == "dev":
            self._dev.append(row)
        elif row.source == "human":
            self._human.append(row)
        else:
            self._annotations.update(annotation_counts([row]))

    def split(self, fraction: float, seed: int) -> tuple["Train", list[Document]]:
        """Train and dev: the documents' own dev where they have one, else a part of the human ones, split off by document.

        Raises:
            ConfigError: as `split_documents`.
        """
        if self._dev or not self._human or fraction == 0:
            return Train(tuple(self._human), self), self._dev
        kept, split_off = split_documents(self._human, fraction, seed)
        return Train(kept, self), list(split_off)

    def synthetic(self) -> Iterator[Document]:
        """The synthetic documents of train, read again.

        Raises:
            ConfigError: they are no longer what they were; at the end, where that shows.
        """
        found = Annotations()
        for row in iter_corpus(self._files, self._kind):
            if isinstance(row, Document) and row.source != "human" and row.split != "dev":
                current = self._of_this_kb(row)
                if isinstance(current, Document):
                    found.update(annotation_counts([current]))
                    yield current
        if found != self._annotations:
            raise ConfigError(f"{', '.join(map(str, self._files))}: changed while examples were made of it; run the command again")

    def synthetic_annotations(self) -> Annotations:
        """Types and codes of their mentions, counted when the files were gone through."""
        return self._annotations

    def _other_kb(self, document: Document) -> str:
        """Digest of the knowledge base that a document was made for, where it is another one."""
        made_for = document.provenance.kb_digest if document.provenance else ""
        return "" if made_for == self._kb.digest else made_for

    def _of_this_kb(self, document: Document) -> Document | Rejection:
        made_for = self._other_kb(document)
        if not made_for:
            return document
        if not self._rebase:
            hint = "generate again, or take what still holds with --rebase"
            raise DigestMismatchError(f"document {document.id!r} was generated for another knowledge base", self._kb.digest, made_for, hint)
        return _rechecked(document, self._kb)


@dataclass(frozen=True, slots=True)
class Train:
    """Documents to make examples of; the synthetic ones are read from their files each time these are gone through.

    Attributes:
        human: what dev leaves of the human documents.
        files: where the synthetic ones are.
    """

    human: tuple[Document, ...]
    files: TrainingDocuments

    def __iter__(self) -> Iterator[Document]:
        return chain(self.human, self.files.synthetic())

    def annotations(self) -> Annotations:
        """Types and codes of the mentions, counted."""
        return annotation_counts(self.human) + self.files.synthetic_annotations()


def with_current_codes(document: Document, kb: KnowledgeBase) -> Document:
    """The document with current codes: training, which judges checkpoints on it, has no knowledge base."""

    def current(mention: Mention) -> Mention:
        if not mention.answers:
            return mention
        answers = tuple(tuple(sorted({kb.canonical(code) or code for code in answer})) for answer in mention.answers)
        return replace(mention, answers=answers)

    return replace(document, mentions=tuple(map(current, document.mentions)))


def _rechecked(document: Document, kb: KnowledgeBase) -> Document | Rejection:
    """The document with current codes, or why the gates of generation refuse it now."""
    written_for = document.provenance.concept if document.provenance else ""
    code = kb.canonical(written_for)
    if code is None:
        return Rejection(document.id, written_for, "unknown_code", document.text)
    current = with_current_codes(document, kb)
    reason = reason_against(current, kb.concept(code), kb)
    return Rejection(document.id, code, reason, document.text) if reason else current
