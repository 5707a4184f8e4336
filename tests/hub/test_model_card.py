"""The card of a published model: everything on it was measured, and a figure that was not is refused."""

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from syncabel.calibration.answering import own_digests
from syncabel.calibration.store import Calibration, Calibrator, Fit, HeldFor, Measured, SetCurve
from syncabel.calibration.thresholds import PrecisionPoint, SetPoint
from syncabel.decoding import DecodingSettings, load_lexicon
from syncabel.errors import ConfigError, DigestMismatchError, FormatError, IncompleteFolderError
from syncabel.export.card import Facts, model_card
from syncabel.export.figures import check_figures, check_folder, evidence_of, untraced
from syncabel.export.results import read_results
from syncabel.hub.model import export_model_repo


@pytest.fixture
def published(trained, results_file, tmp_path):
    """A folder as it would go out, with a results file."""
    export_model_repo(trained("open"), tmp_path / "out", "lab/tiny-linker", title="Tiny linker", results=[str(results_file)])
    return tmp_path / "out"


def card_of(folder):
    return (folder / "README.md").read_text(encoding="utf-8")


def front_matter(folder):
    return yaml.safe_load(card_of(folder).split("---\n")[1])


def section(card, heading):
    return re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", card, re.MULTILINE | re.DOTALL)[1]


def test_the_card_has_the_sections_of_a_published_one(published):
    headings = re.findall(r"^## (.*)$", card_of(published), re.MULTILINE)
    assert headings == [
        *("Summary", "Intended use", "Use", "Training data", "Training", "Scores", "Speed and memory", "Limits", "Bias", "Licence", "Citation"),
    ]


def test_the_training_data_is_told_source_by_source(published):
    rows = section(card_of(published), "Training data").split("\n")
    assert "| human | 4,187 | 51,234 | 2.460 | 0.499 |" in rows
    assert "| synthetic | 20,961 | 51,377 | 1.000 | 0.501 |" in rows


def test_scores_stand_beside_baselines_with_their_intervals(published):
    rows = section(card_of(published), "Scores").split("\n")
    assert "| **constrained, Recall@1** | **0.837** | 0.791–0.880 | 960 |" in rows
    assert "| tfidf, Recall@1 | 0.846 | 0.803–0.887 | 960 |" in rows
    assert "| Recall@1 on the dev sample that chose the checkpoint | 0.714 | 0.661–0.759 | 213 |" in rows
    assert not [row for row in rows if "per_second" in row]


def test_speed_and_memory_have_a_table_of_their_own(published):
    rows = section(card_of(published), "Speed and memory").split("\n")
    assert "| training, tokens per second | 1,861 |" in rows
    assert "| training, peak memory | 1.73 GB |" in rows
    assert "| constrained, mentions_per_second (2 × x86_64 CPU) | 61.720 |" in rows


def test_the_models_own_results_and_no_others_are_in_model_index(published):
    values = front_matter(published)
    ((model,), (result,)) = values["model-index"], values["model-index"][0]["results"]
    assert model["name"] == "Tiny linker"
    assert result["dataset"] == {"name": "NCBI disease test", "type": "ncbi_trial"}
    constrained, free = result["metrics"]
    assert (constrained["type"], constrained["value"], constrained["args"]) == ("recall_at_1", 0.8374, {"ci95": [0.7911, 0.8797], "n": 960})
    assert free["name"] == "free/recall_at_1"
    assert (values["license"], values["base_model"], values["library_name"]) == ("apache-2.0", "HuggingFaceTB/SmolLM2-135M-Instruct", "transformers")


def test_the_hubs_own_reader_reads_the_card(published):
    from huggingface_hub import ModelCard

    data = ModelCard.load(published / "README.md").data
    assert {each.metric_value for each in data.eval_results} == {0.8374, 0.7213}


def test_every_figure_of_a_card_is_found_in_the_files_that_go_with_it(published):
    assert check_folder(published) > 40


def numerals(card):
    """Place of every numeral that counts, by a rule of its own: none in front matter, code, title, licence and citation."""
    skip = [match.span() for match in re.finditer(r"\A---\n.*?\n---\n|^```.*?^```|^# .*?$|^## Licence.*\Z|95 %|Recall@1", card, re.MULTILINE | re.DOTALL)]
    return [match for match in re.finditer(r"(?<![\w.,-])\d[\d.,]*\d|(?<![\w.,-])\d\b", card) if not any(a <= match.start() < b for a, b in skip)]


