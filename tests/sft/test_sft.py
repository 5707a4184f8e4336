from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncabel.errors import ConfigError, FormatError, UnknownNameError
from syncabel.groups import TypeMap
from syncabel.prompt import PromptFormat
from syncabel.sft import ExampleSettings, make_examples, read_examples, read_type_table, write_examples
from syncabel.targets import METHODS, TargetNames
from syncabel.types import Abbreviation, Document, Mention, Rejection, SFTExample, Span

FMT = PromptFormat()


def document(text: str, mention: str, *answers: tuple[str, ...], kind: str | None = "Disease", name: str = "d") -> Document:
    start = text.index(mention)
    return Document(name, text, (Mention("1", (Span(start, start + len(mention)),), mention, kind, answers),))


@pytest.mark.parametrize("method", METHODS)
def test_a_target_is_an_unshared_name_of_the_concept(method: str, small_lexicon: Any) -> None:
    targets = TargetNames(small_lexicon, method)
    for code in ("A:1", "A:2", "A:5"):
        entry = targets.choose([(code, "MS")])[0]
        assert entry is not None
        assert small_lexicon.code(entry) == code
        assert not small_lexicon.shared(entry)


def test_a_concept_without_a_name_of_its_own_gets_its_shared_one(small_lexicon: Any) -> None:
    entry = TargetNames(small_lexicon).choose([("A:6", "cold")])[0]
    assert small_lexicon.name(entry) == "cold (A:6)"


def test_the_target_is_the_name_closest_to_the_mention(small_lexicon: Any) -> None:
    chosen = TargetNames(small_lexicon).choose([("A:5", "coryza"), ("A:5", "a common cold"), ("A:4", "stenocardic"), ("Z:0", "x")])
    assert [small_lexicon.name(e) if e is not None else None for e in chosen] == ["acute coryza", "common cold", "stenocardia", None]


def test_ties_go_to_the_first_name(small_lexicon: Any) -> None:
    for method in ("tfidf", "levenshtein"):
        assert small_lexicon.name(TargetNames(small_lexicon, method).choose([("A:8", "QQQ")])[0]) == "cardiac disease"


def test_an_unknown_method_names_the_nearest(small_lexicon: Any) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'tfidf'"):
        TargetNames(small_lexicon, "tf-idf")


def run(documents: list[Document], kb: Any, lexicon: Any, **settings: Any) -> list[SFTExample | Rejection]:
    type_map = TypeMap(kb.groups, {})
    return list(make_examples(documents, lexicon, kb.canonical, type_map, FMT, ExampleSettings(**settings)))


def test_the_long_form_of_an_abbreviation_chooses_the_target(small_kb: Any, small_lexicon: Any) -> None:
    text = "She has stenosis of the mitral valve (MS). The MS is mild."
    start = text.rindex("MS")
    mention = Mention("1", (Span(start, start + 2),), "MS", "Disease", (("A:2",),))
    short = Span(text.index("MS"), text.index("MS") + 2)
    doc = Document("d", text, (mention,), abbreviations=(Abbreviation(short, Span(8, 36)),))
    (example,) = run([doc], small_kb, small_lexicon, type_dropout=0)
    assert isinstance(example, SFTExample)
    assert example.completion == "stenosis of the mitral valve"
    assert "MS = stenosis of the mitral valve" in example.prompt.source


def test_every_mention_becomes_an_example_or_a_rejection_with_its_reason(small_kb: Any, small_lexicon: Any) -> None:
    documents = [
        document("angina today", "angina", ("A:3",), name="ok"),
        document("angina today", "angina", ("A:100",), name="alternative id"),
        document("angina today", "angina", name="nil"),
        document("angina and cold", "angina and cold", ("A:3", "A:5"), name="composite"),
        document("angina today", "angina", ("Z:9",), name="unknown"),
    ]
    made = run(documents, small_kb, small_lexicon)
    assert [row.reason if isinstance(row, Rejection) else "example" for row in made if not isinstance(row, SFTExample)] == ["nil", "composite", "unknown_code"]
    assert [row.code for row in made if isinstance(row, SFTExample)] == ["A:3", "A:1"]


def test_two_codes_of_one_concept_are_one_answer(small_kb: Any, small_lexicon: Any) -> None:
    (made,) = run([document("MS today", "MS", ("A:1", "A:100"))], small_kb, small_lexicon)
    assert isinstance(made, SFTExample)
    assert made.code == "A:1"


