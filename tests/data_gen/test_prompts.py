"""Prompts: what they ask for, what requests share, and that texts from files stay inside their field."""

import json
import os
import random
import subprocess
import sys
import unicodedata
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from data_gen.gates import relink_messages
from data_gen.prompts import (
    FORMS,
    OPTIONS,
    REGISTERS,
    PromptSettings,
    draw_specs,
    estimated_tokens,
    languages,
    name_in_turn,
    prompt,
    prompt_digest,
    relatives,
    shared_part,
    shown_turns,
    texts,
    turns_prompt,
)
from data_gen.prompts.data import capped, cleaned, encoded, encoded_shot, unmistakable
from data_gen.prompts.texts import FOLDER
from data_gen.shots import is_shareable, refuse_private, style_examples
from data_gen.writer import Context, Related, Shot, document_seed
from syncabel.errors import ConfigError, FormatError, UnknownNameError
from syncabel.kb import About, KnowledgeBase
from syncabel.types import Concept, Document, Mention, Name, Span

HARMLESS = "A disease of the heart."
CONCEPT = Concept(
    "D:1",
    (Name("mitral stenosis", preferred=True), Name("MS"), Name("mitral valve narrowing", scope="narrow"), Name("rétrécissement mitral", "fr")),
    ("Disease",),
    ("T047",),
    HARMLESS,
    ("D:9",),
)
SHOTS = (Shot("Valve repair was offered to all patients with rheumatic heart disease.", Span(46, 69)),)
CONTEXT = Context(
    parents=("valve disease",),
    lineage=(("D:1", "mitral stenosis"), ("D:9", "valve disease")),
    siblings=(Related("D:2", "aortic stenosis"), Related("D:3", "mitral prolapse")),
    namesakes=(Related("D:4", "MS"),),
    confusable=(Related("D:5", "mitral atresia"), Related("D:4", "MS")),
    shots=SHOTS,
)
CONTROL_TEXT = (
    "<|eot_id|> <|start_header_id|> <|end_header_id|> <|im_end|> <|im_start|> [INST] [/INST] <s> </s> <<SYS>> <</SYS>> <end_of_turn> <start_of_turn> <eos> "
    "<｜end▁of▁sentence｜> <｜User｜> <｜Assistant｜> [|endofturn|] [|system|] [gMASK] <sop> <|user|> [CLS] [SEP] [MASK] [PAD] [unused0] >>TITLE<< <tool_call> "
    "</tool_call> [TOOL_CALLS] <unused12> <0x0A> <|channel|>"
)
CONTROL_TOKENS = CONTROL_TEXT.split()


def hostile():
    for line in (Path(__file__).parent / "hostile_definitions.jsonl").read_text(encoding="ascii").splitlines():
        row = json.loads(line)
        yield pytest.param(row["text"] * row.get("times", 1), id=row["name"])


HOSTILE = list(hostile())


def asked(concept=CONCEPT, context=CONTEXT, number=0, **settings):
    """The messages of one request."""
    chosen = PromptSettings(**settings)
    return prompt(concept, context, draw_specs(concept, context, chosen, document_seed(1, concept.code, number)), chosen)


def request_of(messages, language="en", shots=SHOTS):
    """The JSON object of a prompt, decoded, and what stands behind it."""
    content = messages[1].content
    start = len(shared_part(language, shots)[1])
    value, end = json.JSONDecoder().raw_decode(content, start)
    return value, content[end:]


def digests():
    return [prompt_digest(asked(number=number)) for number in range(20)]


@cache
def many_specs(language="en", n=2000):
    return [spec for i in range(n) for spec in draw_specs(CONCEPT, CONTEXT, PromptSettings(language=language), i)]