def test_a_changed_figure_is_refused_wherever_it_stands(published):
    card, evidence = card_of(published), evidence_of(published)
    found = numerals(card)
    assert len(found) > 40
    kept = [match[0] for match in found if not untraced(f"{card[: match.start()]}77{card[match.start() :]}", evidence)]
    assert kept == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("**0.837**", "**0.847**"),
        ("0.791–0.880", "0.791–0.881"),
        ("| 4,187 |", "| 4,178 |"),
        ("1.73 GB", "1.74 GB"),
        ("16 names of 8 concepts", "17 names of 8 concepts"),
        ("value: 0.8374", "value: 0.8375"),
        ("- 0.8797", "- 0.8897"),
        ("## Limits\n", "## Limits\n\nOn our own notes it reaches 91.4 %.\n"),
        ("## Limits\n", "# Right in 91.4 % of all cases\n\n## Limits\n"),
        ("## Citation\n", "## Citation\n\n### Scores\n\nOn our own notes it reaches 91.4 %.\n"),
        ("## Limits\n", "## Limits\n\n```text\nRecall 91.4\n```\n"),
        ("## Limits\n", "```\n## Limits\n\nRecall 91.4\n"),
        ("## Limits\n", "## Limits\n\nIt reaches 95 % of them.\n"),
        ("value: 0.8374", "value: '0.97'"),
    ],
)
def test_an_edited_card_is_refused_and_the_place_named(published, old, new):
    card = card_of(published)
    assert old in card
    with pytest.raises(ConfigError, match=r"README\.md:\d+: the figure '.*' .*is in no results file") as refused:
        check_figures(card.replace(old, new), evidence_of(published), "README.md")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("value: 0.8374", "value: 0.8458"),  # a baseline's
        ("value: 0.8374", "value: 1.0"),  # the repeats of a source in training
        ("- 0.7911", "- 0.6702"),  # the interval of another
        ("n: 960", "n: 213"),
    ],
)
def test_what_model_index_claims_is_one_figure_of_the_models_own(published, old, new):
    card = card_of(published)
    assert old in card
    (published / "README.md").write_text(card.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"README\.md:1: the figure .* in model-index is none of the model's own"):
        check_folder(published)


@pytest.mark.parametrize(
    "index", ["[1]", "{a: 1}", "[{results: [{metrics: [1]}]}]", "[{results: 5}]", "[{results: [{metrics: [{value: 1, args: {ci95: 3}}]}]}]"]
)
def test_a_damaged_model_index_is_one_line(published, index):
    (published / "README.md").write_text(f"---\nmodel-index: {index}\n---\n", encoding="utf-8")
    with pytest.raises(FormatError, match="model-index"):
        check_folder(published)


def test_what_is_no_recall_is_not_called_one(trained, tmp_path):
    path = tmp_path / "more.yaml"
    metrics = "precision: {value: 0.91}, constrained/ece: {value: 0.12}, constrained/all: {value: 0.83}, recall_at_5/all: {value: 0.9}"
    costs = "tokens_per_s: {value: 123.4}, peak_mib: {value: 55.5}, write_cpu_s: {value: 4.5}, wall_seconds_per_step: {value: 1.5}"
    path.write_text(f"metrics: {{{metrics}, dictionary_then_exact/all: {{value: 0.72}}, {costs}}}")
    export_model_repo(trained("open"), tmp_path / "out", "lab/x", title="x", results=[str(path)])
    (model,) = front_matter(tmp_path / "out")["model-index"]
    kinds = {metric["name"]: metric["type"] for metric in model["results"][0]["metrics"]}
    assert kinds == {"precision": "precision", "constrained/ece": "ece", "constrained/all": "recall_at_1", "recall_at_5/all": "recall_at_5"}
    for cost in ("tokens_per_s | 123", "peak_mib | 55.5", "write_cpu_s | 4.5", "wall_seconds_per_step | 1.5"):
        assert f"| {cost}" in section(card_of(tmp_path / "out"), "Speed and memory")


