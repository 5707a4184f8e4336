"""Reading answers: every shape a model writes, every reason for a refusal, and arbitrary text."""

import json
import time
from itertools import pairwise

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_gen.answers import REASONS, Marked, Refused, answer_schema, parse_answer, parse_sentence
from syncabel.text import clean_name, fold
from syncabel.types import Document, Mention, Span


def answer(*items):
    return json.dumps({"sentences": [{"mention": mention, "sentence": sentence} for mention, sentence in items]}, ensure_ascii=False)


def says(item):
    """The text of an item and its mention."""
    assert isinstance(item, Marked), item
    return item.text, item.text[item.mention.start : item.mention.end]


def one(text, others=None):
    (item,) = parse_answer(text, others)
    return item


TWO = answer(("MS", "Echo showed [MS]."), ("stenosis", "No [stenosis] was seen."))
SAID = [("Echo showed MS.", "MS"), ("No stenosis was seen.", "stenosis")]


class TestShapes:
    @pytest.mark.parametrize(
        "text",
        [
            TWO,
            json.dumps(json.loads(TWO)["sentences"]),
            json.dumps(json.loads(TWO), indent=2),
            f"```json\n{TWO}\n```",
            f"```\n{json.dumps(json.loads(TWO)['sentences'], indent=1)}\n```\nLet me know!",
            f"Sure! Here are [two] sentences {{as asked}}:\n\n{TWO}\n\nI hope this helps [with your work].",
            "\n".join(json.dumps(item) for item in json.loads(TWO)["sentences"]),
            json.dumps({"answer": {"result": json.loads(TWO)}}),
            json.dumps({"Sentences": [{"Mention": item["mention"], "Sentence": item["sentence"]} for item in json.loads(TWO)["sentences"]]}),
            json.dumps({"oraciones": [{"mención": item["mention"], "oración": item["sentence"]} for item in json.loads(TWO)["sentences"]]}),
            json.dumps({"phrases": [{"mention": item["mention"], "phrase": item["sentence"]} for item in json.loads(TWO)["sentences"]]}),
            json.dumps({"sentences": ["Echo showed [MS].", "No [stenosis] was seen."]}),
            json.dumps(["Echo showed [MS].", "No [stenosis] was seen."]),
            "example: Echo showed [MS].\nexample: No [stenosis] was seen.",
            "Voici :\n\nexemple : Echo showed [MS].\nexemple : No [stenosis] was seen.\n",
            "Ejemplo: Echo showed [MS].\r\nEJEMPLO: No [stenosis] was seen.",
            '1. **Example 1:** "Echo showed [MS]."\n2. **Example 2:** "No [stenosis] was seen."',
            "- exemple 1 : « Echo showed [MS]. »\n- exemple 2 : « No [stenosis] was seen. »",
        ],
    )
    def test_every_shape_says_the_same(self, text):
        assert [says(item) for item in parse_answer(text)] == SAID

    def test_white_space_becomes_single(self):
        assert says(one('{"mention": " M  S ", "sentence": "Echo\n showed\u00a0[M\tS] .  "}')) == ("Echo showed M S .", "M S")


class TestCutOff:
    @pytest.mark.parametrize("at", range(1, len(TWO)))
    def test_complete_items_are_kept_wherever_the_answer_is_cut(self, at):
        items = parse_answer(TWO[:at])
        ends = [TWO.index("}") + 1, TWO.index("}", TWO.index("}") + 1) + 1]
        complete = sum(at >= end for end in ends)
        assert [says(item) for item in items[:complete]] == SAID[:complete]
        assert all(isinstance(item, Refused) for item in items[complete:])
        if any(f'{{"mention": "{mention}"' in TWO[:at] and at < end for mention, end in zip(("MS", "stenosis"), ends, strict=True)):
            assert [item.reason for item in items[complete:]] == ["truncated"]

    def test_an_item_that_is_no_json_is_refused_and_the_others_are_kept(self):
        broken = TWO.replace("Echo showed", 'Echo "showed"')
        refused, kept = parse_answer(broken)
        assert refused.reason == "structure"
        assert refused.text.startswith('{"mention": "MS"')
        assert says(kept) == SAID[1]