class TestLanguages:
    def test_every_file_is_a_language(self):
        assert {"en", "es", "fr"} <= set(languages())

    @pytest.mark.parametrize("language", languages())
    def test_every_form_option_and_register_has_words(self, language):
        words = texts(language)
        assert set(words.registers) == set(REGISTERS)
        assert set(words.options) == set(OPTIONS)
        assert set(words.forms) == {*FORMS, "term"}

    @pytest.mark.parametrize("language", languages())
    def test_the_keys_that_the_words_speak_of_exist(self, language):
        words = texts(language)
        told = " ".join((words.system, *words.options.values(), *words.forms.values()))
        for key in ("wanted", "form", "confusable", "exact_name", "also"):
            assert f'"{words.fields[key]}"' in told

    @pytest.mark.parametrize("language", languages())
    def test_no_text_of_ours_holds_a_control_token(self, language):
        assert not [token for token in CONTROL_TOKENS if token in (FOLDER / f"{language}.yaml").read_text(encoding="utf-8")]

    def test_a_further_language_is_one_file(self, tmp_path):
        for language in ("en", "fr"):
            (tmp_path / f"{language}.yaml").write_bytes((FOLDER / f"{language}.yaml").read_bytes())
        (tmp_path / "it.yaml").write_bytes((FOLDER / "en.yaml").read_bytes())
        assert languages(tmp_path) == ("en", "fr", "it")
        assert texts("it", tmp_path) == texts("en")

    @pytest.mark.parametrize(
        "change",
        [
            lambda row: row.pop("closing"),
            lambda row: row["forms"].pop("lay"),
            lambda row: row.update(extra="x"),
            lambda row: row.update(length="words"),
            lambda row: row.update(system=" "),
            lambda row: row.update(forms="all"),
            lambda row: row["fields"].update(name=row["fields"]["names"]),
        ],
        ids=["missing", "missing_inside", "unknown", "slots", "blank", "not_keys", "same_field_twice"],
    )
    def test_a_file_with_other_keys_is_refused(self, tmp_path, change):
        row = yaml.safe_load((FOLDER / "en.yaml").read_text(encoding="utf-8"))
        (tmp_path / "en.yaml").write_bytes((FOLDER / "en.yaml").read_bytes())
        change(row)
        (tmp_path / "xx.yaml").write_text(yaml.safe_dump(row, allow_unicode=True), encoding="utf-8")
        with pytest.raises(FormatError, match=r"xx\.yaml"):
            texts("xx", tmp_path)

    def test_an_unknown_language_names_the_known_ones(self):
        with pytest.raises(UnknownNameError, match="en, es, fr"):
            PromptSettings(language="de")


class TestSettings:
    @pytest.mark.parametrize(
        "wrong", [{"per_request": 0}, {"negated": 0.9, "several": 0.2}, {"defined": -0.1}, {"registers": ()}, {"names": 0}, {"contrast": float("nan")}]
    )
    def test_numbers_out_of_range_are_refused(self, wrong):
        with pytest.raises(ConfigError):
            PromptSettings(**wrong)

    def test_an_unknown_style_names_the_known_ones(self):
        with pytest.raises(UnknownNameError, match="known: json, turns"):
            PromptSettings(style="turn")  # type: ignore[arg-type]

    def test_turns_are_for_one_sentence_at_a_time(self):
        with pytest.raises(ConfigError, match="give per_request=1"):
            PromptSettings(style="turns")
        assert PromptSettings(style="turns", per_request=1).per_request == 1

    def test_an_unknown_register_names_the_nearest(self):
        with pytest.raises(UnknownNameError, match="'note'"):
            PromptSettings(registers=("notes",))

    @pytest.mark.parametrize("odd", [1, ["note"], {"note": 1}])
    def test_a_register_that_is_no_text_is_an_unknown_one(self, odd):
        with pytest.raises(UnknownNameError, match="register"):
            PromptSettings(registers=(odd,))