def test_prose_without_figures_and_figures_of_the_files_may_be_added(published):
    more = "\n\nUse it with care.  It was right for 83.7 % of them (0.84), in 903 s (0.837±0.272), on 2 cores; see `results/ncbi_trial.yaml`.\n"
    assert untraced(card_of(published).replace("## Limits\n", f"## Limits{more}"), evidence_of(published)) == []


@given(st.floats(0.001, 0.999), st.integers(1, 4))
def test_a_value_is_found_as_printed_to_any_place_and_not_two_steps_beside(value, places):
    printed = f"{value:.{places}f}"
    assert untraced(f"It is {printed}.\n", [{"value": value}]) == []
    beside = f"{float(printed) + 2 * 10**-places:.{places}f}"
    assert [each.text for each in untraced(f"It is {beside}.\n", [{"value": value}])] == [beside]


@given(st.integers(0, 10**12))
def test_whole_numbers_are_found_with_and_without_separators(value):
    assert untraced(f"| {value:,} | {value} |\n", [[value]]) == []
    assert len(untraced(f"| {value + 1:,} |\n", [[value]])) == 1


def test_no_fraction_is_rounded_to_none_or_all():
    for text in ("0", "1", "0 %", "1 %"):
        assert untraced(f"It is {text}.\n", [{"value": 0.4}, {"value": 0.837}])


@pytest.fixture
def unmeasured(trained, tmp_path):
    """A published folder that has shares, counts and versions in its files, and no result at all."""
    model = tmp_path / "unmeasured"
    shutil.copytree(trained("open"), model)
    run = json.loads((model / "training.json").read_text())
    run["result"]["dev"] = None
    (model / "training.json").write_text(json.dumps(run))
    export_model_repo(model, tmp_path / "out", "lab/tiny", title="Tiny")
    return tmp_path / "out"


@pytest.mark.parametrize(
    "claim",
    [
        "The model reaches a Recall@1 of 0.5 and 1.00 on 16 patients.",
        "The model reaches a Recall@1 on our own notes\nof 0.5.",
        "The model reaches Recall@1: 1.00.",
        "| system | Recall@1 |\n|---|---|\n| ours | 0.5 |",
        "Recall@1 on our own notes:\n\n| system | ours |\n|---|---|\n| | 0.5 |",
        "Recall on our own notes:\n\n- seen names: 0.5\n- other names: 0.499",
        "#### Results on our own notes\n\n| ours | 0.5 |",
        "| F1 | 0.5 |",
        "An accuracy of 50 %.",
        "La précision est de 0.5.",
        "Le rappel est de 0.5.",
        "La exactitud es de 0.5.",
        "It finds 0.5 [0.499, 0.501] of them.",
        "It finds 0.5 of them (95 % CI 0.499–0.501).",
        "0.5 of the answers are correct.",
        "On dev its Recall@1 is 0.5.",
    ],
)
def test_a_score_stands_on_a_result_and_on_no_share_or_count_that_happens_to_be_equal(unmeasured, claim):
    card = card_of(unmeasured)
    assert "Nothing was measured." in section(card, "Scores")
    for heading in ("Scores", "Limits"):
        written = card.replace(f"## {heading}\n", f"## {heading}\n\n{claim}\n", 1)
        with pytest.raises(ConfigError, match=r"README\.md:\d+: the figure '.*' .*is in no results file; .*it stands beside a score"):
            check_figures(written, evidence_of(unmeasured), "README.md")


def test_beside_no_score_the_record_of_the_training_counts(unmeasured):
    more = "\n\nHalf of the loss tokens (0.5) are synthetic, each seen 1.00 times, on 2 cores; 16 names, torch 2.13.0.\n"
    assert untraced(card_of(unmeasured).replace("## Limits\n", f"## Limits{more}"), evidence_of(unmeasured)) == []


@pytest.mark.parametrize(
    ("said", "lost"),
    [
        ("Recall@1 is 0.837 (0.791–0.880, n = 960), 83.7 % of the mentions; TF-IDF has 0.846.", []),
        ("HuggingFaceTB/SmolLM2-135M-Instruct has a Recall@1 of 0.837 (ncbi_trial.yaml, 2026-11-21).", []),
        ("Recall@1 on the dev sample was 0.714 (n = 213).", []),
        ("Recall@1 on our notes is 0.714 (n = 213).", ["0.714", "213"]),
        ("Recall@1 is 0.837 at 61.7 mentions a second.", []),
        ("Recall@1 is 61.7.", ["61.7"]),
        ("Recall@1 is 0.837 after 5,813 steps.", ["5,813"]),
    ],
)
def test_what_counts_beside_a_score_depends_on_what_else_the_line_speaks_of(published, said, lost):
    card = card_of(published).replace("## Limits\n", f"## Limits\n\n{said}\n")
    assert [each.text for each in untraced(card, evidence_of(published))] == lost