class TestEcho:
    CONCEPT = '{"concept": {"name": "MS", "names": {"en": ["MS", "mitral stenosis"]}}, "sentences wanted": [{"number": 1, "form": "as it is"}]'

    @pytest.mark.parametrize("end", ["", "}", "}\n"])
    def test_a_request_said_back_has_no_items_in_its_lists(self, end):
        assert one(self.CONCEPT + end).reason == "structure"

    def test_the_answer_behind_it_is_read(self):
        assert [says(item) for item in parse_answer(self.CONCEPT + "\n" + TWO)] == SAID

    def test_a_list_of_sentences_in_an_object_that_is_not_closed_is_read(self):
        assert [says(item) for item in parse_answer('{"sentences": ["Echo showed [MS].", "No [stenosis] was seen."]')] == SAID


class TestReasons:
    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("", "empty"),
            (" \n\t", "empty"),
            ("I am sorry, I cannot help with that.", "structure"),
            ('{"sentences": []}', "structure"),
            ('{"error": "no"}', "structure"),
            ('{"sentences": [{"mention": "MS"}]}', "structure"),
            ('{"sentences": [{"mention": "MS", "sentence": " "}]}', "structure"),
            ('{"sentences": [{"mention": ["MS"], "sentence": "[MS]"}]}', "structure"),
            ('{"sentences": [7]}', "structure"),
            ('{"sentences": [{"mention": "MS", "sentence": "Echo sho', "truncated"),
            (answer(("", "Echo showed MS.")), "no_mention"),
            (answer(("MS", "Echo was normal.")), "no_mention"),
            (answer(("MS", "Echo showed MSX.")), "no_mention"),
            (answer(("MS", "MS is MS.")), "ambiguous_mention"),
            (answer(("", "Both [MS] and [MR].")), "ambiguous_mention"),
            (answer(("MS", "Echo showed [MR], not MS.")), "mention_mismatch"),
            (answer(("MS", "Echo showed [MS (mitral stenosis)].")), "mention_mismatch"),
            (answer(("", "Echo showed [].")), "empty_mention"),
            (answer(("…", "… […] …")), "empty_mention"),
            ("example: no brackets", "no_mention"),
        ],
    )
    def test_each_has_its_case(self, text, reason):
        assert one(text).reason == reason

    def test_the_cases_above_are_all_there_are(self):
        cases = self.test_each_has_its_case.pytestmark[0].args[1]
        assert {reason for _, reason in cases} == set(REASONS)


class TestBrackets:
    @pytest.mark.parametrize(
        ("mention", "sentence", "text", "found"),
        [
            ("MS", "Echo showed MS.", "Echo showed MS.", "MS"),
            ("mitral stenosis", "Mitral stenosis was seen.", "Mitral stenosis was seen.", "Mitral stenosis"),
            ("[MS]", "Echo showed [MS].", "Echo showed MS.", "MS"),
            ("ms", "Echo showed [MS], not ms.", "Echo showed MS, not ms.", "MS"),
            ("MS", "Echo showed [ MS ].", "Echo showed MS.", "MS"),
            ("MS", "First [MS], then [MS].", "First MS, then MS.", "MS"),
            ("MS", "Mitral stenosis (MS) is grave. She had [MS].", "Mitral stenosis (MS) is grave. She had MS.", "MS"),
            ("", "Echo showed [MS].", "Echo showed MS.", "MS"),
            ("something else", "Echo showed [MS].", "Echo showed MS.", "MS"),
            ("benz[a]anthracene", "Exposure to [benz[a]anthracene] was high.", "Exposure to benz[a]anthracene was high.", "benz[a]anthracene"),
            ("benz[a]anthracene", "Exposure to benz[a]anthracene was high.", "Exposure to benz[a]anthracene was high.", "benz[a]anthracene"),
            ("BaA", "[BaA], that is benz[a]anthracene.", "BaA, that is benz[a]anthracene.", "BaA"),
            ("", "[BaA], that is benz[a]anthracene.", "BaA, that is benz[a]anthracene.", "BaA"),
            ("[18F]FDG", "Uptake of [[18F]FDG] rose.", "Uptake of [18F]FDG rose.", "[18F]FDG"),
            ("range [0, 5)", "In the [range [0, 5)] it held.", "In the range [0, 5) it held.", "range [0, 5)"),
            ("MS", "Echo [see below] showed [MS].", "Echo [see below] showed MS.", "MS"),
        ],
    )
    def test_the_mention_is_found_and_its_marks_are_gone(self, mention, sentence, text, found):
        assert says(one(answer((mention, sentence)))) == (text, found)

    def test_the_first_of_two_is_the_mention(self):
        assert one(answer(("MS", "First [MS], then [MS]."))).mention == Span(6, 8)