class TestSpecs:
    def test_they_depend_on_the_seed_and_on_nothing_else(self):
        settings = PromptSettings(per_request=7)
        assert draw_specs(CONCEPT, CONTEXT, settings, 5) == draw_specs(CONCEPT, CONTEXT, settings, 5)
        assert draw_specs(CONCEPT, CONTEXT, settings, 5) != draw_specs(CONCEPT, CONTEXT, settings, 6)

    def test_prompts_are_the_same_under_another_hash_seed(self):
        lines = (f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})", f"from {Path(__file__).stem} import digests", "print(digests())")
        done = [
            subprocess.run([sys.executable, "-c", "\n".join(lines)], env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True)
            for seed in ("1", "2")
        ]
        assert done[0].stdout == done[1].stdout == f"{digests()}\n"

    def test_the_shares_of_options_are_as_set(self):
        settings, found = PromptSettings(), [spec.option for spec in many_specs()]
        for option in OPTIONS:
            assert found.count(option) / len(found) == pytest.approx(getattr(settings, option), abs=0.02)

    def test_mentions_of_one_request_differ_in_form_unless_an_option_sets_it(self):
        for seed in range(200):
            forms = [spec.form for spec in draw_specs(CONCEPT, CONTEXT, PromptSettings(per_request=5, contrast=0, defined=0), seed)]
            assert len(set(forms)) == 5

    def test_a_slip_of_the_pen_is_asked_for_in_notes_and_messages_only(self):
        assert {spec.register for spec in many_specs() if spec.form == "misspelling"} == {"note", "patient"}

    def test_lengths_are_those_of_the_register(self):
        assert all(spec.words in REGISTERS[spec.register] for spec in many_specs() if spec.option not in ("defined", "several"))

    def test_an_abbreviation_is_asked_for_once_where_one_is_defined(self):
        for seed in range(500):
            specs = draw_specs(CONCEPT, CONTEXT, PromptSettings(contrast=0), seed)
            assert all(spec.form == "abbreviation" for spec in specs if spec.option == "defined")
            if sum(spec.option == "defined" for spec in specs) == 1:
                assert sum(spec.form == "abbreviation" for spec in specs) == 1

    def test_only_the_registers_set_are_drawn(self):
        for seed in range(50):
            assert {spec.register for spec in draw_specs(CONCEPT, CONTEXT, PromptSettings(registers=("abstract",)), seed)} == {"abstract"}

    def test_exact_names_are_in_the_language_and_the_shared_one_contrasts(self):
        for spec in many_specs():
            assert (spec.form == "name") == bool(spec.exact_name)
            assert spec.exact_name in ("", "mitral stenosis", "MS", "mitral valve narrowing")
            assert (spec.exact_name == "MS") == (spec.option == "contrast")
        assert {spec.exact_name for spec in many_specs("fr")} == {"", "rétrécissement mitral", "MS"}

    def test_where_no_name_is_in_the_language_its_usual_term_is_asked_for(self):
        specs = [spec for i in range(100) for spec in draw_specs(CONCEPT, replace(CONTEXT, namesakes=()), PromptSettings(language="es"), i)]
        assert not any(spec.exact_name or spec.also for spec in specs)
        assert "term" in {spec.form for spec in specs}

    def test_the_other_concept_is_a_parent_or_a_sibling_by_a_name_of_its_own(self):
        context = replace(
            CONTEXT,
            siblings=(*CONTEXT.siblings, Related("D:6", "MS"), Related("D:7", "Mitral Stenosis"), Related("D:8", "held out")),
            avoid=frozenset(["held out"]),
        )
        assert relatives(CONCEPT, context) == (Related("D:9", "valve disease"), Related("D:2", "aortic stenosis"), Related("D:3", "mitral prolapse"))
        assert {spec.also for spec in many_specs() if spec.option == "several"} == set(relatives(CONCEPT, CONTEXT))

    def test_a_name_longer_than_any_mention_is_not_asked_for(self):
        long = replace(CONCEPT, names=(Name("x" * 151, preferred=True),))
        for seed in range(50):
            specs = draw_specs(long, replace(CONTEXT, namesakes=()), PromptSettings(), seed)
            assert not any(spec.exact_name for spec in specs)
            assert max(map(len, request_of(asked(long))[0]["concept"]["name"].split())) <= 150

    def test_a_concept_without_a_usable_name_gets_none(self):
        assert (
            draw_specs(
                CONCEPT, replace(CONTEXT, avoid=frozenset(["mitral stenosis", "ms", "mitral valve narrowing", "rétrécissement mitral"])), PromptSettings(), 1
            )
            == ()
        )