def test_a_terminology_that_is_named_for_a_measure_makes_no_score_of_its_counts():
    manifest = {"format": "syncabel.lexicon/1", "source": "Precision Medicine Terms", "release": "7", "counts": {"entries": 16}}
    assert untraced("Held to the 16 names of Precision Medicine Terms (7).\n", [manifest]) == []
    assert untraced("A precision of 16 on Precision Medicine Terms (7).\n", [manifest])


def test_no_card_of_the_projects_own_results_is_refused(trained):
    """The check knows words, not meanings: cards as they are rendered, of nearly all results that there are, must pass."""
    root, rendered = Path(__file__).resolve().parents[2], 0
    lexicon = load_lexicon(trained("open"), json.loads((trained("open") / "config.json").read_text())["syncabel"])
    known = evidence_of(trained("open"))
    run = next(each for each in known if "versions" in each)
    for path in sorted((root / "docs" / "results").glob("*.yaml")):
        try:
            file = read_results(f"{path}:*")
        except ConfigError:  # nothing was measured, or baselines alone
            continue
        if len(file.metrics) > 300:  # long, and no other kind of figures
            continue
        card = model_card(Facts("Tiny", "", licence="other", run=run), lexicon, "lab/x", results=[file])
        assert untraced(card, [*known, file]) == [], path.name
        rendered += 1
    assert rendered > 15


def calibration_of(folder):
    """A calibration with figures of its own, of the model in a folder."""
    lexicon = load_lexicon(folder, json.loads((folder / "config.json").read_text())["syncabel"])
    before = Measured(mean_confidence=0.9123, accuracy=0.7345, ece=0.1778, ece_mass=0.1792, brier=0.2054, log_loss=0.8471, aurc=0.1211, auroc=0.7032)
    after = Measured(mean_confidence=0.7361, accuracy=0.7345, ece=0.0314, ece_mass=0.0337, brier=0.1533, log_loss=0.4688, aurc=0.0975, auroc=0.7641)
    return Calibration(
        own_digests(folder, lexicon, None),
        HeldFor.of(DecodingSettings(num_beams=3)),
        Calibrator("logistic", ("log_mass",), (0.0,), (1.0,), (1.0,), 0.0),
        Fit(47, 311, 309, "calibrate", "set", 5, before, after, before),
        (PrecisionPoint(0.5555, 0.8888, 0.7777, 0.6666),),
        SetCurve(47, (SetPoint(-1.0, 0.2222, 1.5),)),
    )


@pytest.fixture
def calibrated(trained, tmp_path):
    model = tmp_path / "calibrated"
    shutil.copytree(trained("open"), model)
    calibration_of(model).save(model / "calibration.json")
    return model


def test_a_calibrated_models_card_says_so_with_the_calibrations_own_figures(calibrated, published, tmp_path):
    assert "Scores are not calibrated." in section(card_of(published), "Limits")
    facts = export_model_repo(calibrated, tmp_path / "new", "lab/tiny", title="Tiny")
    assert "calibration.json" in facts.files
    card = card_of(tmp_path / "new")
    assert "not calibrated" not in card
    assert "calibrated (`calibration.json`; figures under Scores)" in section(card, "Limits")
    assert "| ECE, bins of equal width | 0.178 | 0.031 |" in section(card, "Scores")
    assert "| Brier score | 0.205 | 0.153 |" in section(card, "Scores")
    assert "311 mentions, 309 of them answered, in 47 dev documents (protocol set)" in section(card, "Scores")
    for text in ("311 mentions", "| 0.031 |"):
        changed = card.replace(text, text.replace("31", "32"))
        assert changed != card
        assert untraced(changed, evidence_of(tmp_path / "new"))
    # Neither a curve of the calibration nor its figures are scores of anything else.
    for claim in ("Recall@1 is 0.889.", "Recall@1 is 0.031.", "Confidences above 0.889."):
        assert untraced(f"{claim}\n", evidence_of(tmp_path / "new")), claim


