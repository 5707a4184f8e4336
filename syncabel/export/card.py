"""The model card (README.md of a model folder), filled from measured facts and from nothing else."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from string import Template
from typing import Any

import numpy as np

from syncabel import __version__
from syncabel.lexicon.store import Lexicon
from syncabel.text import escape_markup

__all__ = ["Facts", "model_card"]


@dataclass(frozen=True)
class Facts:
    """What was measured while a model was made.

    Attributes:
        name: title of the card.
        base_model: what training started from; "random" for one from scratch.
        language: ISO 639-1 code.
        licence: SPDX identifier of the weights' licence.
        training: label -> value, printed as a table in this order (steps, loss, seconds, hardware, digests …).
        results: label -> value, e.g. constrained Recall@1 on dev; empty where nothing was scored.
        types: annotated type -> groups.
    """

    name: str
    base_model: str
    language: str = "en"
    licence: str = "apache-2.0"
    training: Mapping[str, str] = field(default_factory=dict)
    results: Mapping[str, str] = field(default_factory=dict)
    types: Mapping[str, Sequence[str]] = field(default_factory=dict)


_CARD = Template("""\
---
library_name: transformers
pipeline_tag: text-generation
language: $language
license: $licence
tags: [entity-linking, concept-normalization, biomedical, syncabel]
---

# $name

Writes the ontology name of a marked mention, held by a trie to the $entries names of $codes concepts of
$terminology, and reads the code off the trie's leaf.  Made with syncabel $version.
$warning
## Use

In the folder that holds this one (or with the repository's id in the place of `$folder`):

```python
from transformers import AutoModelForCausalLM

model = AutoModelForCausalLM.from_pretrained("$folder", trust_remote_code=True, device_map="auto")
results = model.sample(sentences=[$sentence], constrained=True, num_beams=2)
for answer in results[0]:
    print(answer["mention"], answer["pred_concept_name"], answer["pred_concept_code"], f"{answer['beam_score']:.3f}")
```

It needs torch, transformers, accelerate and numpy.  `constrained=False` lets it write freely; what is then no name of the
group gets the code `NO_CODE`.

## Training

Base model: $base_model.

$training

## Results

$results

## Limits

A name is always a real one and may still be the wrong one: look at the score and the alternatives, and have codes that
matter checked by a person.  Mentions are not found by this model; they are given to it in brackets.  A mention of a
concept outside the lexicon gets the name that the model finds most probable$nil.
Terminology: $terminology; redistribution $redistributable.
""")


def _sentence(lexicon: Lexicon) -> str:
    """A Python literal of a sentence that marks a name of the lexicon."""
    middle = len(lexicon) // 2
    entry = middle - 1 if middle == lexicon.nil_entry else middle
    return json.dumps(f"The patient has [{escape_markup(lexicon.name(entry))}]{{{_group(lexicon, entry)}}}.", ensure_ascii=False)


def _group(lexicon: Lexicon, entry: int) -> str:
    (row,) = lexicon.trie.node_class[lexicon.trie.leaves_of(np.array([entry]))]
    return next(group for number, group in enumerate(lexicon.groups) if lexicon.trie.allowed([number])[row])


def _table(rows: Mapping[str, str]) -> str:
    if not rows:
        return "Nothing was measured."
    return "\n".join(["| what | value |", "|---|---|", *(f"| {label} | {value} |" for label, value in rows.items())])


_WARNING = Template("""
> **The lexicon in this folder must not be passed on.**  It holds the names and codes of $source, whose licence does not allow
> redistribution as far as is known.  Publish the folder without `lexicon/`; whoever has the terminology builds it again with
> `syncabel lexicon build`.
""")


def _terminology(header: Mapping[str, Any]) -> str:
    """Source, release and licence in words; what is not known is said so, or left out."""
    licence = header["licence"] if header["licence"] not in ("", "unknown") else "licence not stated"
    about = "; ".join(part for part in (header["release"], licence) if part)
    return f"{_source(header)} ({about})"


def _source(header: Mapping[str, Any]) -> str:
    return str(header["source"]) or "a vocabulary without a name"


def model_card(facts: Facts, lexicon: Lexicon, folder: str) -> str:
    """The card's text in Markdown.

    Args:
        facts: what was measured.
        lexicon: the model's.
        folder: name of the folder that the card lies in, for the code that loads it.
    """
    redistributable = bool(lexicon.header["redistributable"])
    return _CARD.substitute(
        language=facts.language,
        licence=facts.licence,
        name=facts.name,
        entries=f"{len(lexicon):,}",
        codes=f"{len(lexicon.codes):,}",
        terminology=_terminology(lexicon.header),
        warning="" if redistributable else _WARNING.substitute(source=_source(lexicon.header)),
        redistributable="allowed" if redistributable else "NOT allowed",
        version=__version__,
        folder=folder,
        sentence=_sentence(lexicon),
        nil="" if lexicon.nil_entry is None else ", or the code `NIL` where `nil=True` offers it",
        base_model=facts.base_model,
        training=_table(facts.training),
        results=_table(facts.results),
    )