class TestWhatIsTold:
    def test_every_field_of_a_concept_is_there(self):
        told = request_of(asked())[0]["concept"]
        assert told == {
            "name": "mitral stenosis",
            "names": {"en": ["MS", "mitral valve narrowing"], "fr": ["rétrécissement mitral"]},
            "group": "Disease",
            "types": ["T047"],
            "definition": HARMLESS,
            "is a kind of": ["valve disease"],
            "similar concepts": ["aortic stenosis", "mitral prolapse"],
            "names it shares with other concepts": ["MS"],
            "not to be confused with": ["mitral atresia"],
        }

    def test_what_there_is_nothing_of_is_left_out(self):
        lonely = Concept("D:2", (Name("quux", preferred=True),), ("Disease",))
        messages = asked(lonely, Context())
        assert request_of(messages, shots=())[0]["concept"] == {"name": "quux", "group": "Disease"}
        assert messages[1].content.startswith(texts("en").request)

    def test_definition_and_surroundings_can_be_left_out(self):
        assert set(request_of(asked(definitions=False, surroundings=False))[0]["concept"]) == {
            "name",
            "names",
            "group",
            "types",
            "names it shares with other concepts",
        }

    def test_names_to_avoid_are_nowhere_told_as_names(self):
        context = replace(CONTEXT, avoid=frozenset(["mitral stenosis", "ms"]))
        for number in range(40):
            row = request_of(asked(context=context, number=number))[0]
            assert row["concept"]["name"] == "mitral valve narrowing"
            assert not {"mitral stenosis", "MS"} & {
                *row["concept"].get("names", {}).get("en", []),
                *(each.get("exact name") for each in row["sentences wanted"]),
            }
            assert "names it shares with other concepts" not in row["concept"]

    def test_names_are_capped_and_the_one_asked_for_is_among_them(self):
        many = replace(CONCEPT, names=(Name("first", preferred=True), *(Name(f"name {i}") for i in range(60))))
        for number in range(30):
            row = request_of(asked(many, replace(CONTEXT, namesakes=()), number, names=4, contrast=0.0))[0]
            names = [row["concept"]["name"], *row["concept"]["names"]["en"]]
            assert len(names) <= 4
            assert all(each["exact name"] in names for each in row["sentences wanted"] if "exact name" in each)

    def test_the_preferred_name_of_the_language_introduces_the_concept(self):
        both = replace(CONCEPT, names=(*CONCEPT.names, Name("sténose mitrale", "fr", preferred=True)))
        assert request_of(asked(both, language="fr"), "fr")[0]["concept"]["nom"] == "sténose mitrale"
        assert request_of(asked(both))[0]["concept"]["name"] == request_of(asked(both, language="es"), "es")[0]["concepto"]["nombre"] == "mitral stenosis"

    def test_names_of_the_language_come_first(self):
        assert list(request_of(asked(language="fr"), "fr")[0]["concept"]["noms"]) == ["fr", "en"]

    def test_as_many_sentences_are_wanted_as_set_each_with_register_length_and_form(self):
        wanted = request_of(asked(per_request=5))[0]["sentences wanted"]
        assert [each["number"] for each in wanted] == [1, 2, 3, 4, 5]
        assert all({"register", "length", "form"} <= set(each) for each in wanted)

    @pytest.mark.parametrize("language", languages())
    def test_behind_the_object_stands_the_closing_line_alone(self, language):
        assert request_of(asked(language=language), language)[1] == f"\n{texts(language).closing}"


