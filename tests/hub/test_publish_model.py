"""A model published to a stand-in of the hub and taken from there, with its lexicon and without."""

import json
import shlex
import shutil

import numpy as np
import pytest
from hub_stand_in import READER, WRITER, command
from typer.testing import CliRunner

from syncabel.cli.app import app
from syncabel.config_files import read_config, shipped_configs
from syncabel.decoding import DecodingSettings
from syncabel.errors import ConfigError, DigestMismatchError, IncompleteFolderError, MissingLexiconError
from syncabel.export import export_model
from syncabel.export.card import Facts
from syncabel.fetch import fetched
from syncabel.hub import push_folder
from syncabel.hub.model import REPLACES, export_model_repo
from syncabel.kb import KnowledgeBase
from syncabel.linker import Linker
from syncabel.modeling_syncabel import SyncabelForCausalLM
from syncabel.prompt import PromptFormat
from syncabel.train.arguments import TrainArguments
from syncabel.types import Document, Mention, Query, Span

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
REPO = "lab/tiny-linker"
SENTENCE = "The patient has [multiple sclerosis]{Disease} since 1997."
QUERY = Document("d", SENTENCE.replace("[", "").replace("]{Disease}", ""), (Mention("m", (Span(16, 34),), "multiple sclerosis", "Disease"),))


def ranked(linker, k=4):
    return [(p.code, p.name) for p in linker.rank([Query(QUERY, QUERY.mentions[0], ("Disease",))], k)[0]]


def sampled(model, k=4, **options):
    return [(a["pred_concept_code"], a["pred_concept_name"]) for a in model.sample([SENTENCE], num_beams=k, **options)[0]]


def push(hub, model, out, **options):
    facts = export_model_repo(model, out, REPO, title="Tiny", **options)
    return facts, push_folder(out, REPO, "model", message="tiny", replaces=REPLACES, endpoint=hub.url)


def files_of(hub):
    return hub.repos["model", REPO].files


def invoked(*arguments):
    """`syncabel publish` in this process; what goes wrong is raised."""
    done = CliRunner().invoke(app, ["publish", *map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0
    return done


@pytest.mark.slow
def test_the_command_publishes_and_the_second_time_has_nothing_to_do(hub, trained, results_file, tmp_path):
    arguments = (trained("open"), "--repo", REPO, "--results", results_file, "--json")
    first = command(*arguments, "-o", tmp_path / "kept", hub=hub, home=tmp_path / "home")
    assert first.returncode == 0, first.stderr
    said = json.loads(first.stdout)
    assert (said["lexicon"], said["changed"], said["left_out"]) == (True, True, [])
    assert said["figures"] > 40
    sent = {path: data for path, data in files_of(hub).items() if path != ".gitattributes"}
    kept = {path.relative_to(tmp_path / "kept").as_posix(): path.read_bytes() for path in (tmp_path / "kept").rglob("*") if path.is_file()}
    assert sent == kept
    assert sent.keys() == said["files"].keys()
    assert {"config.json", "model.safetensors", "tokenizer.json", "modeling_syncabel.py", "lexicon.json", "training.json", "README.md"} <= sent.keys()
    assert {"lexicon/lexicon.json", "results/ncbi_trial.yaml"} <= sent.keys()
    second = invoked(*arguments[:-1])
    assert "nothing was committed" in second.output
    assert WRITER not in first.stderr + second.output


def test_a_dry_run_sends_nothing_and_the_kept_folder_can_be_checked(trained, tmp_path):
    assert "nothing was sent" in invoked(trained("open"), "--repo", REPO, "--dry-run", "-o", tmp_path / "kept").output
    assert "each of them in the folder's files" in invoked("--check", tmp_path / "kept").output
    card = tmp_path / "kept" / "README.md"
    card.write_text(card.read_text(encoding="utf-8").replace("| steps | 5,813 |", "| steps | 5,831 |"), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"'5,831' is in no results file"):
        invoked("--check", tmp_path / "kept")


def test_a_score_that_was_written_on_the_card_of_an_unmeasured_model_is_refused_by_the_command(trained, tmp_path):
    invoked(trained("open"), "--repo", REPO, "--dry-run", "-o", tmp_path / "kept")
    card = tmp_path / "kept" / "README.md"
    claim = "The model reaches a Recall@1 of 0.5 and 1.00 on 24 patients."
    card.write_text(card.read_text(encoding="utf-8").replace("## Speed and memory", f"{claim}\n\n## Speed and memory"), encoding="utf-8")
    assert r"the figure '0.5' (and 2 more) is in no results file" in message(lambda: invoked("--check", tmp_path / "kept"))


@pytest.fixture
def unlicensed(tiny_tokenizer, tiny_llama, small_lexicon, tmp_path):
    """A model of whose weights' licence nobody said anything."""
    small_lexicon.save(tmp_path / "lexicon")
    return export_model(tiny_llama(len(tiny_tokenizer)), tiny_tokenizer, tmp_path / "lexicon", tmp_path / "model", PromptFormat(), Facts("x", "random"))


@pytest.mark.parametrize("given", [(), ("--license", "unknown"), ("--license", " ")])
def test_a_model_under_an_unknown_licence_is_refused_in_a_line_that_says_how_to_give_it(unlicensed, tmp_path, given):
    assert "license: unknown" in (unlicensed / "README.md").read_text(encoding="utf-8")
    assert "--license llama3" in message(lambda: invoked(unlicensed, "--repo", REPO, "--dry-run", "-o", tmp_path / "out", *given))
    assert not (tmp_path / "out").exists()


def test_the_licence_that_is_given_is_on_the_card(unlicensed, tmp_path):
    invoked(unlicensed, "--repo", REPO, "--dry-run", "-o", tmp_path / "out", "--license", "llama3")
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "license: llama3\n" in card
    assert "Weights: llama3;" in card


def test_no_licence_is_assumed_and_every_shipped_configuration_says_its_bases():
    of_base = {"meta-llama/": "llama3", "google/gemma": "gemma", "Qwen/Qwen3": "apache-2.0", "HuggingFaceTB/SmolLM2": "apache-2.0", "": "apache-2.0"}
    assert TrainArguments.licence == Facts("x", "random").licence == "unknown"
    for name, path in shipped_configs("sft").items():
        config = read_config(path)
        base = config.get("model_name_or_path", "")
        assert config["licence"] == next(licence for start, licence in of_base.items() if base.startswith(start)), name


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ((), "one of a MODEL folder"),
        (("m", "--dataset", "d", "--repo", REPO), "one of a MODEL folder"),
        (("m",), "--repo ORG/NAME"),
        (("m", "--repo", REPO, "--kb", "doid"), "--kb is for --dataset"),
        (("--dataset", "d", "--repo", REPO, "--results", "f"), "--results is for a model"),
        (("nowhere", "--repo", REPO), "nowhere"),
    ],
)
def test_what_does_not_go_together_is_refused(arguments, word):
    with pytest.raises((ConfigError, IncompleteFolderError), match=word):
        invoked(*arguments)