OTHERS = {"aortic stenosis": "D:2", "stenosis": "D:3"}


class TestOtherConcepts:
    def others(self, item):
        return [(item.text[span.start : span.end], code) for span, code in item.others]

    @pytest.mark.parametrize("mention", ["MS", ""])
    def test_one_in_brackets_of_its_own_is_marked(self, mention):
        item = one(answer((mention, "Both [Aortic Stenosis] and [MS].")), OTHERS)
        assert says(item) == ("Both Aortic Stenosis and MS.", "MS")
        assert self.others(item) == [("Aortic Stenosis", "D:2")]

    def test_one_that_stands_verbatim_is_marked_longer_names_first(self):
        item = one(answer(("MS", "With [MS], aortic stenosis is worse than stenosis; aortic stenosis2 is none.")), OTHERS)
        assert self.others(item) == [("aortic stenosis", "D:2"), ("stenosis", "D:3")]

    def test_none_is_marked_inside_the_mention(self):
        assert one(answer(("mitral stenosis", "Echo showed [mitral stenosis].")), OTHERS).others == ()

    def test_another_concept_is_not_taken_for_the_mention(self):
        assert one(answer(("aortic stenosis", "Echo showed [aortic stenosis].")), OTHERS).reason == "mention_mismatch"
        assert one(answer(("", "Echo showed [aortic stenosis].")), OTHERS).reason == "no_mention"


class TestSchema:
    def test_it_takes_what_is_asked_for_and_nothing_else(self):
        schema = answer_schema(2)
        jsonschema.Draft202012Validator.check_schema(schema)
        jsonschema.validate(json.loads(TWO), schema)
        for wrong in (json.loads(TWO)["sentences"], {"sentences": json.loads(TWO)["sentences"][:1]}, {"sentences": [{"mention": "x"}] * 2}, {}):
            with pytest.raises(jsonschema.ValidationError):
                jsonschema.validate(wrong, schema)


INK = st.text(min_size=1, max_size=12).map(clean_name).filter(lambda text: any(c.isalnum() for c in text))
PLAIN = st.text(st.characters(exclude_characters="[]", exclude_categories=["Cs"]), max_size=20).map(clean_name)
OPENINGS = ['{"sentences": [', '{"mention": "', '", "sentence": "', '"}', "]}", "[", "]", "{", "}", '"', "```"]
CHUNKS = st.sampled_from([*OPENINGS, "\\", "\\ud800", "\n", "example: ", "[MS]", "MS", " ", "é", "\ud800"])