class TestSharedPart:
    def concepts(self):
        return [
            (replace(CONCEPT, code=f"D:{i}", names=(Name(f"{word} disease", preferred=True),)), CONTEXT) for i, word in enumerate(("heart", "valve", "liver"))
        ]

    @pytest.mark.parametrize("language", languages())
    def test_all_requests_of_a_group_begin_with_the_same_bytes(self, language):
        asked_of = [asked(concept, context, number, language=language) for concept, context in self.concepts() for number in range(5)]
        system, start = shared_part(language, SHOTS)
        assert {messages[0].content for messages in asked_of} == {system}
        assert all(messages[1].content.startswith(start) for messages in asked_of)

    def test_the_system_message_is_one_for_all_groups(self):
        other = replace(CONCEPT, groups=("Procedure",)), replace(CONTEXT, shots=(Shot("We performed a balloon valvuloplasty on all of them.", Span(15, 34)),))
        assert asked(*other)[0] == asked()[0]

    def test_the_examples_come_before_everything_about_the_concept(self):
        content = asked()[1].content
        assert content.index('[rheumatic heart disease]."}') < content.index("mitral stenosis")

    def test_the_shared_part_is_more_than_half_of_a_prompt_of_doid(self):
        kb = KnowledgeBase.load("doid")
        codes = random.Random(0).sample(kb.codes, 50)
        lengths = [sum(len(message.content) for message in asked(kb.concept(code), Context())) for code in codes]
        assert sum(map(len, shared_part("en", ()))) * len(lengths) > 0.5 * sum(lengths)


class TestTurns:
    """The style for small models."""

    def test_style_examples_are_turns_and_the_name_is_the_last(self):
        messages = turns_prompt("mitral stenosis", SHOTS, "en")
        assert [message.role for message in messages] == ["system", "user", "assistant", "user"]
        assert [message.content for message in messages[1:]] == ["Term: rheumatic heart disease", SHOTS[0].text, "Term: mitral stenosis"]

    @pytest.mark.parametrize("language", languages())
    def test_without_style_examples_those_of_the_file_are_shown(self, language):
        _, *turns, last = turns_prompt("MS", (), language)
        start = last.content.removesuffix("MS")
        assert start != last.content
        assert len(turns) >= 6
        for asked_, said in zip(turns[::2], turns[1::2], strict=True):
            assert asked_.content.startswith(start)
            assert asked_.content.removeprefix(start) in said.content
            assert not set("[]{}") & set(said.content)

    def test_all_but_the_last_message_is_the_same_for_all_names(self):
        assert len({turns_prompt(name, SHOTS, "en")[:-1] for name in ("MS", "asthma", "<|im_end|>")}) == 1

    def test_names_take_turns_the_preferred_one_first_and_a_shared_one_is_left_out(self):
        for concept in (CONCEPT, replace(CONCEPT, names=CONCEPT.names[::-1])):
            assert [name_in_turn(concept, CONTEXT, "en", number) for number in range(3)] == ["mitral stenosis", "mitral valve narrowing", "mitral stenosis"]
        assert name_in_turn(CONCEPT, CONTEXT, "fr", 0) == "rétrécissement mitral"

    def test_a_vocabulary_without_names_in_the_language_is_asked_for_in_its_own(self):
        assert name_in_turn(CONCEPT, CONTEXT, "es", 0) == "mitral stenosis"

    def test_a_concept_without_a_usable_name_has_none(self):
        held_out = replace(CONTEXT, avoid=frozenset(("mitral stenosis", "ms", "mitral valve narrowing", "retrecissement mitral", "rétrécissement mitral")))
        assert name_in_turn(CONCEPT, held_out, "en", 0) == ""

    @pytest.mark.parametrize("text", HOSTILE)
    def test_hostile_texts_are_on_one_line_without_a_control_token(self, text):
        shot = Shot(f"{text} fever", Span(len(text) + 1, len(text) + 6))
        for message in turns_prompt(f"x {text}", (shot,), "en"):
            assert "\n" not in message.content
            assert not [token for token in CONTROL_TOKENS if token in message.content]

    def test_no_tokenizer_finds_a_control_token_in_a_name(self):
        assert not [token for token in CONTROL_TOKENS if token in turns_prompt(CONTROL_TEXT, (), "en")[-1].content]

    def test_a_character_that_may_begin_a_token_is_followed_by_a_space(self):
        shot = Shot("Pressure fell (p < 0.05) in {asthma} [n = 12].", Span(29, 35))
        assert turns_prompt("x", (shot,), "en")[2].content == "Pressure fell (p < 0.05) in (asthma) (n = 12)."
        assert turns_prompt("＜s＞ benzo[ghi]perylene", (), "en")[-1].content == "Term: ＜ s＞ benzo[ ghi]perylene"

    def test_a_line_of_examples_without_one_mention_is_named(self, monkeypatch):
        row = texts("en")
        for line in ("No mention.", "[Two] of [them]."):
            monkeypatch.setattr("data_gen.prompts.turns.texts", lambda _, line=line: replace(row, turns={**row.turns, "examples": f"[A] b.\n{line}\n"}))
            with pytest.raises(FormatError, match="one mention in square brackets"):
                shown_turns("en")

    def test_a_name_longer_than_any_mention_is_not_asked_for(self):
        names = (Name("x" * 3000, preferred=True), Name("maladie", "fr"))
        assert name_in_turn(replace(CONCEPT, names=names), Context(), "en", 0) == "maladie"
        assert name_in_turn(replace(CONCEPT, names=names[:1]), Context(), "en", 0) == ""

    @given(st.text(alphabet=st.characters(codec="ascii", exclude_characters="<>[")))
    def test_a_plain_name_stays_as_it_is(self, text):
        assert unmistakable(text) == cleaned(text)


