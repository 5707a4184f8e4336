"""Codes for the mentions of documents, with a fine-tuned model held to the names of its lexicon.

torch and transformers are imported when a model is loaded, not before.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from syncabel.calibration.answering import Answering, load_answering
from syncabel.errors import ConfigError, IncompleteFolderError, MissingExtraError, ModelError, PromptTooLongError, UnknownNameError
from syncabel.fetch import fetched
from syncabel.groups import TypeMap
from syncabel.lexicon.store import Lexicon
from syncabel.prompt import PromptFormat, format_from_config, from_document
from syncabel.types import Document, LinkedMention, Mention, Prediction, Prompt, Query

if TYPE_CHECKING:
    from syncabel.decoding import DecodingSettings

__all__ = ["Linker", "model_entry", "place_of"]

MENTIONS_AT_ONCE = 512


def model_entry(folder: Path) -> dict[str, Any]:
    """The `syncabel` entry of a model folder whose files are all there, before anything large is loaded.

    Raises:
        IncompleteFolderError: a file is missing or damaged, or training did not export it.
    """
    config = _json_object(folder / "config.json")
    if "model" not in _json_object(folder / "tokenizer.json"):  # the tokenizers library raises a bare Exception
        raise IncompleteFolderError(f"{folder / 'tokenizer.json'}: holds no tokenizer; export the model again")
    if not list(folder.glob("*.safetensors")):
        raise IncompleteFolderError(f"{folder}: no *.safetensors weights in it; give a folder that training exported, or export it again")
    entry = config.get("syncabel")
    if not isinstance(entry, dict):
        raise IncompleteFolderError(f"{folder / 'config.json'}: no 'syncabel' entry; give a folder that training exported")
    return entry


def _json_object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise IncompleteFolderError(f"{path.parent}: {path.name} is missing; give a folder that training exported, or export it again") from None
    except ValueError as error:  # bad JSON or bad UTF-8
        raise IncompleteFolderError(f"{path}: damaged ({error}); copy the folder again, or export it again") from None
    if not isinstance(value, dict):
        raise IncompleteFolderError(f"{path}: holds no JSON object; export the model again")
    return value


@dataclass(frozen=True)
class Linker:
    """Implements the `Ranker` and `Linker` protocols over one model.

    Attributes:
        model: a causal language model in evaluation mode.
        tokenizer: its tokenizer.
        lexicon: built for it; None only for free decoding.
        fmt: the prompt format it was trained with.
        type_map: from annotated types to groups.
        settings: how to decode.
        soft_groups: write the groups into the prompt.
        hard_groups: hold the search to them.
        answering: confidence, thresholds and sets of codes by the model's calibration; None without one.
    """

    model: Any
    tokenizer: Any
    lexicon: Lexicon | None
    fmt: PromptFormat
    type_map: TypeMap
    settings: "DecodingSettings"
    soft_groups: bool = True
    hard_groups: bool = True
    answering: Answering | None = None

    def __post_init__(self) -> None:
        # `dataclasses.replace` with other settings would keep confidences that were measured with these.
        if self.answering is not None:
            self.answering.calibration.check_search(self.settings)
            if not (self.soft_groups and self.hard_groups):
                raise ConfigError("calibrations are measured with soft_groups and hard_groups; leave both on, or take answering=None")

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path,
        settings: "DecodingSettings | None" = None,
        device: str | None = None,
        *,
        lexicon: str | Path | None = None,
        revision: str | None = None,
        verify: bool = False,
        min_confidence: float | None = None,
        target_precision: float | None = None,
        coverage: float | None = None,
        calibrated: bool = True,
    ) -> "Linker":
        """Load an exported model, without running any code from its folder.

        Args:
            model: a folder that `syncabel.export.export_model` wrote, or ORG/NAME of one on the Hugging Face Hub.
            settings: how to decode; the defaults of `DecodingSettings`, with the model's own ranking, where None.
            device: e.g. "cpu" or "cuda"; a GPU where there is one.
            lexicon: folder with the model's lexicon, for one that came without; None for the one beside the weights.
            revision: of a model on the Hub: commit, branch or tag.
            verify: read the whole lexicon and compare its digest; seconds where it holds millions of names.
            min_confidence: hold answers of less confidence back, with the reason; a fraction.
            target_precision: hold back as many as it takes for that precision, by a lower bound over calibrating documents; a fraction.
            coverage: give each mention the set of codes that holds the right one so often, over documents; a fraction.
            calibrated: use the model's calibration where it has one that holds for the search; False leaves it alone.

        Raises:
            IncompleteFolderError: the folder is no complete exported model, or a file of it is damaged.
            ConfigError: no folder here, and no such model on the Hub, or the Hub cannot be reached; or the model's calibration cannot promise what is
                asked, holds for another search, or is not there.
            MissingLexiconError: the settings hold answers to a lexicon and there is none; the message has the command that builds it.
            DigestMismatchError: its lexicon is not the one it was exported with, or was altered; or it was calibrated with other files.
            MissingExtraError: torch or transformers is not installed.
        """
        try:
            import torch  # noqa: F401 - asked for by what follows
            from safetensors import SafetensorError
            from transformers import AutoConfig, AutoModelForCausalLM
        except ImportError as error:
            raise MissingExtraError("link", str(error.name)) from None
        from syncabel.decoding import DecodingSettings, exported_tokenizer, load_lexicon, missing_lexicon, own_ranking

        folder = fetched(model, revision=revision)
        entry = model_entry(folder)
        settings = settings or DecodingSettings(ranking=own_ranking(entry))
        names = load_lexicon(folder, entry, lexicon, verify)
        if names is None and settings.constrained:
            raise missing_lexicon(folder, entry, str(model), "give lexicon='lexicon' (or `--lexicon lexicon`)")
        wanted = {"min_confidence": min_confidence, "target_precision": target_precision, "coverage": coverage}
        answering = load_answering(folder, names, settings, **wanted) if calibrated else None
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        where = _device(device)
        try:
            weights: Any = AutoModelForCausalLM.from_pretrained(folder, config=config, trust_remote_code=False)
        except SafetensorError as error:
            raise IncompleteFolderError(f"{folder}: its *.safetensors cannot be read ({error}); copy the folder again, or export it again") from None
        groups = names.groups if names else entry.get("groups", ())
        types = {kind: tuple(mapped) for kind, mapped in entry.get("types", {}).items()}
        return cls(
            weights.to(where).eval(),
            exported_tokenizer(folder),
            names,
            format_from_config(entry),
            TypeMap(tuple(groups), types),
            settings,
            answering=answering,
        )

    def prompt(self, query: Query) -> Prompt:
        """The prompt of a query; its groups are written in where `soft_groups` says so.

        Raises:
            PromptTooLongError: not even the bare mention fits the model's context.
        """
        return self._fitted(query)[0]

    def rank(self, queries: Sequence[Query], k: int = 1, candidates: Sequence[Sequence[int] | None] | None = None) -> list[list[Prediction]]:
        """Up to k predictions a query, best first, one per concept, as searched: `link` alone gives confidences, holds answers back and makes sets.

        Args:
            queries: the mentions.
            k: most predictions of one.
            candidates: per query the entries of the lexicon that are answers, e.g. a retriever's; None for all.

        Raises:
            PromptTooLongError: not even the bare mention of a query fits the model's context.
            ConfigError: k is below 1, or there is not one list of candidates a query.
            TrieError: a query's candidates and groups leave no name.
            ModelError: the model cannot be searched, or its logits are no numbers.
        """
        from syncabel.decoding import check_candidates

        if k < 1:
            raise ConfigError(f"k is {k}; ask for at least 1 prediction")
        check_candidates(candidates, len(queries))
        return [row[:k] for row in self._ranked([self.prompt(query) for query in queries], queries, candidates)]

    def link(self, documents: Iterable[Document]) -> Iterator[LinkedMention]:
        """Link every mention, in order; one that cannot be linked comes back with its error, none is lost.

        A prompt that the model's context does not hold is narrowed around its mention, and the result says so (`windowed`).

        Raises:
            ModelError: the model cannot be searched at all.
        """
        queue = ((document, mention) for document in documents for mention in document.mentions)
        while batch := list(islice(queue, MENTIONS_AT_ONCE)):
            yield from self._link_batch(batch)

    def _link_batch(self, batch: Sequence[tuple[Document, Mention]]) -> Iterator[LinkedMention]:
        asked = [self._asked(document, mention) for document, mention in batch]
        good = [each for each in asked if not isinstance(each, str)]
        ranked = iter(self._each_ranked([prompt for _, prompt, _ in good], [query for query, _, _ in good]))
        for (document, mention), each in zip(batch, asked, strict=True):
            place = (document.id, mention.id, mention.text, mention.start, mention.end)
            if isinstance(each, str):
                yield LinkedMention(*place, (), (), each)
            else:
                found = next(ranked)
                answers, error = ((), found) if isinstance(found, str) else (tuple(found), None)
                yield self._answered(LinkedMention(*place, each[0].groups, answers, error, windowed=each[2]), document)

    def _answered(self, linked: LinkedMention, document: Document) -> LinkedMention:
        return linked if self.answering is None else self.answering.answered(linked, self.lexicon, document.long_form(linked.text))

    def _asked(self, document: Document, mention: Mention) -> tuple[Query, Prompt, bool] | str:
        """The query, its prompt and whether that was narrowed, or why there can be none."""
        try:
            query = Query(document, mention, self.type_map.of(mention.type))
            return query, *self._fitted(query)
        except (UnknownNameError, PromptTooLongError) as error:
            return str(error)

    def _fitted(self, query: Query) -> tuple[Prompt, bool]:
        from syncabel.decoding import fitted_prompt

        groups = query.groups if self.soft_groups else ()

        def make(fmt: PromptFormat) -> Prompt:
            return from_document(query.document, query.mention, groups, fmt)

        return fitted_prompt(make, self.fmt, self.model, self.tokenizer, self.lexicon, self.settings, place_of(query))

    def _ranked(self, prompts: Sequence[Prompt], queries: Sequence[Query], candidates: Sequence[Sequence[int] | None] | None) -> list[list[Prediction]]:
        from syncabel.decoding import decode

        held = [query.groups if self.hard_groups else () for query in queries]
        return decode(self.model, self.tokenizer, self.lexicon, prompts, self.settings, held, candidates, [place_of(query) for query in queries])

    def _each_ranked(self, prompts: Sequence[Prompt], queries: Sequence[Query]) -> list[list[Prediction] | str]:
        """Predictions, or why there are none: where a search cannot go on with some mentions, it begins again without them."""
        results: list[list[Prediction] | str] = [""] * len(prompts)
        left = list(range(len(prompts)))
        while left:
            try:
                answers = self._ranked([prompts[i] for i in left], [queries[i] for i in left], None)
            except ModelError as error:
                if not error.prompts:
                    raise
                failed = {left[i] for i in error.prompts}
                for i in failed:
                    results[i] = f"{place_of(queries[i])}: {error.problem}"
                left = [i for i in left if i not in failed]
            else:
                for i, row in zip(left, answers, strict=True):
                    results[i] = row
                break
        return results


def _device(name: str | None) -> str:
    """The device asked for, or the one there is.

    Raises:
        ConfigError: this torch has none of that name.
    """
    import torch

    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise ConfigError(f"device {name!r} cannot be used: {reason}; give cpu, or leave it out") from None
    return name


def place_of(query: Query) -> str:
    """What a query is called in an error."""
    return f"document {query.document.id!r}, mention {query.mention.id!r}"