def test_a_calibration_that_stays_at_home_is_on_no_card(calibrated, tmp_path):
    (calibrated / "calibration_seen.npy").write_bytes(b"")
    export_model_repo(calibrated, tmp_path / "new", "lab/tiny", title="Tiny")
    assert "Scores are not calibrated." in card_of(tmp_path / "new")
    assert "calibration.json" not in card_of(tmp_path / "new")


def test_a_calibration_of_other_weights_is_never_published(calibrated, tmp_path):
    value = json.loads((calibrated / "calibration.json").read_text())
    value["digests"]["weights"] = "0" * 64
    (calibrated / "calibration.json").write_text(json.dumps(value))
    with pytest.raises(DigestMismatchError, match="syncabel calibrate") as refused:
        export_model_repo(calibrated, tmp_path / "new", "lab/tiny", title="Tiny")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "new").exists()


def test_a_card_without_a_record_says_so(trained, tmp_path):
    bare = tmp_path / "bare"
    shutil.copytree(trained("open"), bare)
    (bare / "training.json").unlink()
    facts = export_model_repo(bare, tmp_path / "out", "lab/tiny", title="Tiny")
    card = card_of(tmp_path / "out")
    assert not facts.recorded
    assert "Nothing was recorded of the training." in card
    assert section(card, "Scores").strip() == "Nothing was measured."
    assert "model-index" not in front_matter(tmp_path / "out")


def test_a_damaged_record_is_refused_in_one_line(trained, tmp_path):
    bad = tmp_path / "bad"
    shutil.copytree(trained("open"), bad)
    for content in ("{", "[]", json.dumps({"steps": 5})):
        (bad / "training.json").write_text(content)
        with pytest.raises(FormatError, match=r"training\.json: not"):
            export_model_repo(bad, tmp_path / "out", "lab/tiny", title="Tiny")
        assert not (tmp_path / "out").exists()


def test_a_folder_without_a_card_is_refused(tmp_path):
    with pytest.raises(IncompleteFolderError, match="README"):
        check_folder(tmp_path)


