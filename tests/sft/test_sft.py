from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncabel.errors import ConfigError, FormatError, UnknownNameError
from syncabel.groups import TypeMap
from syncabel.prompt import PromptFormat
from syncabel.sft import ExampleSettings, codes_held_out, iter_examples, make_examples, read_examples, read_type_table, write_examples
from syncabel.targets import METHODS, TargetNames
from syncabel.train.data import check_targets
from syncabel.types import NIL_CODE, Abbreviation, Document, Mention, Prompt, Provenance, Rejection, SFTExample, Span, to_json

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


def run(documents: list[Document], kb: Any, lexicon: Any, **options: Any) -> list[SFTExample | Rejection]:
    type_map = TypeMap(kb.groups, {})
    return list(make_examples(documents, lexicon, kb.canonical, type_map, FMT, ExampleSettings(**options)))


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


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
EXAMPLES = st.builds(
    SFTExample,
    st.builds(Prompt, TEXTS, TEXTS, st.booleans(), TEXTS, st.lists(TEXTS, max_size=3).map(tuple), TEXTS),
    TEXTS,
    TEXTS,
    st.sampled_from(["human", "synthetic"]),
    TEXTS,
    TEXTS,
    st.none() | st.builds(Provenance, TEXTS, TEXTS, TEXTS, st.integers(0, 2**62), TEXTS, TEXTS, TEXTS, st.none() | st.floats(0, 2), st.none() | st.just(1.0)),
)


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
@settings(max_examples=40, deadline=None)
@given(made=st.lists(EXAMPLES, min_size=1, max_size=12))
def test_examples_read_back_as_written(suffix: str, made: list[SFTExample], tmp_path_factory: Any) -> None:
    path = tmp_path_factory.mktemp("examples", numbered=True) / f"e{suffix}"
    assert write_examples(made, path) == len(made)
    assert read_examples(path) == made
    assert [path.name for path in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_a_file_whose_writing_fails_is_not_there(suffix: str, small_kb: Any, small_lexicon: Any, tmp_path: Path) -> None:
    made = [row for row in run([document("angina today", "angina", ("A:3",))], small_kb, small_lexicon) if isinstance(row, SFTExample)]
    write_examples(made, tmp_path / f"e{suffix}")

    def failing() -> Any:
        yield made[0]
        yield made[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_examples(failing(), tmp_path / f"e{suffix}")
    assert read_examples(tmp_path / f"e{suffix}") == made
    assert len(list(tmp_path.iterdir())) == 1


def test_a_parquet_file_has_row_groups_and_the_columns_of_the_type(small_kb: Any, small_lexicon: Any, tmp_path: Path) -> None:
    import pyarrow.parquet as parquet

    (row,) = run([document("angina today", "angina", ("A:3",))], small_kb, small_lexicon)
    assert isinstance(row, SFTExample)
    assert write_examples((replace(row, document_id=str(i)) for i in range(10_000)), tmp_path / "e.parquet") == 10_000
    found = parquet.read_metadata(tmp_path / "e.parquet")
    assert [found.row_group(i).num_rows for i in range(found.num_row_groups)] == [4096, 4096, 1808]
    assert parquet.read_schema(tmp_path / "e.parquet").names == list(SFTExample.__dataclass_fields__)
    assert [example.document_id for example in iter_examples(tmp_path / "e.parquet")] == [str(i) for i in range(10_000)]


@pytest.mark.parametrize("content", ["", "{}\n", "nonsense\n"])
@pytest.mark.parametrize("name", ["e.jsonl", "e.parquet"])
def test_a_file_of_bad_examples_names_the_place(content: str, name: str, tmp_path: Any) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(FormatError, match=rf"{name}.*syncabel examples"):
        read_examples(tmp_path / name)


def test_parquet_without_rows_cut_off_or_of_other_columns_names_the_place(small_kb: Any, small_lexicon: Any, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    made = [row for row in run([document("angina today", "angina", ("A:3",))], small_kb, small_lexicon) if isinstance(row, SFTExample)]
    write_examples([], tmp_path / "empty.parquet")
    with pytest.raises(FormatError, match=r"empty\.parquet: no training example in it"):
        read_examples(tmp_path / "empty.parquet")
    write_examples(made * 50, tmp_path / "cut.parquet")
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "cut.parquet").read_bytes()[:-40])
    with pytest.raises(FormatError, match=r"cut\.parquet: .*cut off"):
        read_examples(tmp_path / "cut.parquet")
    parquet.write_table(pa.Table.from_pylist([{**to_json(made[0]), "answer": 1}]), tmp_path / "other.parquet")
    with pytest.raises(FormatError, match=r"other\.parquet:1: .*unknown field 'answer'"):
        read_examples(tmp_path / "other.parquet")


def test_sampled_targets_come_in_proportion_to_similarity(small_lexicon: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hand-worked: of A:5's own names, acute coryza and common cold, one is three times as similar."""
    monkeypatch.setitem(METHODS, "sampled", lambda _: lambda pairs: [np.array([0.6, 0.2]) for _ in pairs])
    count = 4000
    for temperature, share in ((1.0, 0.75), (0.5, 0.9), (1e-3, 1.0), (2.0, 3**0.5 / (1 + 3**0.5))):
        targets = TargetNames(small_lexicon, "sampled", temperature)
        chosen = targets.choose([("A:5", "x")] * count, [f"d{i}" for i in range(count)])
        found = Counter(small_lexicon.name(entry) for entry in chosen if entry is not None)
        assert set(found) <= {"acute coryza", "common cold"}
        assert abs(found["acute coryza"] / count - share) <= 4 * (share * (1 - share) / count) ** 0.5


def test_sampled_similarity_is_the_cosine_of_character_trigrams(small_lexicon: Any) -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.metrics.pairwise import cosine_similarity

    vectorizer = TfidfVectorizer(analyzer="char", ngram_range=(3, 3)).fit([f"  {small_lexicon.name(entry)} " for entry in range(len(small_lexicon))])
    similar = cosine_similarity(vectorizer.transform(["  a common coryza "]), vectorizer.transform(["  acute coryza ", "  common cold "]))[0]
    share, count = similar[0] / similar.sum(), 3000
    chosen = TargetNames(small_lexicon, "sampled").choose([("A:5", "a common coryza")] * count, [f"d{i}" for i in range(count)])
    found = sum(small_lexicon.name(entry) == "acute coryza" for entry in chosen if entry is not None)
    assert 0.2 < share < 0.8
    assert abs(found / count - share) <= 4 * (share * (1 - share) / count) ** 0.5


def test_a_sampled_target_depends_on_seed_and_mention_and_on_nothing_else(small_kb: Any, small_lexicon: Any) -> None:
    documents = [document("a common coryza today", "common coryza", ("A:5",), name=f"d{i}") for i in range(60)]

    def chosen(documents: list[Document], seed: int) -> dict[str, str]:
        made = run(documents, small_kb, small_lexicon, target="sampled", seed=seed)
        return {row.document_id: row.completion for row in made if isinstance(row, SFTExample)}

    assert chosen(documents, 0) == chosen(documents[::-1], 0)
    assert chosen(documents[7:9], 0).items() <= chosen(documents, 0).items()
    assert chosen(documents, 0) != chosen(documents, 1)
    assert set(chosen(documents, 0).values()) == {"acute coryza", "common cold"}


def test_where_no_name_is_similar_all_are_drawn(small_lexicon: Any) -> None:
    chosen = TargetNames(small_lexicon, "sampled").choose([("A:5", "QQQ")] * 200, [str(i) for i in range(200)])
    assert len(Counter(chosen)) == 2
    assert min(Counter(chosen).values()) > 60


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_a_temperature_that_is_none_is_refused(temperature: float, small_lexicon: Any) -> None:
    with pytest.raises(ConfigError, match="above 0"):
        TargetNames(small_lexicon, "sampled", temperature)


@pytest.fixture(scope="module")
def nil_lexicon(small_kb: Any, tiny_tokenizer: Any) -> Any:
    from syncabel.lexicon.build import build_lexicon

    return build_lexicon(small_kb, tiny_tokenizer, nil="none of these")


def test_a_mention_that_is_not_in_the_knowledge_base_teaches_the_nil_leaf_where_asked_for(small_kb: Any, nil_lexicon: Any, tiny_tokenizer: Any) -> None:
    documents = [document("xanthoma today", "xanthoma", name="nil"), document("angina today", "angina", ("A:3",), name="known")]
    made = [row for row in run(documents, small_kb, nil_lexicon, nil=True) if isinstance(row, SFTExample)]
    assert [(row.document_id, row.completion, row.code) for row in made] == [("nil", "none of these", NIL_CODE), ("known", "angina", "A:3")]
    assert "[xanthoma]" in made[0].prompt.source
    (path, _) = check_targets(made, nil_lexicon, tiny_tokenizer)
    assert nil_lexicon.trie.walk(path) == nil_lexicon.nil_entry
    (rejected, _) = run(documents, small_kb, nil_lexicon)
    assert isinstance(rejected, Rejection)
    assert rejected.reason == "nil"


def test_nil_without_a_leaf_for_it_is_refused(small_kb: Any, small_lexicon: Any) -> None:
    with pytest.raises(ConfigError, match="lexicon build --nil"):
        run([], small_kb, small_lexicon, nil=True)
    with pytest.raises(ConfigError, match="set nil too"):
        ExampleSettings(nil_hold_out=0.1)


def test_concepts_held_out_appear_as_nil_only_and_are_the_same_in_any_order_and_company(small_kb: Any, nil_lexicon: Any) -> None:
    codes = ["A:1", "A:2", "A:3", "A:4", "A:5", "A:7", "A:8"]
    documents = [document("MS today", "MS", (code,), name=f"{code}-{i}") for code in codes for i in range(3)]
    options = ExampleSettings(nil=True, nil_hold_out=0.4, seed=1)
    held = codes_held_out(codes, small_kb.canonical, options)
    assert 0 < len(held) < len(codes)
    made = [row for row in run(documents, small_kb, nil_lexicon, nil=True, nil_hold_out=0.4, seed=1) if isinstance(row, SFTExample)]
    assert len(made) == len(documents)
    assert all((row.code == NIL_CODE) == (row.document_id.split("-")[0] in held) for row in made)
    assert codes_held_out(codes[::-1], small_kb.canonical, options) == held
    assert set(codes_held_out(codes[:2], small_kb.canonical, options)) == set(held) & {"A:1", "A:2"}
    assert codes_held_out(["A:100"], small_kb.canonical, options) == tuple(code for code in held if code == "A:1")


def test_a_mention_whose_other_answer_is_not_held_out_is_no_nil(small_kb: Any, nil_lexicon: Any) -> None:
    options = {"nil": True, "nil_hold_out": 0.4, "seed": 1}
    held = codes_held_out(("A:1", "A:2", "A:3", "A:4", "A:5"), small_kb.canonical, ExampleSettings(**options))
    kept = next(code for code in ("A:1", "A:2", "A:3", "A:4", "A:5") if code not in held)
    (one,) = run([document("MS today", "MS", (held[0],), (kept,))], small_kb, nil_lexicon, **options)
    assert isinstance(one, Rejection)
    assert (one.code, one.reason) == (held[0], "held_out_alternative")
    (other,) = run([document("MS today", "MS", (kept,), (held[0],))], small_kb, nil_lexicon, **options)
    assert isinstance(other, SFTExample)
    assert other.code == kept


def test_examples_are_made_block_by_block_as_all_at_once(small_kb: Any, small_lexicon: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from syncabel import sft

    kinds = [("MS", "A:1"), ("cold", "A:5"), ("angina", "A:3"), ("x", "Z:9")]
    documents = [document(f"{name} today", name, (code,), name=f"{name}-{i}") for i in range(5) for name, code in kinds]
    whole = run(documents, small_kb, small_lexicon)
    for size in (1, 3, 20):
        monkeypatch.setattr(sft, "_BLOCK", size)
        assert run(documents, small_kb, small_lexicon) == whole


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
