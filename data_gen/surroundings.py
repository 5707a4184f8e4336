"""What a writer may know of a concept's surroundings, gathered from the knowledge base and from what the caller has chosen."""

import hashlib
import json
import random
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from data_gen.short_forms import Lineages, short_forms_by_code
from data_gen.writer import Context, Related, Shot, document_seed
from syncabel.text import fold
from syncabel.types import Concept, to_json

if TYPE_CHECKING:
    from syncabel.kb import KnowledgeBase

__all__ = ["ExcludedNames", "Surroundings", "digest_of"]

ExcludedNames = Collection[tuple[str, str]]
SIBLINGS = NAMESAKES = 5  # shown of a concept
_CANDIDATES = 64  # children of one parent that siblings are drawn from


@dataclass(frozen=True)
class Surroundings:
    """Makes each concept's `Context`.

    Attributes:
        kb: knowledge base with the concepts' ancestors, for branches and parents.
        exclude_names: (code, folded name) pairs that are never a mention nor the base of one.
        short_forms: from `shared_short_forms`; these concepts are also named by them, in contexts of their branch.
        relatives: whether siblings and namesakes are looked up; only a language model reads them.
        confusable: the nearest names of other concepts, by code.
        shots: style examples, by group.
        held_out: codes kept out of synthesis: no other concept's sentences are told of them.
    """

    kb: "KnowledgeBase"
    exclude_names: ExcludedNames = frozenset()
    short_forms: Mapping[str, Iterable[str]] = field(default_factory=dict)
    relatives: bool = False
    confusable: Mapping[str, tuple[Related, ...]] = field(default_factory=dict)
    shots: Mapping[str, tuple[Shot, ...]] = field(default_factory=dict)
    held_out: frozenset[str] = frozenset()

    def of(self, concept: Concept) -> Context:
        """The context of a concept."""
        lineage = tuple(row for row in self._lineages.of(concept) if row[0] not in self.held_out)
        names = dict(lineage)
        return Context(
            parents=tuple(names[code] for code in concept.parents if code in names),
            lineage=lineage,
            short_forms=self._shorts.get(concept.code, ()),
            avoid=self._excluded.get(concept.code, frozenset()),
            kb_digest=self.kb.digest,
            siblings=self._siblings(concept) if self.relatives else (),
            namesakes=self._namesakes(concept) if self.relatives else (),
            confusable=tuple(other for other in self.confusable.get(concept.code, ()) if other.code not in self.held_out),
            shots=next((self.shots[group] for group in concept.groups if group in self.shots), ()),
        )

    @property
    def digests(self) -> dict[str, str]:
        """SHA-256 of each part, by name; the knowledge base's own is not among them."""
        return {
            "excluded": digest_of(sorted(self.exclude_names)),
            "short_forms": digest_of(sorted((short, tuple(owners)) for short, owners in self.short_forms.items())),
            "context": digest_of([self.relatives, sorted(self.confusable.items()), sorted(self.shots.items()), sorted(self.held_out)]),
        }

    @cached_property
    def _lineages(self) -> Lineages:
        return Lineages(self.kb)

    @cached_property
    def _excluded(self) -> dict[str, frozenset[str]]:
        by_code: defaultdict[str, set[str]] = defaultdict(set)
        for code, name in self.exclude_names:
            by_code[code].add(name)
        return {code: frozenset(names) for code, names in by_code.items()}

    @cached_property
    def _shorts(self) -> dict[str, tuple[str, ...]]:
        return short_forms_by_code(self.short_forms)

    def _siblings(self, concept: Concept) -> tuple[Related, ...]:
        """A few other children of its parents, always the same ones."""
        beside = {code for parent in concept.parents if parent in self.kb for code in self.kb.children(parent, _CANDIDATES)}
        codes = sorted(beside - {concept.code} - self.held_out)
        drawn = random.Random(document_seed(0, concept.code, 0)).sample(codes, min(SIBLINGS, len(codes)))
        return tuple(Related(code, self._lineages.name(code)) for code in drawn)

    def _namesakes(self, concept: Concept) -> tuple[Related, ...]:
        """Concepts that share a name or a short form with it, by what they share, without what is to be avoided."""
        avoid = self._excluded.get(concept.code, frozenset())
        shared = {fold(name.text): name.text for name in concept.names}
        found = [(text, self.kb.codes_of(text)) for key, text in shared.items() if key not in avoid]
        found += [(short, tuple(self.short_forms[short])) for short in self._shorts.get(concept.code, ()) if fold(short) not in avoid]
        return tuple(Related(code, text) for text, codes in found for code in codes if code != concept.code and code not in self.held_out)[:NAMESAKES]


def digest_of(values: Sequence[Any]) -> str:
    """SHA-256 of plain values and dataclasses, one after the other, so that a million of them are never one text."""
    found = hashlib.sha256()
    for value in values:
        parts = value if isinstance(value, list) else (value,)
        for part in parts:
            found.update(json.dumps(part, ensure_ascii=True, default=to_json).encode() + b"\n")
        found.update(b"\0")
    return found.hexdigest()
