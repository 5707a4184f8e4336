"""What the judgements of a run come to: shares with intervals, agreement of votes and orders, agreement with people."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from syncabel.bootstrap import document_interval
from syncabel.errors import ConfigError
from syncabel.judge.agreement import Agreement, Labelled, agreement_of, krippendorff_alpha
from syncabel.judge.asking import Votes
from syncabel.judge.cases import HOW
from syncabel.judge.correction import Corrected, corrected_share
from syncabel.judge.labels import BROAD, LABELS, VALID
from syncabel.judge.verdicts import Judgement
from syncabel.types import to_json

__all__ = ["agreement_json", "labels_agreement", "summary"]

_JUDGED = ("asked", "unparsable", "unknown_concept", "unanswered")  # what short cuts did not decide
ERROR_MISSING = "not in the interval: no human labels were given"
ERROR_THERE = "see human.corrected"

Human = Mapping[tuple[str, ...], Labelled]


def summary(judgements: Sequence[Judgement], votes: Sequence[Votes], human: Human | None = None, *, rounds: int = 1000, seed: int = 42) -> dict[str, Any]:
    """The figures of a run as JSON values; shares are fractions of all mentions with a gold answer.

    `valid` counts what could not be judged as not valid; while calls are still to be made its value is null, and only `least` and `most`, the
    shares if all that is open were not valid or valid, are stated.

    Args:
        judgements: one a mention.
        votes: of the distinct questions.
        human: labels of people, by document id and mention id; mentions that are not judged are counted and passed over.
        rounds, seed: of the document bootstrap.

    Raises:
        ConfigError: there is no mention, or human labels are of none of them.
    """
    if not judgements:
        raise ConfigError("no mention has a gold answer; give annotated documents")
    how, labels = Counter(one.how for one in judgements), Counter(one.label for one in judgements)
    open_ = how["unanswered"]
    people = None if human is None else _human(judgements, human, rounds, seed)
    return {
        "n": len(judgements),
        "complete": not open_,
        "how": {name: how[name] for name in HOW if how[name]},
        "counts": {label: labels[label] for label in reversed(LABELS) if labels[label]},
        "unjudged": labels[None],
        "valid": {
            **_share(judgements, frozenset({VALID}), rounds, seed, complete=not open_),
            "least": labels[VALID] / len(judgements),
            "most": (labels[VALID] + labels[None]) / len(judgements),
            "judge_error": ERROR_MISSING if human is None else ERROR_THERE,
        },
        "broad": _share(judgements, BROAD, rounds, seed, complete=not open_),
        "votes": _votes(judgements, votes),
        "human": people,
    }


def _share(judgements: Sequence[Judgement], labels: frozenset[str], rounds: int, seed: int, *, complete: bool) -> dict[str, Any]:
    if not complete:
        return {"value": None, "ci95": None}
    hits = [one.label in labels for one in judgements]
    interval = document_interval([one.document_id for one in judgements], hits, rounds=rounds, seed=seed)
    return {"value": sum(hits) / len(hits), "ci95": list(interval)}


def _votes(judgements: Sequence[Judgement], votes: Sequence[Votes]) -> dict[str, Any]:
    """How far the votes on a question agree, and how far the two orders of each pair do."""
    pairs = [pair for one in votes for pair in one.pairs if None not in pair]
    return {
        "questions": len(votes),
        "pairs": len(pairs),
        "orders_agree": sum(first == second for first, second in pairs) / len(pairs) if pairs else None,
        "orders_alpha": krippendorff_alpha(pairs),
        "alpha": krippendorff_alpha([[vote for pair in one.pairs for vote in pair] for one in votes]),
        "ties": sum(one.tied for one in judgements),
        "unreadable": sum(len(one.problems) for one in votes),
    }


def _human(judgements: Sequence[Judgement], human: Human, rounds: int, seed: int) -> dict[str, Any]:
    found = [human.get((one.document_id, one.mention_id)) for one in judgements]
    known = sum(label is not None for label in found)
    if not known:
        raise ConfigError(f"none of the {len(human)} human labels is of a mention that is judged; give their document_id and mention_id")
    asked = [(label.label, one.label) for label, one in zip(found, judgements, strict=True) if label and one.label and one.how == "asked"]
    people, judge = [first for first, _ in asked], [second for _, second in asked]
    corrected = corrected_share(
        [one.document_id for one in judgements],
        [one.label == VALID for one in judgements],
        [one.how not in _JUDGED for one in judgements],
        [None if label is None else label.label == VALID for label in found],
        rounds=rounds,
        seed=seed,
    )
    return {
        "labels": len(human),
        "of_judged_mentions": known,
        "asked": agreement_json(agreement_of(people, judge)),
        "asked_valid_or_not": agreement_json(agreement_of(*(["valid" if label == VALID else "not valid" for label in side] for side in (people, judge)))),
        "corrected": _corrected(corrected) if not any(one.how == "unanswered" for one in judgements) else None,
    }


def _corrected(found: Corrected) -> dict[str, Any]:
    return {
        "value": found.value,
        "ci95": None if found.ci95 is None else list(found.ci95),
        "judged_valid": to_json(found.judged_valid),
        "judged_not_valid": to_json(found.judged_not_valid),
    }


def agreement_json(agreement: Agreement) -> dict[str, Any]:
    """Agreement as JSON values."""
    return {
        "n": agreement.n,
        "same": agreement.same,
        "kappa": agreement.kappa,
        "alpha": agreement.alpha,
        "confusion": {first: dict(counts) for first, counts in agreement.confusion.items()},
    }


def labels_agreement(first: Human, second: Human) -> dict[str, Any]:
    """How far two files of labels agree: on all mentions that both label, and on those of them whose codes are not equal.

    Args:
        first, second: label by mention.

    Raises:
        ConfigError: they have no mention in common.
    """
    both = [key for key in first if key in second]
    if not both:
        raise ConfigError(f"no mention is in both files ({len(first)} and {len(second)} labels); give labels of the same mentions")
    errors = [key for key in both if not (first[key].equal or second[key].equal)]
    found = {
        name: agreement_of([first[key].label for key in keys], [second[key].label for key in keys]) for name, keys in (("all", both), ("not_equal", errors))
    }
    return {**{name: agreement_json(one) for name, one in found.items()}, "only_first": len(first) - len(both), "only_second": len(second) - len(both)}
