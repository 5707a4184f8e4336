"""The mentions that checkpoints are judged on: a sample of the selecting part of dev, linked under constraint."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from syncabel.bootstrap import document_interval
from syncabel.errors import ConfigError, PromptTooLongError
from syncabel.groups import TypeMap
from syncabel.lexicon.store import Lexicon
from syncabel.prompt import PromptFormat, encode_prompt
from syncabel.types import Document, Query

__all__ = ["DevSample", "Judged"]


@dataclass(frozen=True, eq=False)
class Judged:
    """What became of the mentions of a sample.

    Attributes:
        documents: id of each mention's document.
        right: whether its first answer is a gold code. Shape: (mentions,).
    """

    documents: tuple[str, ...]
    right: NDArray[np.bool_]

    @property
    def recall_at_1(self) -> float:
        """A fraction."""
        return float(self.right.mean())

    @property
    def ci95(self) -> tuple[float, float]:
        """Interval of Recall@1 over documents, fractions."""
        return document_interval(self.documents, self.right)


@dataclass(frozen=True)
class DevSample:
    """Mentions of dev documents that evaluations link.

    Attributes:
        queries: annotated mentions with an answer, in document order.
        lexicon: names to link to.
        tokenizer: the model's.
        fmt: the prompt format.
        type_map: from annotated types to groups.
        num_beams: width of the beam.
    """

    queries: tuple[Query, ...]
    lexicon: Lexicon
    tokenizer: Any
    fmt: PromptFormat
    type_map: TypeMap
    num_beams: int

    @classmethod
    def draw(cls, documents: Sequence[Document], size: int, seed: int, **rest: Any) -> "DevSample":
        """A random sample of the mentions that have an answer.

        Raises:
            ConfigError: there is no such mention.
            UnknownNameError: a type the table does not know.
        """
        asked = [(document, mention) for document in documents for mention in document.mentions if mention.answers]
        if not asked:
            raise ConfigError("dev_documents: not one mention has an answer; nothing to evaluate")
        chosen = sorted(random.Random(seed).sample(range(len(asked)), min(size, len(asked))))
        type_map: TypeMap = rest["type_map"]
        queries = tuple(Query(*asked[i], type_map.of(asked[i][1].type)) for i in chosen)
        return cls(queries, **rest)

    def judged(self, model: Any) -> Judged:
        """Link the sample under constraint: any gold code suffices, a prompt that does not fit counts as a miss.

        Args:
            model: in any mode; it is left in evaluation mode.
        """
        from syncabel.decoding import DecodingSettings, check_length
        from syncabel.linker import Linker

        settings = DecodingSettings(num_beams=self.num_beams)
        linker = Linker(model.eval(), self.tokenizer, self.lexicon, self.fmt, self.type_map, settings)
        fitting = []
        for i, query in enumerate(self.queries):
            try:
                check_length(len(encode_prompt(linker.prompt(query), self.tokenizer)), model, self.tokenizer, self.lexicon, settings, query.mention.id)
            except PromptTooLongError:
                continue
            fitting.append(i)
        # Where training is compiled: every pass of the search has another shape, and each would be compiled by itself.
        with torch.compiler.set_stance("force_eager"):
            answers = linker.rank([self.queries[i] for i in fitting], 1)
        right = np.zeros(len(self.queries), bool)
        for i, row in zip(fitting, answers, strict=True):
            right[i] = bool(row) and row[0].code in self.queries[i].mention.codes
        return Judged(tuple(query.document.id for query in self.queries), right)