class TestHostileTexts:
    def test_there_are_at_least_twenty(self):
        assert len(HOSTILE) >= 20

    @pytest.mark.parametrize("definition", HOSTILE)
    def test_a_definition_stays_inside_its_field(self, definition):
        expected = capped(definition, PromptSettings().definition_chars)
        for language in languages():
            content = asked(replace(CONCEPT, definition=definition), language=language)[1].content
            harmless = asked(language=language)[1].content
            field = f'"{texts(language).fields["definition"]}": '
            if expected:
                assert content.replace(f"{field}{encoded(expected)}", f"{field}{encoded(HARMLESS)}", 1) == harmless
                row, _ = request_of([None, asked(replace(CONCEPT, definition=definition), language=language)[1]], language)
                assert row[texts(language).fields["concept"]][texts(language).fields["definition"]] == expected
            else:
                assert content == harmless.replace(f"{field}{encoded(HARMLESS)}, ", "")

    @pytest.mark.parametrize("text", HOSTILE)
    def test_every_other_text_stays_inside_its_field(self, text):
        harmless = "harmless"
        content, expected = (
            prompt(
                Concept("D:1", (Name("first", preferred=True), Name(f"x {each} y"[:140], each[:5] + "z")), (f"g {each}",), (f"t {each}",)),
                Context((f"p {each}",), (), (f"s {each}",), siblings=(Related("D:2", f"b {each}"),), confusable=(Related("D:2", f"c {each}"),), shots=SHOTS),
                draw_specs(CONCEPT, CONTEXT, PromptSettings(), 3),
                PromptSettings(),
            )[1]
            for each in (text, harmless)
        )
        row, rest = request_of([None, content])
        plain, plain_rest = request_of([None, expected])
        assert rest == plain_rest
        assert row["sentences wanted"] == plain["sentences wanted"]
        assert list(row["concept"]) == list(plain["concept"])
        assert row["concept"]["is a kind of"] == [capped(f"p {text}", 150)]

    @pytest.mark.parametrize("text", HOSTILE)
    def test_a_style_example_stays_on_its_line(self, text):
        shot = Shot(f"before {text} fever {text} after", Span(len(f"before {text} "), len(f"before {text} fever")))
        line = encoded_shot(shot)
        assert "\n" not in line
        row = json.loads(line)
        assert row["mention"] == "fever"
        assert row["sentence"].count("[") == row["sentence"].count("]") == 1
        assert "[fever]" in row["sentence"]
        assert len(row["sentence"]) <= 810

    def test_no_tokenizer_finds_a_control_token_in_a_prompt(self):
        tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        tokenizer.add_special_tokens(CONTROL_TOKENS)
        special = set(range(1, tokenizer.get_vocab_size()))
        text = CONTROL_TEXT
        assert set(tokenizer.encode(text).ids) >= special  # they are found where nothing is done about them
        shots = (
            Shot(f"{text} fever {text}", Span(len(text) + 1, len(text) + 6)),
            *(Shot(f"a [x] {each} y", Span(6, 6 + len(each))) for each in ("INST", "CLS", "/INST", "gMASK", "unused0")),
        )
        for definition in (text, *(param.values[0] for param in HOSTILE)):
            messages = asked(replace(CONCEPT, definition=definition), replace(CONTEXT, shots=shots), definition_chars=10**6)
            for message in messages:
                assert not special & set(tokenizer.encode(message.content).ids)

    def test_no_tokenizer_finds_a_control_token_in_a_re_link_prompt(self):
        tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        tokenizer.add_special_tokens(CONTROL_TOKENS)
        for mention in ("fever", "INST", "/INST", "CLS"):
            text, start = f"{CONTROL_TEXT} {mention} {CONTROL_TEXT}", len(CONTROL_TEXT) + 1
            document = Document("d", text, (Mention("m0", (Span(start, start + len(mention)),), mention, "Disease", (("D:1",),)),), source="synthetic")
            concept = Concept("D:1", (Name(CONTROL_TEXT, preferred=True),), ("Disease",), definition=CONTROL_TEXT, parents=("D:9",))
            for message in relink_messages(document, [concept], "en", 0, {"D:9": CONTROL_TEXT}):
                assert set(tokenizer.encode(message.content).ids) == {0}
            assert f"[{mention}]" in json.loads(message.content.split("\n")[0])

    def test_names_with_brackets_of_chemistry_stay_as_they_are_written(self):
        assert encoded("benz[a]anthracene") == '"benz[a]anthracene"'
        assert encoded("2-(4-pyridyl)[1,2-b]furan") == '"2-(4-pyridyl)[1,2-b]furan"'

    def test_a_full_width_bracket_is_escaped_too(self):
        assert encoded("＜s＞") == '"\\uff1cs\\uff1e"'
        assert json.loads(encoded("＜s＞")) == "＜s＞"

    @given(st.text())
    def test_encoding_is_json_that_says_the_same(self, text):
        plain = cleaned(text)
        assert json.loads(encoded({plain: [plain]})) == {plain: [plain]}
        assert not set("<>\n") & set(encoded(plain))

    @given(st.text(), st.integers(1, 50))
    def test_cleaned_texts_are_on_one_line_and_capped(self, text, most):
        assert not any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn") for c in cleaned(text))
        assert cleaned(cleaned(text)) == cleaned(text)
        assert len(capped(text, most)) <= most


