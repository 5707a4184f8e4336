"""The gates in their order over a whole set: what is kept of what was written."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from data_gen.gates.duplicates import NearDuplicates, SeenKeys
from data_gen.gates.language import check_language, other_language
from data_gen.gates.overlap import HeldOut, shot_copy
from data_gen.gates.personal import personal_data
from data_gen.gates.settings import GateSettings
from data_gen.gates.structure import bracket, control, mention_absent, mention_empty, reason_against, same_sentence
from data_gen.gates.words import words_of
from data_gen.writer import Context, Shot
from syncabel.types import Concept, Document, Rejection

if TYPE_CHECKING:
    from syncabel.kb import KnowledgeBase

__all__ = ["Check", "Judge", "sentence_checks", "template_judge"]

Check = Callable[[Document, Concept, Context], str | None]
_VERSION = 1  # of the rules; part of the digest, so a folder that was judged by others says so


class Judge:
    """Keeps or rejects what was written, concept by concept; the same items in the same order get the same verdicts.

    Args:
        reason: why a document is not kept, or None; asked once a document, in order, and free to remember what it kept.
        digest: SHA-256 of all that decides.
    """

    def __init__(self, reason: Check, digest: str) -> None:
        self._reason, self.digest = reason, digest

    @classmethod
    def of(cls, kb: "KnowledgeBase", settings: GateSettings | None = None, held_out: Sequence[Document] = (), shown: Sequence[Shot] = ()) -> "Judge":
        """The gates of sentences that a language model wrote.

        Args:
            kb: its names may hold brackets.
            settings: thresholds, and what is switched off.
            held_out: dev and test documents, whose sentences must not come back.
            shown: examples that prompts show where a context has none.

        Raises:
            MissingExtraError: a gate needs a package that is not installed.
            UnknownNameError: the identifier does not know the language.
        """
        panel = _Panel(kb, settings or GateSettings(), held_out, shown)
        return cls(panel.reason, panel.digest)

    def judged(self, items: Iterable[Document | Rejection], concept: Concept, context: Context) -> Iterator[Document | Rejection]:
        """Each item as it is kept, or the rejection it becomes; rejections of the parser pass through.

        Args:
            items: what was written about a concept.
            concept, context: whom it is about.
        """
        for item in items:
            reason = self._reason(item, concept, context) if isinstance(item, Document) else None
            yield Rejection(item.id, concept.code, reason, item.text) if isinstance(item, Document) and reason else item


def template_judge(kb: "KnowledgeBase") -> Judge:
    """The gates of the template writer: structure, names of other concepts, and the same sentence of the same concept again."""
    seen = SeenKeys()

    def reason(document: Document, concept: Concept, context: Context) -> str | None:  # noqa: ARG001
        # Duplicates are looked for within a concept: what another one gets must not depend on which concepts came before it.
        key = (concept.code, *same_sentence(document))
        again = seen.count(*key) > 0
        seen.add(*key)
        return reason_against(document, concept, kb) or ("duplicate" if again else None)

    return Judge(reason, _digest(["template", _VERSION, kb.digest]))


class _Panel:
    """The gates a document must pass one by one, then those that look at what was kept before."""

    def __init__(self, kb: "KnowledgeBase", settings: GateSettings, held_out: Sequence[Document], shown: Sequence[Shot]) -> None:
        self._settings = settings
        texts = HeldOut(held_out if settings.stands("held_out_overlap") else (), settings.held_out_words)
        self._checks = tuple(check for name, check in sentence_checks(kb, settings, texts, shown).items() if settings.stands(name))
        if settings.stands("language"):
            check_language(settings.language)
        self._near = NearDuplicates(settings.near_duplicate) if settings.stands("near_duplicate") else None
        self._cap = settings.cap if settings.stands("cap") else None
        packages = {"py3langid": "language", "datasketch": "near_duplicate"}
        used = {package: _version(package) for package, gate in packages.items() if settings.stands(gate)}
        self.digest = _digest(["sentences", _VERSION, kb.digest, texts.digest, asdict(settings), used, *(shot.text for shot in shown)])

    @cached_property
    def _kept(self) -> SeenKeys:
        return SeenKeys()

    def reason(self, document: Document, concept: Concept, context: Context) -> str | None:
        """The first gate's reason; a document without one counts for those after it."""
        found = next((reason for check in self._checks if (reason := check(document, concept, context))), None)
        return found or self._against_the_rest(document, concept)

    def _against_the_rest(self, document: Document, concept: Concept) -> str | None:
        sketch = None if self._near is None else self._near.sketch(document.text)
        if self._near is not None and sketch is not None and self._near.has_near(sketch):
            return "near_duplicate"
        if self._cap is not None:
            if self._kept.count(concept.code) >= self._cap:
                return "cap"
            self._kept.add(concept.code)
        if self._near is not None and sketch is not None:
            self._near.add(sketch)
        return None


def sentence_checks(kb: "KnowledgeBase", settings: GateSettings, held_out: HeldOut, shown: Sequence[Shot] = ()) -> dict[str, Check]:
    """The gates that look at one sentence alone, by name and in order, also those that are switched off.

    Args:
        kb: see `Judge.of`.
        settings: thresholds.
        held_out: the texts that must not come back.
        shown: see `Judge.of`.
    """
    return {
        "mention_absent": lambda document, concept, _: mention_absent(document, concept, kb),
        "mention_empty": lambda document, concept, _: mention_empty(document, concept, kb),
        "control_character": lambda document, concept, _: control(document, concept, kb),
        "bracket": lambda document, concept, _: bracket(document, concept, kb),
        "too_long": lambda document, *_: _too_long(document, settings.max_text, settings.max_mention),
        "too_short": lambda document, *_: _too_short(document, settings.min_words),
        "personal_data": lambda document, *_: personal_data(document),
        "shot_copy": lambda document, _, context: shot_copy(document, context.shots or shown, settings.shot_overlap),
        "held_out_overlap": lambda document, *_: held_out.overlap(document),
        "language": lambda document, *_: other_language(document, settings.language, settings.language_letters, settings.language_margin),
    }


def _too_long(document: Document, text: int, mention: int) -> str | None:
    fits = len(document.text) <= text and all(len(each.text) <= mention for each in document.mentions)
    return None if fits else "too_long"


def _too_short(document: Document, least: int) -> str | None:
    return "too_short" if sum(not word.in_mention for word in words_of(document)) < least else None


def _digest(rows: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps(rows, ensure_ascii=False, sort_keys=True).encode()).hexdigest()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # importable, but not installed as a distribution
        return ""
