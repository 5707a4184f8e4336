"""What goes wrong inside a search is told by document and mention, and costs no other mention."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from syncabel.errors import ConfigError, ModelError
from syncabel.export import export_model
from syncabel.export.card import Facts
from syncabel.linker import Linker
from syncabel.prompt import PromptFormat
from syncabel.types import Document, Mention, Query, Span

BROKEN = "Z"  # a character whose token has no numbers


@pytest.fixture
def linker(tiny_tokenizer: Any, tiny_llama: Callable[..., Any], small_lexicon: Any, tmp_path: Path) -> Linker:
    small_lexicon.save(tmp_path / "lexicon")
    model = tiny_llama(len(tiny_tokenizer))
    linker = Linker.from_pretrained(
        export_model(model, tiny_tokenizer, tmp_path / "lexicon", tmp_path / "model", PromptFormat(), Facts("test", "random")), device="cpu"
    )
    linker.model.lm_head.weight = torch.nn.Parameter(linker.model.lm_head.weight.detach().clone())
    linker.model.model.embed_tokens.weight.data[tiny_tokenizer.encode(BROKEN)] = float("nan")
    return linker


def document(name: str, text: str, mention: str = "cold") -> Document:
    start = text.index(mention)
    return Document(name, text, (Mention("m", (Span(start, start + len(mention)),), mention),))


def query(each: Document) -> Query:
    return Query(each, each.mentions[0])


def test_a_mention_whose_logits_are_no_numbers_fails_alone(linker: Linker) -> None:
    documents = [document("a", "A cold."), document("b", "A cold in Zug."), document("c", "No cold."), document("d", "Zinc for a cold.")]
    linked = list(linker.link(documents))
    assert [row.document_id for row in linked] == ["a", "b", "c", "d"]
    assert [bool(row.predictions) for row in linked] == [True, False, True, False]
    for row in linked[1::2]:
        assert row.error == f"document '{row.document_id}', mention 'm': the model's logits are not finite; check its weights and its floating type"


def test_ranking_names_the_document_and_mention(linker: Linker) -> None:
    with pytest.raises(ModelError, match=r"^document 'b', mention 'm': the model's logits are not finite"):
        linker.rank([query(document("a", "A cold.")), query(document("b", "A cold in Zug."))])


def test_a_model_that_cannot_be_searched_is_one_error_and_not_one_a_mention(linker: Linker) -> None:
    linker.model.model.embed_tokens.weight.data[:] = float("nan")
    with pytest.raises(ModelError, match=r"^SyncabelForCausalLM cannot be searched|^LlamaForCausalLM cannot be searched"):
        list(linker.link([document("a", "A cold.")]))


def test_a_prompt_with_tokens_that_the_model_lacks_is_named(linker: Linker) -> None:
    known = linker.lexicon.trie.vocabulary if linker.lexicon else 1
    linker.model.resize_token_embeddings(known)
    words = [linker.tokenizer.decode([token]) for token in range(known, len(linker.tokenizer))]
    word = next(word for word in words if max(linker.tokenizer.encode(f"A cold.{word}")) >= known)
    with pytest.raises(ModelError, match=r"^document 'a', mention 'm': its prompt has token id"):
        linker.rank([query(document("a", f"A cold.{word}"))])


@pytest.mark.parametrize("k", [0, -1])
def test_fewer_than_one_prediction_is_refused(linker: Linker, k: int) -> None:
    with pytest.raises(ConfigError, match=f"k is {k}; ask for at least 1 prediction"):
        linker.rank([query(document("a", "A cold."))], k)


def test_candidates_that_are_not_one_list_a_mention_are_refused(linker: Linker) -> None:
    with pytest.raises(ConfigError, match="1 mentions need 1 lists of candidates"):
        linker.rank([query(document("a", "A cold."))], candidates=[])


def test_candidates_that_leave_nothing_name_their_mention(linker: Linker) -> None:
    with pytest.raises(ValueError, match=r"^document 'b', mention 'm': .*candidates"):
        linker.rank([query(document("a", "A cold.")), query(document("b", "A cold."))], candidates=[None, []])