def test_what_is_not_the_models_own_stays_at_home(trained, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(trained("open"), model)
    (model / "rejected.jsonl").write_text('{"text": "CANARY"}')
    (model / "optimizer.pt").write_bytes(b"CANARY")
    (model / "checkpoint-5").mkdir()
    (model / "lexicon" / "notes.txt").write_text("CANARY")
    (model / "LICENSE.txt").write_text("of the base")
    facts = export_model_repo(model, tmp_path / "out", REPO, title="Tiny")
    assert facts.left_out == ("checkpoint-5", "optimizer.pt", "rejected.jsonl")
    assert "LICENSE.txt" in facts.files
    assert not any(b"CANARY" in path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())


def test_neither_folders_of_this_machine_nor_tokens_go_out(trained, results_file, tmp_path):
    model, token = tmp_path / "model", "hf_" + "Ab1" * 11
    shutil.copytree(trained("open"), model)
    run = json.loads((model / "training.json").read_text())
    run["config"] |= {"hub_token": token, "argv": ["--hub_token", token], "model_init_kwargs": {"cache_dir": "/home/alice/clinic/cache"}}
    (model / "training.json").write_text(json.dumps(run))
    text = results_file.read_text(encoding="utf-8").replace("command: syncabel", f"command: HF_TOKEN={token} /opt/alice/bin/syncabel")
    results_file.write_text(text + "config: {data: /srv/alice/notes, page: 'https://hub.example/alice-lab/x'}\n", encoding="utf-8")
    export_model_repo(model, tmp_path / "out", REPO, title="Tiny", results=[str(results_file)])
    written = "".join(path.read_text(encoding="utf-8") for path in (tmp_path / "out").rglob("*") if path.suffix in (".json", ".yaml", ".md"))
    assert token not in written
    assert not [place for place in ("/home/alice", "/opt/alice", "/srv/alice") if place in written]
    assert "https://hub.example/alice-lab/x" in written
    assert json.loads((tmp_path / "out" / "training.json").read_text())["config"]["model_init_kwargs"] == {"cache_dir": "cache"}
    assert "syncabel evaluate" in (tmp_path / "out" / "results" / "ncbi_trial.yaml").read_text(encoding="utf-8")


def test_a_statement_with_figures_is_kept_beside_the_card(trained, tmp_path):
    export_model_repo(trained("closed"), tmp_path / "out", REPO, title="Tiny", statement="licence no. 4711\nof 2023")
    assert json.loads((tmp_path / "out" / "lexicon.json").read_text())["statement"] == "licence no. 4711 of 2023"
    assert "licence no. 4711 of 2023" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")


def test_a_model_trained_without_a_cache_generates_with_one(tiny_tokenizer, tiny_llama, small_lexicon, tmp_path):
    small_lexicon.save(tmp_path / "lexicon")
    model = tiny_llama(len(tiny_tokenizer))
    model.config.use_cache = False  # as training leaves it
    export_model(model, tiny_tokenizer, tmp_path / "lexicon", tmp_path / "model", PromptFormat(), Facts("x", "random"))
    assert json.loads((tmp_path / "model" / "config.json").read_text())["use_cache"] is True


def test_from_the_hub_the_linker_answers_as_from_the_folder(hub, trained, tmp_path):
    _, pushed = push(hub, trained("open"), tmp_path / "out")
    wanted = ranked(Linker.from_pretrained(trained("open"), device="cpu"))
    assert ranked(Linker.from_pretrained(REPO, device="cpu", verify=True)) == wanted
    assert ranked(Linker.from_pretrained(REPO, device="cpu", revision=pushed.commit)) == wanted
    assert not [call for call in hub.calls if call.startswith("GET") and call.endswith(".py")]


def test_a_revision_is_the_one_that_is_loaded(hub, trained, tmp_path):
    _, first = push(hub, trained("open"), tmp_path / "first")
    push(hub, trained("closed"), tmp_path / "second", statement="mine")
    assert Linker.from_pretrained(REPO, device="cpu", revision=first.commit).lexicon.header["source"] == "test"
    assert Linker.from_pretrained(REPO, device="cpu").lexicon.header["source"] == "Closed Terms"


def test_a_terminology_under_licence_stays_at_home_and_no_name_goes_out(hub, trained, tmp_path):
    facts, _ = push(hub, trained("closed"), tmp_path / "out")
    assert not facts.lexicon
    files = files_of(hub)
    assert not [path for path in files if path.startswith("lexicon/")]
    for name in (b"disseminated sclerosis", b"mitral stenosis", b"acute coryza", b"A:1", b"A:100"):
        assert not [path for path, data in files.items() if name in data]
    manifest = json.loads(files["lexicon.json"])
    assert (manifest["source"], manifest["release"], manifest["filters"], manifest["nil"]) == ("Closed Terms", "7", ["languages=en"], "no such disease")
    assert manifest["counts"]["codes"] == 9
    assert {len(digest) for digest in manifest["digests"].values()} == {64}
    card = files["README.md"].decode()
    assert "Without its lexicon" in card
    assert "redistribution NOT allowed" in card
    assert manifest["build"].replace(" . ", f" {REPO} ") in card


def test_a_lexicon_that_was_public_is_deleted_from_the_repository_when_it_may_be_no_more(hub, trained, tmp_path):
    push(hub, trained("closed"), tmp_path / "stated", statement="licence 7 of our centre")
    assert "lexicon/lexicon.json" in files_of(hub)
    assert "licence 7 of our centre" in files_of(hub)["README.md"].decode()
    _, pushed = push(hub, trained("closed"), tmp_path / "unstated")
    assert [path for path in pushed.deleted if path.startswith("lexicon/trie/")]
    assert not [path for path in files_of(hub) if path.startswith("lexicon/")]


@pytest.fixture
def left_out(hub, trained, tmp_path):
    """A repository of a model without its lexicon, on the stand-in."""
    push(hub, trained("closed"), tmp_path / "out")
    return REPO


def build(error, kb, tmp_path, monkeypatch):
    """Run the command that an error names, with the knowledge base in the place of KB."""
    _, line, _ = str(error).split("`", 2)
    monkeypatch.chdir(tmp_path)
    arguments = [str(kb) if word == "KB" else word for word in shlex.split(line)]
    assert arguments[0] == "syncabel"
    done = CliRunner().invoke(app, arguments[1:], catch_exceptions=False)
    assert done.exit_code == 0
    return tmp_path / "lexicon"


def test_without_its_lexicon_the_linker_says_how_to_build_it_and_takes_what_was_built(left_out, closed_kb, trained, tmp_path, monkeypatch):
    with pytest.raises(MissingLexiconError, match="with Closed Terms 7 as a knowledge base KB") as missing:
        Linker.from_pretrained(left_out, device="cpu")
    assert "\n" not in str(missing.value)
    free = Linker.from_pretrained(left_out, DecodingSettings(False, 2, max_new_tokens=6), "cpu")
    assert [code for code, _ in ranked(free, 2)] == ["NO_CODE"] * 2
    closed_kb.save(tmp_path / "kb")
    lexicon = build(missing.value, tmp_path / "kb", tmp_path, monkeypatch)
    wanted = ranked(Linker.from_pretrained(trained("closed"), device="cpu"))
    assert ranked(Linker.from_pretrained(left_out, device="cpu", lexicon="lexicon")) == wanted
    (tmp_path / "marked.txt").write_text(SENTENCE + "\n", encoding="utf-8")
    done = CliRunner().invoke(app, ["link", "--model", left_out, "--lexicon", str(lexicon), "--device", "cpu", str(tmp_path / "marked.txt")])
    assert [p["code"] for p in json.loads(done.stdout)["predictions"]][:4] == [code for code, _ in wanted]


def test_a_lexicon_of_another_edition_is_refused_for_its_digest(left_out, closed_kb, tmp_path, monkeypatch):
    with pytest.raises(MissingLexiconError) as missing:
        Linker.from_pretrained(left_out, device="cpu")
    newer = KnowledgeBase.build([concept for concept in closed_kb.concepts() if concept.code != "A:3"], closed_kb.about)
    newer.save(tmp_path / "kb")
    build(missing.value, tmp_path / "kb", tmp_path, monkeypatch)
    with pytest.raises(DigestMismatchError, match="same knowledge base"):
        Linker.from_pretrained(left_out, device="cpu", lexicon="lexicon")


def test_sample_without_its_lexicon_says_how_to_build_it(left_out, closed_kb, trained, tmp_path, monkeypatch, caplog):
    folder = tmp_path / "out"
    model = SyncabelForCausalLM.from_pretrained(folder).eval()
    assert "syncabel lexicon build KB" in caplog.text  # loading says so already
    with pytest.raises(MissingLexiconError, match="use_lexicon") as missing:
        model.sample([SENTENCE])
    assert sampled(model, 1, constrained=False, max_new_tokens=6)[0][0] == "NO_CODE"
    closed_kb.save(tmp_path / "kb")
    model.use_lexicon(build(missing.value, tmp_path / "kb", tmp_path, monkeypatch))
    wanted = sampled(SyncabelForCausalLM.from_pretrained(trained("closed")).eval())
    assert sampled(model) == wanted
    # In its place in the folder it is found without being named, and nothing is said.
    shutil.copytree(tmp_path / "lexicon", folder / "lexicon")
    caplog.clear()
    assert sampled(SyncabelForCausalLM.from_pretrained(folder).eval()) == wanted
    assert not caplog.text


def test_an_altered_lexicon_is_found_where_it_is_asked_for_and_is_never_published(trained, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(trained("open"), model)
    codes = np.load(model / "lexicon" / "entry_code.npy")
    np.save(model / "lexicon" / "entry_code.npy", codes[::-1].copy())
    Linker.from_pretrained(model, device="cpu")
    with pytest.raises(DigestMismatchError, match="altered"):
        Linker.from_pretrained(model, device="cpu", verify=True)
    with pytest.raises(DigestMismatchError, match="altered"):
        export_model_repo(model, tmp_path / "out", REPO, title="Tiny")
    assert not (tmp_path / "out").exists()


def message(call, error=ConfigError):
    with pytest.raises(error) as found:
        call()
    assert "\n" not in str(found.value)
    assert WRITER not in str(found.value)
    return str(found.value)


def test_a_model_that_cannot_be_had_is_one_line(hub, trained, tmp_path, monkeypatch):
    assert "no model on" in message(lambda: Linker.from_pretrained("lab/none"))
    push(hub, trained("open"), tmp_path / "out")
    assert "no revision 'v9'" in message(lambda: Linker.from_pretrained(REPO, revision="v9"))
    assert "has no revisions" in message(lambda: Linker.from_pretrained(trained("open"), revision="main"))
    hub.faults["resolve"] = 503
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    assert REPO in message(lambda: Linker.from_pretrained(REPO))


def test_a_gated_model_is_one_line_that_says_where_to_ask(hub, trained, tmp_path, monkeypatch):
    push(hub, trained("open"), tmp_path / "out")
    hub.repos["model", REPO].gated = True
    monkeypatch.setenv("HF_TOKEN", READER)
    assert "ask for access" in message(lambda: Linker.from_pretrained(REPO))


def test_a_misspelt_folder_asks_nothing_of_the_hub(hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    for place in ("out/modell", "nowhere", tmp_path / "nowhere", "a/b/c", "../x"):
        assert "no such folder" in message(lambda place=place: fetched(place), IncompleteFolderError)
    assert hub.calls == []


def test_offline_what_was_downloaded_is_there_and_the_rest_is_one_line(hub, trained, tmp_path, monkeypatch):
    push(hub, trained("open"), tmp_path / "out")
    first = fetched(REPO)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert fetched(REPO) == first
    assert "HF_HUB_OFFLINE is set" in message(lambda: fetched("lab/other"))


def test_a_results_file_that_is_not_there_is_told_before_anything_is_sent(hub, trained, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.yaml"):
        invoked(trained("open"), "--repo", REPO, "--results", tmp_path / "none.yaml")
    assert hub.calls == []
