"""How often the gates would refuse people: each human mention's sentence is judged as if it had been generated.

Each gate is asked on its own.  Two need a word more:

`near_duplicate` is asked once per sentence, whatever the number of mentions in it: a person's sentence with three mentions was
written once.  A sentence that equals an earlier one up to case, space and punctuation is what the gate is for, whoever wrote it: such
repeats are counted apart, as `Calibration.repeats`, and neither as asked nor as refused.

`shot_copy` is asked with style examples drawn from the sentences of other documents.  `cap` is a budget and refuses nobody for what
was written, so it is left out.
"""

import random
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from data_gen.gates.duplicates import NearDuplicates
from data_gen.gates.judge import Check, sentence_checks
from data_gen.gates.overlap import HeldOut
from data_gen.gates.scores import Score, Scorer
from data_gen.gates.settings import GateSettings
from data_gen.gates.words import plain_words
from data_gen.writer import Context, Shot
from syncabel.text import sentence_around
from syncabel.types import Concept, Document, Mention, Name, Ranker, Span

if TYPE_CHECKING:
    from syncabel.kb import KnowledgeBase

__all__ = ["Calibration", "Fired", "calibrate", "human_sentences"]

CONTEXT_CHARS = 600  # on either side of a mention, as prompts have it


@dataclass(frozen=True, slots=True)
class Fired:
    """How often something fired.

    Attributes:
        name: of the gate or score.
        n: how often it was asked.
        fired: how often it said no.
    """

    name: str
    n: int
    fired: int

    @property
    def rate(self) -> float:
        """A fraction in [0, 1]."""
        return self.fired / self.n if self.n else 0.0


@dataclass(frozen=True, slots=True)
class Calibration:
    """What the gates say of human sentences.

    Attributes:
        mentions, sentences: annotated mentions, and the different places of the texts they stand in.
        in_kb: mentions with a code that the knowledge base has.
        repeats: sentences that are an earlier one again, case, space and punctuation aside.
        gates: false rejects a gate, in the order they are asked; of mentions, those of `near_duplicate` of sentences without repeats.
        any_gate: sentences without repeats about which some gate says no.
        scores: how often the recorded scores would have rejected; of the mentions in the knowledge base.
    """

    mentions: int
    sentences: int
    in_kb: int
    repeats: int
    gates: tuple[Fired, ...]
    any_gate: Fired
    scores: tuple[Fired, ...]


def calibrate(
    documents: Iterable[Document],
    kb: "KnowledgeBase",
    settings: GateSettings | None = None,
    *,
    held_out: Sequence[Document] = (),
    shots: int = 5,
    seed: int = 0,
    ranker: Ranker | None = None,
) -> Calibration:
    """False-reject rates of the gates that stand, and how often recorded scores would fire.

    Args:
        documents: human ones of one language.
        kb: a mention whose code it does not have is judged without any name of its concept.
        settings: thresholds, and what is switched off.
        held_out: documents that `documents` do not contain; without any, `held_out_overlap` is not asked.
        shots: style examples per sentence.
        seed: of their choice.
        ranker: for the ranks; None leaves them out.
    """
    settings = settings or GateSettings()
    sentences = list(human_sentences(documents))
    places = _first_of_each(sentences, lambda each: each.place)
    written = _first_of_each(places, lambda each: tuple(plain_words(each.document.text)))
    refused = _refused(_checks(kb, settings, held_out), sentences, kb, shots, seed)
    gates = [Fired(name, len(sentences), len(found)) for name, found in refused.items()]
    bad = {sentences[i].place for found in refused.values() for i in found}
    if settings.stands("near_duplicate"):
        near = _near_duplicates(written, settings.near_duplicate)
        gates.append(Fired("near_duplicate", len(written), len(near)))
        bad |= near
    known = [each.document for each in sentences if _code_in(kb, each.document) is not None]
    scores = _fired(Scorer(kb, ranker).scores(known), ranked=ranker is not None)
    any_gate = Fired("any", len(written), sum(each.place in bad for each in written))
    return Calibration(len(sentences), len(places), len(known), len(places) - len(written), tuple(gates), any_gate, tuple(scores))