@pytest.mark.parametrize("type_dropout", [0.0, 1.0])
def test_a_mention_of_an_unknown_type_is_left_out_and_the_others_stay(type_dropout: float, small_kb: Any, small_lexicon: Any) -> None:
    documents = [document("angina today", "angina", ("A:3",), kind=kind, name=str(kind)) for kind in ("Disease", "Desease", None)]
    made = run(documents, small_kb, small_lexicon, type_dropout=type_dropout)
    (rejected,) = (row for row in made if isinstance(row, Rejection))
    assert (rejected.where, rejected.code, rejected.reason) == ("Desease#1", "A:3", "unknown_type")
    assert "did you mean 'Disease'" in rejected.text
    assert [row.document_id for row in made if isinstance(row, SFTExample)] == ["Disease", "None"]


def test_an_answer_without_a_code_is_refused_where_the_document_is_made() -> None:
    for answer in ((), ("",)):
        with pytest.raises(FormatError, match="document 'd': mention '1' has an empty answer"):
            document("angina today", "angina", answer)


def test_a_table_of_types_reads_as_it_was_written(tmp_path: Any) -> None:
    (tmp_path / "types.json").write_text('{"Modifier": ["Disease"], "é": []}', encoding="utf-8")
    assert read_type_table(tmp_path / "types.json") == {"Modifier": ("Disease",), "é": ()}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"a": "Disease"}', b'{"a": [1]}', b'{"\xe9": []}'])
def test_a_bad_table_of_types_is_an_error_with_its_name(content: bytes, tmp_path: Any) -> None:
    (tmp_path / "types.json").write_bytes(content)
    with pytest.raises(FormatError, match=r"types\.json: .*write \{type: \[groups\]\}"):
        read_type_table(tmp_path / "types.json")


def test_the_type_is_dropped_for_the_stated_share_whatever_the_order(small_kb: Any, small_lexicon: Any) -> None:
    documents = [document("angina today", "angina", ("A:3",), name=f"d{i}") for i in range(1000)]
    made = run(documents, small_kb, small_lexicon, type_dropout=0.15)
    bare = {row.document_id for row in made if isinstance(row, SFTExample) and not row.prompt.groups}
    assert 110 < len(bare) < 190
    again = run(documents[::-1], small_kb, small_lexicon, type_dropout=0.15)
    assert bare == {row.document_id for row in again if isinstance(row, SFTExample) and not row.prompt.groups}
    assert all("{Disease}" in row.prompt.source for row in run(documents[:5], small_kb, small_lexicon, type_dropout=0) if isinstance(row, SFTExample))
    with pytest.raises(ConfigError, match="fraction"):
        ExampleSettings(type_dropout=15)


def test_examples_read_back_as_written(small_kb: Any, small_lexicon: Any, tmp_path: Any) -> None:
    made = [row for row in run([document("l'angine — angina ‖ 𝛼", "angina", ("A:3",))], small_kb, small_lexicon) if isinstance(row, SFTExample)]
    assert write_examples(made, tmp_path / "e.jsonl") == 1
    assert read_examples(tmp_path / "e.jsonl") == made


@pytest.mark.parametrize("content", ["", "{}\n", "nonsense\n"])
def test_a_file_of_bad_examples_names_the_place(content: str, tmp_path: Any) -> None:
    (tmp_path / "e.jsonl").write_text(content)
    with pytest.raises(FormatError, match=r"e\.jsonl.*syncabel examples"):
        read_examples(tmp_path / "e.jsonl")


def test_a_type_maps_to_itself_its_table_row_or_both_of_two() -> None:
    types = TypeMap(("Disease", "Physiology"), {"Modifier": ("Disease",)})
    assert types.of(None) == ()
    assert types.of("Disease") == ("Disease",)
    assert types.of("Modifier") == ("Disease",)
    assert types.of("Modifier|Physiology") == ("Disease", "Physiology")
    with pytest.raises(UnknownNameError, match="did you mean 'Disease'"):
        types.of("Desease")


def test_the_table_is_counted_on_the_answers_of_training_documents(small_kb: Any) -> None:
    documents = [document("x cold", "cold", ("A:5",), kind="DISO", name="1"), document("x cold", "cold", ("A:6",), kind="PHYS", name="2")]
    types = TypeMap.counted(documents, lambda code: small_kb.concept(code).groups, small_kb.groups)
    assert types.table == {"DISO": ("Disease",), "PHYS": ("Physiology",)}


@given(st.floats(0, 1))
def test_any_fraction_is_a_dropout(share: float) -> None:
    assert ExampleSettings(type_dropout=share).type_dropout == share