class TestTokens:
    def test_the_estimate_is_near_a_tokenizers_count(self, tiny_tokenizer):
        tokenizer = tiny_tokenizer.backend_tokenizer
        messages = asked()
        assert estimated_tokens(messages, tokenizer) == 12 + sum(len(tokenizer.encode(message.content).ids) for message in messages)

    def test_without_a_tokenizer_code_points_are_counted(self):
        few, many = asked(per_request=1), asked(per_request=6)
        assert 0 < estimated_tokens(few) < estimated_tokens(many)


CANARY = "zqxcanary"


def note(number, text, mention, split="train", **rest):
    start = text.index(mention)
    return Document(f"n{number}", text, (Mention("m", (Span(start, start + len(mention)),), mention, "T", (("A:1",),)),), split=split, **rest)


@pytest.fixture(scope="module")
def tiny_kb():
    concepts = [Concept("A:1", (Name("fever", preferred=True),), ("Sign",), alt_codes=("A:10",)), Concept("A:2", (Name("cough", preferred=True),), ("Other",))]
    return KnowledgeBase.build(concepts, About(source="test", release="1", licence="CC0", redistributable=True))


@pytest.fixture(scope="module")
def notes():
    words = ("fever", "pyrexia", "febrile state", "high temperature", "feverishness", "raised temperature", "temp. 39", "hot skin")
    return [
        note(i, f"A title on {word}\nShe was admitted last week with {word} that lasted four days. It went away.", word) for i, word in enumerate(words)
    ] + [note(100 + i, f"A title\nOn admission there was {word} which had begun two days before.", word) for i, word in enumerate(words)]