def test_a_base_on_this_machine_is_named_without_its_place(trained, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(trained("open"), model)
    run = json.loads((model / "training.json").read_text())
    run["model"]["base"] = "/home/someone/models/my-base"
    (model / "training.json").write_text(json.dumps(run))
    export_model_repo(model, tmp_path / "out", "lab/tiny", title="Tiny")
    assert "Base model: my-base." in card_of(tmp_path / "out")
    assert "/home/someone" not in card_of(tmp_path / "out")


EVIDENCE = """\
metrics:
  ncbi/tfidf/all: {value: 0.797, ci95: [0.75, 0.84], n: 960}
  ncbi/human/constrained/all: {value: 0.7, n: 960}
  ncbi/human+names/constrained/all: {value: 0.81, n: 960}
  ncbi/human+names/free/all: {value: 0.71, n: 960}
"""


def test_of_a_file_with_many_systems_the_models_own_and_the_baselines_are_taken(tmp_path):
    path = tmp_path / "evidence.yaml"
    path.write_text(EVIDENCE, encoding="utf-8")
    taken = {"/".join(metric.path): metric.own for metric in read_results(f"{path}:human+names/constrained").metrics}
    assert taken == {"ncbi/tfidf/all": False, "ncbi/human+names/constrained/all": True}
    everything = {metric.path[1]: metric.own for metric in read_results(f"{path}:*").metrics}
    assert everything == {"tfidf": False, "human": True, "human+names": True}
    with pytest.raises(ConfigError, match=r"no figures of a model under 'human\+name'; .*ncbi/human"):
        read_results(f"{path}:human+name")


def test_a_file_with_many_systems_is_not_taken_for_one_model(tmp_path):
    """Nothing but its owner says which of them the model is; two ways of decoding one model are one."""
    path = tmp_path / "evidence.yaml"
    path.write_text(EVIDENCE, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"2 systems are in it \(ncbi/human, ncbi/human\+names\); say which is the model: evidence.yaml:ncbi/human, or"):
        read_results(str(path))
    path.write_text(EVIDENCE.replace("ncbi/human+names/free", "ncbi/human/free").replace("  ncbi/human+names/constrained/all: {value: 0.81, n: 960}\n", ""))
    assert [metric.path for metric in read_results(str(path)).metrics if metric.own] == [
        ("ncbi", "human", "constrained", "all"),
        ("ncbi", "human", "free", "all"),
    ]


def test_the_file_that_travels_says_which_system_the_model_is(trained, tmp_path):
    path = tmp_path / "evidence.yaml"
    path.write_text(EVIDENCE, encoding="utf-8")
    export_model_repo(trained("open"), tmp_path / "out", "lab/x", title="x", results=[f"{path}:human+names"])
    taken = [metric.path for metric in read_results(str(tmp_path / "out" / "results" / "evidence.yaml")).metrics if metric.own]
    assert taken == [("ncbi", "human+names", "constrained", "all"), ("ncbi", "human+names", "free", "all")]
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    (tmp_path / "out" / "README.md").write_text(card.replace("value: 0.81", "value: 0.7"), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"the figure 0\.7 in model-index is none of the model's own"):
        check_folder(tmp_path / "out")


def test_results_of_reports_are_read_with_their_strata(tmp_path):
    (tmp_path / "a.yaml").write_text("systems: {constrained: {all: {n: 960, recall_at_1: 0.8, ci95: [0.7, 0.9]}}, exact: {all: {n: 960, recall_at_1: 0.5}}}")
    own, baseline = read_results(str(tmp_path / "a.yaml")).metrics
    assert (own.path, own.value, own.ci95, own.n, own.own) == (("constrained", "all", "recall_at_1"), 0.8, (0.7, 0.9), 960, True)
    assert not baseline.own


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("metrics: {a: {value: high}}", "a is no number"),
        ("metrics: {a: {value: 1, ci95: [1]}}", "ci95 of a"),
        ("metrics: {}", "no figures"),
        ("- 1", "key: value"),
        ("a: [", "no YAML"),
        ("name: ../x\nmetrics: {a: {value: 1}}", "name"),
    ],
)
def test_a_results_file_that_is_none_is_refused_in_one_line(tmp_path, content, word):
    (tmp_path / "a.yaml").write_text(content)
    with pytest.raises((ConfigError, FormatError), match=word) as refused:
        read_results(str(tmp_path / "a.yaml"))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("said", ["kb: {source: x, digest: 0cc0ffee}", "digests: {lexicon: 0cc0ffee}", "digests: {kb: 0cc0ffee}"])
def test_figures_measured_over_other_names_are_refused(trained, tmp_path, said):
    (tmp_path / "a.yaml").write_text(f"metrics: {{a: {{value: 0.5}}}}\n{said}")
    with pytest.raises(DigestMismatchError, match="other names"):
        export_model_repo(trained("open"), tmp_path / "out", "lab/x", title="x", results=[str(tmp_path / "a.yaml")])


def test_two_results_files_of_one_name_are_refused(trained, results_file, tmp_path):
    with pytest.raises(ConfigError, match="'ncbi_trial'"):
        export_model_repo(trained("open"), tmp_path / "out", "lab/x", title="x", results=[str(results_file)] * 2)


def test_what_a_folder_without_a_training_says_of_itself_goes_out_with_it(tiny_tokenizer, tiny_llama, small_lexicon, tmp_path):
    from syncabel.export import export_model
    from syncabel.prompt import PromptFormat

    small_lexicon.save(tmp_path / "lexicon")
    facts = Facts("x", "", licence="llama3", training={"converted from": "the published folder big-model-7", "names": "31,415"}, results={"Recall@1": "0.271"})
    export_model(tiny_llama(len(tiny_tokenizer)), tiny_tokenizer, tmp_path / "lexicon", tmp_path / "model", PromptFormat(), facts)
    export_model_repo(tmp_path / "model", tmp_path / "out", "lab/x", title="x")
    card = card_of(tmp_path / "out")
    assert "| converted from | the published folder big-model-7 |\n| names | 31,415 |" in card
    assert "| Recall@1 | 0.271 |" in card
    assert "Base model: not recorded." in card
    assert untraced(card.replace("31,415", "31,416"), evidence_of(tmp_path / "out"))
