"""The report page: what it counts, that hostile text stays text, and that nothing private is shown."""

import json
import tracemalloc
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_gen.gates.scores import Score
from data_gen.report import WITHHELD, write_page
from syncabel.errors import FormatError, IncompleteFolderError
from syncabel.types import Document, Mention, Provenance, Rejection, Span, to_json


def document(number, code="D:1", group="Disease", text="A case of asthma.", mention="asthma"):
    start = text.index(mention)
    marked = Mention("m1", (Span(start, start + len(mention)),), mention, group, ((code,),))
    return Document(f"t-1-{code}-{number}", text, (marked,), source="synthetic", provenance=Provenance(code, "openai", "model", 1, "aa", "bb"))


def score(one, *, other=False, rank=1, distance=0.0):
    return Score(one.id, "m1", other, rank, distance)


def write(path, rows):
    path.write_bytes(b"".join(json.dumps(to_json(row), ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n" for row in rows))


def folder_of(path, kept, rejected, scores=None, facts=()):
    path.mkdir(exist_ok=True)
    write(path / "documents.jsonl", kept)
    write(path / "rejected.jsonl", rejected)
    if scores is not None:
        write(path / "scores.jsonl", scores)
    reasons = dict(Counter(row.reason for row in rejected))
    report = {"requested": 9, "generated": len(kept) + len(rejected), "kept": len(kept), "rejected": reasons, "missing": 2, "writer": "openai", "seconds": 61.2}
    (path / "report.json").write_text(json.dumps(report | dict(facts)), encoding="utf-8")
    return path


class Reader(HTMLParser):
    """The page as a browser has it: tags with their attributes, and the texts of table rows, headings, examples."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.rows, self.texts, self.marked = Counter(), [], [], [], []
        self.open = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self.attributes += attrs
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])

    def handle_endtag(self, tag):
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data):
        if "style" in self.open:
            return
        self.texts.append(data)
        if "mark" in self.open:
            self.marked.append(data)
        if "tr" in self.open:
            self.rows[-1].append(data)

    @property
    def text(self):
        return "".join(self.texts)


def page_of(folder, **options):
    write_page(folder, folder / "page.html", **options)
    return (folder / "page.html").read_text(encoding="utf-8")


@pytest.fixture
def small(tmp_path):
    kept = [*(document(i) for i in range(3)), document(3, "F:1", "Finding", "She had fever at night.", "fever")]
    rejected = [
        *(Rejection(f"r{i}", "D:1", "json", "no JSON here") for i in range(3)),
        Rejection("r3", "D:9", "language", "ein deutscher Satz"),
        Rejection("r4", "F:1", "shot_copy", "CANARY-of-a-note"),
    ]
    scores = [score(kept[0]), score(kept[1], distance=0.25), score(kept[2], rank=None, distance=1.0), score(kept[3], other=True, rank=7, distance=None)]
    return folder_of(tmp_path / "gen", kept, rejected, scores, {"model": "tiny-model", "engines": ["vllm 0.32.0"], "kb_digest": "ab" * 32, "rounds": 0})


def test_the_tables_hold_what_was_counted(small):
    rows = Reader(page_of(small)).rows
    assert ["json", "3", "33.3 %"] in rows
    assert ["language", "1", "11.1 %"] in rows
    assert ["Disease", "6", "50.0 %"] in rows
    assert ["Finding", "2", "50.0 %"] in rows
    assert ["(group not known)", "1", "0.0 %"] in rows
    assert ["none", "1", "33.3 %"] in rows  # D:9
    assert ["1", "1", "33.3 %"] in rows
    assert ["3", "1", "33.3 %"] in rows
    assert ["0, a known name", "1", "33.3 %"] in rows
    assert ["0.2 to 0.3", "1", "33.3 %"] in rows
    assert ["0.9 to 1.0", "1", "33.3 %"] in rows
    assert ["first", "2", "50.0 %"] in rows
    assert ["4 to 10", "1", "25.0 %"] in rows
    assert ["not in the first 10", "1", "25.0 %"] in rows


def test_the_head_holds_the_figures_and_the_recipe(small):
    text = Reader(page_of(small)).text
    assert "Synthetic sentences: openai" in text
    assert "model tiny-model · engines vllm 0.32.0 · kb digest abababab…" in text
    assert "61.2 s" in text
    assert "1 of 4 mentions (25.0 %) are exactly another concept’s name" in text


def test_groups_that_are_handed_in_count_for_rejected_concepts_too(small):
    rows = Reader(page_of(small, groups={"D:1": "Disease", "D:9": "Disease", "F:1": "Finding"})).rows
    assert ["Disease", "7", "42.9 %"] in rows
    assert not any(row[0] == "(group not known)" for row in rows)


def test_mentions_are_marked_in_the_examples(small):
    assert Counter(Reader(page_of(small)).marked) == {"asthma": 3, "fever": 1}


def test_what_may_be_somebody_elses_text_is_counted_and_not_shown(small):
    page = page_of(small)
    assert {"shot_copy", "held_out_overlap", "personal_data"} == WITHHELD
    assert "CANARY" not in page
    assert ["shot_copy", "1", "11.1 %"] in Reader(page).rows
    assert "Counted, not shown" in page


def test_texts_that_the_caller_withholds_are_in_no_example(small):
    page = page_of(small, withheld=lambda text: "asthma" in text or "JSON here" in text)
    assert "asthma" not in page
    assert "JSON here" not in page
    assert "fever" in page


def test_the_page_stands_alone_and_runs_nothing(small):
    page = page_of(small)
    read = Reader(page)
    assert not set(read.tags) & {"script", "link", "img", "iframe", "object", "form", "a", "base"}
    assert not [name for name, _ in read.attributes if name.startswith("on") or name in ("src", "href")]
    assert "http://" not in page.replace("http-equiv", "")
    assert "https://" not in page
    assert "url(" not in page
    assert "default-src 'none'" in page


HOSTILE = [
    "</bdi></li></ul><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "<!-- ",
    "]]> &lt;b&gt; &#60;",
    "$title ${sections} $$",
    "\u202egnp.exe \u2066 \x00 \x1b[31m",
    "\ud83d half a pair",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text(tmp_path, text):
    word = text.encode("utf-8", "replace").decode()  # codes and reasons are the project's own and come from valid files
    evil = Rejection("r", word, word, text)
    one = document(0, word, word, f"{text} asthma {text}")
    plain = page_of(folder_of(tmp_path / "plain", [document(0)], [Rejection("r", "D:1", "r", "t")], [score(one)], {"writer": "w"}))
    page = page_of(folder_of(tmp_path / "evil", [one], [evil], [score(one)], {"writer": text}))
    assert Reader(page).tags == Reader(plain).tags
    assert not any(c in page for c in "\u202e\u2066\x00\x1b")
    page.encode("utf-8")


@settings(max_examples=40, deadline=None)
@given(st.text())
def test_any_text_at_all_adds_no_tag(tmp_path_factory, text):
    folder = folder_of(tmp_path_factory.mktemp("any"), [document(0, text=text + " asthma")], [Rejection("r", "c", "r", text)])
    read = Reader(page_of(folder))
    assert read.tags["li"] == 2
    assert read.tags["script"] == 0


def test_a_long_text_is_cut_and_its_mention_behind_the_cut_is_no_trouble(tmp_path):
    folder = folder_of(tmp_path / "gen", [document(0, text="word " * 400 + "asthma")], [])
    read = Reader(page_of(folder))
    assert len(read.text) < 1500
    assert read.marked == []


def test_the_same_folder_gives_the_same_page_and_another_seed_other_examples(tmp_path):
    kept = [document(i, text=f"Sentence {i} on asthma.") for i in range(50)]
    folder = folder_of(tmp_path / "gen", kept, [])
    assert page_of(folder) == page_of(folder)
    assert page_of(folder, seed=1) != page_of(folder)


def test_a_folder_without_scores_or_rejections_has_a_page(tmp_path):
    page = page_of(folder_of(tmp_path / "gen", [document(0)], []))
    assert "Nothing was rejected." in page
    assert "How far mentions are" not in page


def test_ranks_nobody_gave_are_left_out(tmp_path):
    one = document(0)
    assert "Rank of the concept" not in page_of(folder_of(tmp_path / "gen", [one], [], [score(one, rank=None)]))


def test_an_empty_folder_has_a_page(tmp_path):
    assert "<h1>" in page_of(folder_of(tmp_path / "gen", [], [], []))


def test_figures_that_do_not_add_up_are_said(small, tmp_path):
    assert 'class="warn"' not in page_of(small)
    wrong = folder_of(tmp_path / "wrong", [document(0)], [Rejection("r", "c", "json", "t")], facts={"kept": 2, "rejected": {"language": 1}})
    text = Reader(page_of(wrong)).text
    assert "kept and rejected are not what was generated" in text
    assert "documents.jsonl holds 1 rows" in text
    assert "rejected.jsonl holds 1 rows, or other reasons" in text


@pytest.mark.parametrize("name", ["report.json", "documents.jsonl", "rejected.jsonl"])
def test_a_missing_file_is_named(small, name):
    (small / name).unlink()
    with pytest.raises(IncompleteFolderError, match=name):
        page_of(small)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("documents.jsonl", '{"id": "CANARY'),
        ("documents.jsonl", '["CANARY"]'),
        ("documents.jsonl", '{"id": "1", "text": "CANARY", "source": "synthetic"}'),
        ("documents.jsonl", '{"id": "1", "text": "CANARY"}'),
        ("rejected.jsonl", '{"where": "CANARY"}'),
        ("scores.jsonl", '{"distance": "CANARY"}'),
    ],
)
def test_a_bad_row_is_named_by_its_line_and_none_of_its_text_is_said(small, name, line):
    with (small / name).open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    with pytest.raises(FormatError, match=rf"{name}:\d+: ") as found:
        page_of(small)
    assert "CANARY" not in str(found.value)
    assert not (small / "page.html").exists()


@pytest.mark.parametrize("content", ["", "[]", '{"kept": 1}', "{"])
def test_a_report_that_is_none_is_refused(small, content):
    (small / "report.json").write_text(content, encoding="utf-8")
    with pytest.raises(FormatError, match=r"report\.json"):
        page_of(small)


def peak_of(folder):
    tracemalloc.start()
    page_of(folder)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_memory_does_not_grow_with_the_rows(tmp_path):
    peaks = []
    for rows in (500, 3000):
        kept = [document(i, f"D:{i % 50}") for i in range(rows)]
        rejected = [Rejection(f"r{i}", f"D:{i % 50}", "json", "text " * 40) for i in range(rows)]
        peaks.append(peak_of(folder_of(tmp_path / str(rows), kept, rejected, [score(one) for one in kept])))
    assert peaks[1] < 1.2 * peaks[0] + 50_000


def test_the_template_is_part_of_the_package():
    assert (Path(__file__).resolve().parents[2] / "data_gen" / "report.html").is_file()
