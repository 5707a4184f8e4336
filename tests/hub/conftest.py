"""The hub's stand-in, with this process set up as a user's who is logged in."""

import huggingface_hub
import huggingface_hub.utils
import pytest
from hub_stand_in import WRITER, running


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """The stand-in, with this process set up as a user's who is logged in; Xet off, for its servers have no stand-in."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setenv("HF_TOKEN", WRITER)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    huggingface_hub.utils.disable_progress_bars()
    huggingface_hub.close_session()  # one made before would still know another environment
    with running() as server:
        # What HF_ENDPOINT sets when the package is imported; some of its requests go there whatever `endpoint` says.
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.url)
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}")
        yield server
    huggingface_hub.close_session()


RUN = {
    "format": "syncabel.run/1",
    "config": {"learning_rate": 3.0e-5, "mix": "1:1"},
    "digests": {"config": "ab" * 32, "data": "cd" * 32},
    "sources": [
        {"name": "human", "examples": 4187, "loss_tokens": 51234, "repeats": 2.46, "share": 0.4993},
        {"name": "synthetic", "examples": 20961, "loss_tokens": 51377, "repeats": 1.0, "share": 0.5007},
    ],
    "model": {"base": "HuggingFaceTB/SmolLM2-135M-Instruct", "parameters": 134515008, "trained_parameters": 134515008},
    "schedule": {"steps": 5813, "items_per_step": 16, "learning_rate": 3.0e-5, "scheduler": "linear", "packing": True},
    "versions": {"torch": "2.13.0", "transformers": "5.23.0"},
    "git": None,
    "seeds": {"train": 42, "dev": 0},
    "hardware": {"processes": 1, "device": "cpu", "cpus": 2},
    "result": {
        "steps": 5813,
        "chosen_step": 5600,
        "loss": 0.27182,
        "seconds": 903.4,
        "tokens_per_second": 1861.2,
        "peak_memory_bytes": 1_731_000_000,
        "dev": {"n": 213, "recall_at_1": 0.7136, "ci95": [0.6612, 0.7593]},
    },
}
RESULTS = """\
name: ncbi_trial
date: 2026-11-21
command: syncabel evaluate test.jsonl predictions.jsonl --kb medic
data: {train: NCBI disease train, test: NCBI disease test}
hardware: 2 × x86_64 CPU
seeds: [42]
n: 960
metrics:
  constrained/recall_at_1: {value: 0.8374, ci95: [0.7911, 0.8797], n: 960}
  free/recall_at_1: {value: 0.7213, ci95: [0.6702, 0.7741], n: 960}
  constrained/mentions_per_second: {value: 61.72}
baselines:
  tfidf/recall_at_1: {value: 0.8458, ci95: [0.8034, 0.8871], n: 960}
notes: 29 mentions have a name that training showed.
"""


@pytest.fixture(scope="session")
def closed_kb(small_kb):
    """The eight concepts of `small_kb` under a licence that does not let names pass on."""
    from dataclasses import replace

    from syncabel.kb import KnowledgeBase

    about = replace(small_kb.about, source="Closed Terms", release="7", licence="unknown", redistributable=False, filters=("languages=en",))
    return KnowledgeBase.of_tables(small_kb.tables, about)


@pytest.fixture(scope="session")
def trained(tiny_tokenizer, wide_llama_config, small_kb, closed_kb, tmp_path_factory):
    """`trained("open")`, `trained("closed")`: an exported model, with the record of a training, whose names may or may not be passed on."""
    import torch
    from transformers import LlamaForCausalLM

    from syncabel.export import export_model
    from syncabel.export.card import Facts
    from syncabel.lexicon.build import build_lexicon
    from syncabel.prompt import PromptFormat

    made = {}

    def make(kind):
        if kind not in made:
            base = tmp_path_factory.mktemp(kind)
            build_lexicon({"open": small_kb, "closed": closed_kb}[kind], tiny_tokenizer, nil="no such disease" if kind == "closed" else None).save(
                base / "lexicon"
            )
            torch.manual_seed(0)
            model = LlamaForCausalLM(wide_llama_config(256, initializer_range=0.2)).eval()
            facts = Facts("tiny", RUN["model"]["base"], licence="apache-2.0", types={"SpecificDisease": ("Disease",)}, run=RUN)
            made[kind] = export_model(model, tiny_tokenizer, base / "lexicon", base / "model", PromptFormat(), facts)
        return made[kind]

    return make


@pytest.fixture
def results_file(tmp_path):
    path = tmp_path / "ncbi_trial.yaml"
    path.write_text(RESULTS, encoding="utf-8")
    return path