@dataclass(frozen=True, slots=True)
class HumanSentence:
    """One annotated mention in its sentence.

    Attributes:
        document: the sentence with the one mention.
        place: document id and span of the sentence; several mentions may share it.
    """

    document: Document
    place: tuple[str, Span]


def human_sentences(documents: Iterable[Document]) -> Iterator[HumanSentence]:
    """The sentence of each mention that has a code, as if it had been generated for it."""
    for document in documents:
        for mention in document.mentions:
            if mention.codes:
                yield _sentence(document, mention)


def _sentence(document: Document, mention: Mention) -> HumanSentence:
    around = sentence_around(document.text, mention.spans, CONTEXT_CHARS)
    spans = tuple(Span(span.start - around.start, span.end - around.start) for span in mention.spans)
    # A mention that runs over a line end, in running text cut into lines, is written in one.
    text = document.surface(around).replace("\n", " ")
    moved = replace(mention, spans=spans, text=" ".join(text[span.start : span.end] for span in spans))
    # The abbreviations' offsets are the document's; what a short form stands for is kept out of the sentence's scores by that.
    return HumanSentence(Document(f"{document.id}:{mention.id}", text, (moved,), document.language, split=document.split), (document.id, around))


def _code_in(kb: "KnowledgeBase", document: Document) -> str | None:
    return next((code for code in map(kb.canonical, document.mentions[0].codes) if code is not None), None)


def _concept(kb: "KnowledgeBase", document: Document) -> Concept:
    """The concept a sentence is about, under the code it is annotated with; one that is not in the knowledge base has but its code for a name."""
    code = document.mentions[0].codes[0]
    known = _code_in(kb, document)
    return replace(kb.concept(known), code=code) if known else Concept(code, (Name(code, preferred=True),), ("",))


def _checks(kb: "KnowledgeBase", settings: GateSettings, held_out: Sequence[Document]) -> dict[str, Check]:
    checks = sentence_checks(kb, settings, HeldOut(held_out, settings.held_out_words))
    return {name: check for name, check in checks.items() if settings.stands(name) and (held_out or name != "held_out_overlap")}


def _refused(checks: Mapping[str, Check], sentences: Sequence[HumanSentence], kb: "KnowledgeBase", shots: int, seed: int) -> dict[str, list[int]]:
    """Gate → numbers of the sentences it refuses."""
    rng = random.Random(seed)
    refused: dict[str, list[int]] = {name: [] for name in checks}
    for i, each in enumerate(sentences):
        concept, context = _concept(kb, each.document), Context(shots=_shots(sentences, each, shots, rng))
        for name, check in checks.items():
            if check(each.document, concept, context):
                refused[name].append(i)
    return refused


def _shots(sentences: Sequence[HumanSentence], of: HumanSentence, count: int, rng: random.Random) -> tuple[Shot, ...]:
    """Sentences of other documents; fewer where nearly all are of the same."""
    drawn = [sentences[rng.randrange(len(sentences))] for _ in range(count)]
    mentions = [(each.document.text, each.document.mentions[0]) for each in drawn if each.place[0] != of.place[0]]
    return tuple(Shot(text, Span(mention.start, mention.end)) for text, mention in mentions)


def _first_of_each(sentences: Iterable[HumanSentence], key: Callable[[HumanSentence], Hashable]) -> list[HumanSentence]:
    first: dict[Hashable, HumanSentence] = {}
    for each in sentences:
        first.setdefault(key(each), each)
    return list(first.values())


def _near_duplicates(sentences: Iterable[HumanSentence], threshold: float) -> set[tuple[str, Span]]:
    known, found = NearDuplicates(threshold), set()
    for each in sentences:
        sketch = known.sketch(each.document.text)
        if known.has_near(sketch):
            found.add(each.place)
        else:
            known.add(sketch)
    return found


def _fired(scores: Sequence[Score], *, ranked: bool) -> Iterator[Fired]:
    yield Fired("is_other_concept", len(scores), sum(score.is_other_concept for score in scores))
    if ranked:
        yield Fired("not_in_tfidf_top_10", len(scores), sum(score.tfidf_rank is None for score in scores))
    yield Fired("distance_above_half", len(scores), sum(score.distance is not None and score.distance > 0.5 for score in scores))