class TestStyleExamples:
    def test_they_are_sentences_of_training_mentions_without_the_title(self, tiny_kb, notes):
        (shot, *_), *_ = style_examples(notes, tiny_kb, 5, 1, shareable=False, local=True).values()
        assert "title" not in shot.text
        assert "\n" not in shot.text
        assert any(shot.text[shot.mention.start : shot.mention.end] == document.mentions[0].text for document in notes)

    def test_there_are_k_of_each_group_with_different_mentions_or_as_many_as_there_are(self, tiny_kb, notes):
        drawn = style_examples(notes, tiny_kb, 5, 1, shareable=False, local=True)
        assert list(drawn) == ["Sign"]
        assert len({shot.text[shot.mention.start : shot.mention.end] for shot in drawn["Sign"]}) == 5
        # The first eight notes have their mentions in the title only.
        assert len(style_examples(notes, tiny_kb, 50, 1, shareable=False, local=True)["Sign"]) == 8
        assert style_examples(notes, tiny_kb, 0, 1, shareable=False, local=True) == {}

    def test_the_seed_decides(self, tiny_kb, notes):
        drawn = [style_examples(notes, tiny_kb, 3, seed, shareable=False, local=True) for seed in (1, 1, 2, 3)]
        assert drawn[0] == drawn[1]
        assert len({tuple(each["Sign"]) for each in drawn}) > 1

    def test_alternative_codes_unknown_ones_and_nil_are_told_apart(self, tiny_kb, notes):
        def with_answers(answers):
            return [replace(document, mentions=(replace(document.mentions[0], answers=answers),)) for document in notes]

        assert style_examples(with_answers((("A:10",),)), tiny_kb, 5, 1, shareable=False, local=True)
        for answers in (None, (), (("Z:1",),)):
            assert style_examples(with_answers(answers), tiny_kb, 5, 1, shareable=False, local=True) == {}

    def test_other_languages_and_synthetic_documents_are_passed_over(self, tiny_kb, notes):
        assert style_examples([replace(document, language="fr") for document in notes], tiny_kb, 5, 1, shareable=False, local=True) == {}
        assert style_examples([replace(document, source="synthetic") for document in notes], tiny_kb, 5, 1, shareable=False, local=True) == {}

    @pytest.mark.parametrize("split", ["dev", "test", None])
    def test_other_splits_are_refused_without_a_word_of_their_text(self, tiny_kb, notes, split):
        with pytest.raises(ConfigError, match="train") as error:
            style_examples([*notes, note(200, f"{CANARY} and fever", "fever", split)], tiny_kb, 5, 1, shareable=True, local=True)
        assert CANARY not in str(error.value)

    def test_a_private_corpus_does_not_leave_the_machine(self, tiny_kb):
        private = [note(i, f"The patient {CANARY} was seen with fever and {CANARY} rash today.", "fever") for i in range(3)]
        with pytest.raises(ConfigError, match="shareable") as error:
            style_examples(private, tiny_kb, 5, 1, shareable=False, local=False)
        assert CANARY not in str(error.value)

    @pytest.mark.parametrize(("shareable", "local"), [(True, True), (True, False), (False, True)])
    def test_otherwise_it_is_used(self, shareable, local):
        refuse_private(shareable=shareable, local=local, where="notes")

    def test_no_file_is_shareable_unless_a_source_says_so(self, tmp_path):
        (tmp_path / "notes.jsonl").write_text("{}\n")
        assert not is_shareable([tmp_path / "notes.jsonl"])
        assert not is_shareable([])

    def test_a_copy_of_the_mention_in_an_example_is_what_its_brackets_hold(self, tiny_kb, notes):
        for shot in style_examples(notes, tiny_kb, 8, 1, shareable=False, local=True)["Sign"]:
            row = json.loads(encoded_shot(shot))
            assert f"[{row['mention']}]" in row["sentence"]