class TestSentences:
    """Answers that are nothing but a sentence."""

    @pytest.mark.parametrize(
        ("text", "mention", "said"),
        [
            ("Echo showed mitral stenosis.", "mitral stenosis", ("Echo showed mitral stenosis.", "mitral stenosis")),
            ("  Mitral  stenosis was seen. ", "mitral stenosis", ("Mitral stenosis was seen.", "Mitral stenosis")),
            ("\n\nNo MS today.\nHere is another MS.", "MS", ("No MS today.", "MS")),
            ("Echo showed [MS].", "MS", ("Echo showed MS.", "MS")),
            ("An MS, and no other MS.", "MS", ("An MS, and no other MS.", "MS")),
            ("Seen in benz[a]anthracene workers.", "benz[a]anthracene", ("Seen in benz[a]anthracene workers.", "benz[a]anthracene")),
            ("Mitral stenosis was seen [1].", "mitral stenosis", ("Mitral stenosis was seen [1].", "Mitral stenosis")),
            ("Of all patients, twelve had ALL.", "ALL", ("Of all patients, twelve had ALL.", "ALL")),
            ("In cases of spastic paraplegia 35 only.", "SPASTIC PARAPLEGIA 35", ("In cases of spastic paraplegia 35 only.", "spastic paraplegia 35")),
        ],
    )
    def test_the_first_line_is_the_sentence_and_the_first_place_the_mention(self, text, mention, said):
        assert says(parse_sentence(text, mention)) == said

    @pytest.mark.parametrize(
        ("text", "finished", "reason"),
        [("", True, "empty"), (" \n ", False, "empty"), ("Echo showed AMS.", True, "no_mention"), ("Echo showed MS and no", False, "truncated"),
         ("Echo was done. It showed MS and", False, "no_mention"), ("We saw [asthma] in nine.", True, "no_mention"),
         ("A common disease [1].", True, "no_mention"), ("It was as rare as ms.", True, "no_mention"), ("MS was found by Dr. Smith and", False, "truncated"),
         ("MS with a valve area of 1.", False, "truncated")],
    )  # fmt: skip
    def test_others_are_refused_with_a_reason(self, text, finished, reason):
        found = parse_sentence(text, "MS", finished)
        assert isinstance(found, Refused)
        assert found.reason == reason
        assert reason in REASONS

    def test_of_an_answer_cut_off_the_whole_sentences_stay(self):
        assert says(parse_sentence("Echo showed MS. Is it 3.5 cm? The valve was", "MS", finished=False)) == ("Echo showed MS. Is it 3.5 cm?", "MS")

    def test_a_first_line_is_whole_where_another_follows(self):
        assert says(parse_sentence("No MS today\nHere is another one that", "MS", finished=False)) == ("No MS today", "MS")

    @given(
        st.lists(st.sampled_from(["MS", "ms", "[", "]", " ", ".", "\n", "1", "é", "all"])).map("".join) | st.text(),
        st.sampled_from(["MS", "ALL", "é 1", "[", "1."]) | st.text(),
        st.booleans(),
    )
    def test_it_never_raises_and_what_it_marks_is_the_mention(self, text, mention, finished):
        found = parse_sentence(text, clean_name(mention), finished)
        if isinstance(found, Marked):
            marked = found.text[found.mention.start : found.mention.end]
            assert marked.casefold() == clean_name(mention).casefold() or fold(marked) == fold(mention)
            assert any(c.isalnum() for c in marked)
        else:
            assert found.reason in REASONS


class TestAnyText:
    @given(st.text() | st.lists(CHUNKS, max_size=25).map("".join))
    def test_it_never_raises_and_always_says_something(self, text):
        items = parse_answer(text, {"MS": "D:2"})
        assert items
        for i, item in enumerate(items):
            assert isinstance(item, Marked) or item.reason in REASONS
            item.text.encode()
            if isinstance(item, Marked):
                spans = [item.mention, *(span for span, _ in item.others)]
                mentions = tuple(Mention(str(k), (span,), item.text[span.start : span.end], None, (("D:1",),)) for k, span in enumerate(spans))
                Document(str(i), item.text, mentions)  # checks the offsets
                ordered = sorted(spans)
                assert all(one.end <= other.start for one, other in pairwise(ordered))

    @given(PLAIN, INK.filter(lambda text: "[" not in text and "]" not in text), PLAIN, st.sampled_from(["{}", "```json\n{}\n```", "Sure:\n{}\nBye."]))
    def test_what_is_written_as_asked_is_read_back(self, before, mention, after, around):
        text = around.format(answer((mention, f"{before} [{mention}] {after}")))
        assert says(one(text)) == (clean_name(f"{before} {mention} {after}"), mention)

    @given(INK, PLAIN)
    def test_a_mention_with_brackets_of_its_own_is_read_back(self, mention, after):
        text, found = says(one(answer((mention, f"It was [{mention}], {after}"))))
        if mention.startswith("[") and mention.endswith("]"):  # its brackets may be taken for marks
            assert found in mention
        else:
            assert (text, found) == (f"It was {mention}, {after}".strip(), mention)

    @pytest.mark.parametrize(
        "piece", ["{", "[", '{"a":', '["x",', *OPENINGS[:3], "\n", " ", "example: ", "example ", "[[", "] [", "[a] ", "{\\", "-", '[" ', "*"]
    )
    def test_no_long_answer_is_slow(self, piece):
        start = time.process_time()
        assert parse_answer(piece * (300_000 // len(piece)), {"MS": "D:2"})
        assert time.process_time() - start < 2

    def test_what_lies_behind_the_longest_answer_is_refused_as_one_piece(self):
        *items, last = parse_answer(TWO + " " * 50_000 + TWO)
        assert [says(item) for item in items] == SAID
        assert last.reason == "truncated"

    def test_deeply_nested_lists_are_refused(self):
        assert {item.reason for item in parse_answer('{"sentences": ' + "[" * 900 + "]" * 900 + "}")} == {"structure"}
