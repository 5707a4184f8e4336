"""vLLM itself, on the model runner that is installed, before the engine: a small model trained on half of the concepts."""

import gc
import itertools
import json
import math
import os
import random
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("vllm", reason="needs vLLM: run `make test-vllm`")

from transformers import LlamaForCausalLM
from vllm import LLM, SamplingParams
from vllm.exceptions import VLLMValidationError

from constrained.search import EPSILON, EVERYTHING, greedy_search, score_entries, trie_scope
from constrained.trie import TrieError
from constrained.vllm import FOLDER_VARIABLE
from syncabel.decoding import DecodingSettings
from syncabel.errors import ConfigError, MissingLexiconError, UnknownNameError
from syncabel.export import export_model
from syncabel.export.card import Facts
from syncabel.kb import About, KnowledgeBase
from syncabel.lexicon.build import build_lexicon
from syncabel.linker import Linker
from syncabel.prompt import PromptFormat, encode_name, encode_prompt, from_document
from syncabel.serving import PROCESSORS, CertifiedVLLM, load_vllm
from syncabel.types import Concept, Document, Mention, Name, Query, Span

ORGANS = ("breast", "skin", "renal", "lung", "ovarian", "kidney", "colon", "liver")
KINDS = ("carcinoma", "disease", "syndrome", "deficiency", "ataxia", "melanoma")
GROUPS = ("Disease", "Phenotype")
CLOSE = 1e-3  # in log-probability: two fp32 implementations of one model


def concepts() -> Iterator[Concept]:
    """48 concepts of two groups with two or three names each."""
    for number, (organ, kind) in enumerate(itertools.product(ORGANS, KINDS)):
        names = [f"{organ} {kind}", f"{kind} of the {organ}", *([f"hereditary {organ} {kind}"] if number % 3 == 0 else [])]
        yield Concept(f"C:{number:02}", tuple(Name(name, preferred=i == 0) for i, name in enumerate(names)), (GROUPS[number % 2],))


def query(concept: Concept, template: str, mention: str = "") -> Query:
    mention = mention or concept.names[1].text
    text = template.format(mention)
    start = text.index(mention)
    document = Document(concept.code, text, (Mention("1", (Span(start, start + len(mention)),), mention),))
    return Query(document, document.mentions[0], concept.groups)


def trained(config: Any, tokenizer: Any, known: list[Concept], fmt: PromptFormat) -> Any:
    """A Llama sure of the concepts it was trained on and of few others."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    rows = [(encode_prompt(prompt(each, "We found {}.", fmt), tokenizer), encode_name(each.preferred_name, tokenizer)) for each in known]
    rng = random.Random(0)
    for _ in range(120):
        batch = rng.sample(rows, 12)
        width = max(len(before) + len(after) for before, after in batch)
        ids, labels = torch.zeros(len(batch), width, dtype=torch.long), torch.full((len(batch), width), -100)
        for i, (before, after) in enumerate(batch):
            whole = torch.tensor([*before, *after])
            ids[i, : len(whole)], labels[i, len(before) : len(whole)] = whole, whole[len(before) :]
        model(input_ids=ids, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


def prompt(concept: Concept, template: str, fmt: PromptFormat) -> Any:
    asked = query(concept, template)
    return from_document(asked.document, asked.mention, asked.groups, fmt)


@pytest.fixture(scope="module")
def folder(tiny_tokenizer: Any, wide_llama_config: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    base, fmt, everything = tmp_path_factory.mktemp("served"), PromptFormat(), list(concepts())
    build_lexicon(KnowledgeBase.build(everything, About(source="test", release="1", licence="CC0-1.0")), tiny_tokenizer).save(base / "lexicon")
    model = trained(wide_llama_config(256), tiny_tokenizer, everything[:30], fmt)
    return export_model(model, tiny_tokenizer, base / "lexicon", base / "model", fmt, Facts("test", "trained here"))


@pytest.fixture(scope="module")
def linker(folder: Path) -> Linker:
    return Linker.from_pretrained(folder, DecodingSettings(search="exact"), device="cpu")


@pytest.fixture(scope="module")
def llm(folder: Path) -> Any:
    """Eight requests at once, so that sixty of them come, go and change rows."""
    return load_vllm(folder, dtype="float32", max_model_len=160, max_num_seqs=8, enforce_eager=True)


@pytest.fixture(scope="module")
def queries() -> list[Query]:
    """Mentions that say what is meant, and mentions that say half of it."""
    everything = list(concepts())
    clear = [query(each, template) for each in everything for template in ("We found {}.", "No {} was seen, and the patient had chronic arthritis.")]
    return clear + [query(each, "We found {}.", word) for each in everything[::2] for word in each.preferred_name.split()]


@pytest.fixture(scope="module")
def prompts(linker: Linker, queries: list[Query]) -> list[list[int]]:
    return [encode_prompt(linker.prompt(each), linker.tokenizer) for each in queries]


@pytest.fixture(scope="module")
def paths(linker: Linker) -> list[list[int]]:
    return [linker.lexicon.trie.path(entry).tolist() for entry in range(len(linker.lexicon))]


def brute_force(linker: Linker, prompt: list[int], paths: list[list[int]], groups: tuple[str, ...]) -> dict[str, float]:
    """The mass of every concept of the groups, every name scored by itself."""
    lexicon: Any = linker.lexicon
    flags = lexicon.flags(groups)
    masses: dict[str, float] = {}
    for entry, log_prob in enumerate(score_entries(linker.model, prompt, paths)):
        if flags is None or lexicon.trie.walk(paths[entry], flags) >= 0:
            masses[lexicon.code(entry)] = masses.get(lexicon.code(entry), 0.0) + math.exp(log_prob)
    return masses


@pytest.fixture(params=[False, True], ids=["synchronous", "asynchronous"])
def cramped(request: pytest.FixtureRequest, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """vLLM with a cache too small for its requests: it drops some of them half-way and takes them up again later."""
    monkeypatch.setenv(FOLDER_VARIABLE, str((folder / "lexicon" / "trie").resolve()))
    yield LLM(
        str(folder),
        dtype="float32",
        max_model_len=160,
        max_num_seqs=24,
        enforce_eager=True,
        block_size=32,
        num_gpu_blocks_override=9,
        enable_prefix_caching=False,
        async_scheduling=request.param,
        logits_processors=[PROCESSORS[False]],
        generation_config="vllm",
        disable_log_stats=False,
    )
    gc.collect()


# First of all: when a vLLM is over, it takes what it shares with the process's next one along.
def test_preempted_requests_go_on_where_they_were(cramped: Any, linker: Linker, prompts: list[list[int]]) -> None:
    asks: list[dict[str, list[int]]] = [{} if i % 3 == 0 else {"groups": [i % 2]} for i in range(len(prompts))]
    scopes = [trie_scope(linker.lexicon.trie, **each) for each in asks]
    found = CertifiedVLLM.over(linker, cramped)._greedy(prompts, asks, scopes)
    expected = greedy_search(linker.model, linker.lexicon.trie, prompts, scopes=scopes)
    assert [each.names[0].entries for each in found] == [each.names[0].entries for each in expected]
    assert next(metric.value for metric in cramped.get_metrics() if metric.name == "vllm:num_preemptions") > 0


@pytest.fixture
def coarse(folder: Path) -> Iterator[CertifiedVLLM]:
    """Engine and vLLM in bfloat16."""
    linker = Linker.from_pretrained(folder, DecodingSettings(search="exact"), device="cpu")
    linker.model.bfloat16()
    yield CertifiedVLLM.over(linker, load_vllm(folder, dtype="bfloat16", max_model_len=160, max_num_seqs=32, enforce_eager=True))
    gc.collect()


def test_answers_in_bfloat16_keep_to_its_epsilon(coarse: CertifiedVLLM, linker: Linker, queries: list[Query]) -> None:
    ranked, exact = coarse.rank(queries), linker.rank(queries)
    pairs = [(one[0], other[0]) for one, other in zip(ranked, exact, strict=True)]
    assert coarse.served["certified"] > 0.25 * len(queries)
    assert all(one.code == other.code for one, other in pairs if one.certified)
    assert max(abs(one.log_prob - other.log_prob) for one, other in pairs if one.name == other.name) < EPSILON["bfloat16"]


def test_greedy_decoding_is_the_engines(linker: Linker, llm: Any, queries: list[Query], prompts: list[list[int]]) -> None:
    certified = CertifiedVLLM.over(linker, llm)
    trie = linker.lexicon.trie
    asks: list[dict[str, list[int]]] = [{} if i % 3 == 0 else {"groups": [i % 2]} for i in range(len(prompts))]
    scopes = [trie_scope(trie, **each) for each in asks]
    found = certified._greedy(prompts, asks, scopes)
    expected = greedy_search(linker.model, trie, prompts, scopes=scopes)
    assert [each.names[0].entries for each in found] == [each.names[0].entries for each in expected]
    assert [each.names[0].log_prob for each in found] == pytest.approx([each.names[0].log_prob for each in expected], abs=CLOSE)
    assert [each.names[0].length for each in found] == [each.names[0].length for each in expected]


def test_log_probabilities_are_those_of_the_whole_vocabulary_before_the_mask(linker: Linker, llm: Any, prompts: list[list[int]]) -> None:
    params = CertifiedVLLM.over(linker, llm, top_logprobs=20)._params({"groups": [1]})
    (output,) = llm.generate([{"prompt_token_ids": prompts[0]}], params, use_tqdm=False)[0].outputs
    with torch.no_grad():
        logits = linker.model(input_ids=torch.tensor([[*prompts[0], *output.token_ids]])).logits[0, len(prompts[0]) - 1 : -1]
    expected = logits.log_softmax(-1)
    for row, step in zip(expected, output.logprobs, strict=True):
        assert len(step) >= 20
        assert set(row.topk(20).indices.tolist()) <= set(step)
        assert [value.logprob for value in step.values()] == pytest.approx([float(row[token]) for token in step], abs=CLOSE)


def test_certified_answers_are_the_exact_ones_and_bounds_hold(
    linker: Linker, llm: Any, queries: list[Query], prompts: list[list[int]], paths: list[list[int]]
) -> None:
    certified = CertifiedVLLM.over(linker, llm)
    answers = certified._certain([certified.prompt(each) for each in queries], queries, None)
    proved = 0
    for asked, ids, answer in zip(queries, prompts, answers, strict=True):
        if answer is None:
            continue
        masses = brute_force(linker, ids, paths, asked.groups)
        assert answer.code == max(masses, key=lambda code: masses[code])
        assert answer.certified
        assert answer.bound is not None
        assert sum(masses.values()) <= (answer.mass + answer.bound) * math.exp(CLOSE)
        proved += 1
    assert 0.25 * len(queries) < proved < len(queries)


@pytest.mark.parametrize("top_logprobs", [0, 1, 5, 20])
def test_more_log_probabilities_prove_more_and_never_too_much(
    linker: Linker, llm: Any, prompts: list[list[int]], paths: list[list[int]], top_logprobs: int
) -> None:
    trie, some = linker.lexicon.trie, prompts[::7]
    found = CertifiedVLLM.over(linker, llm, top_logprobs=top_logprobs)._greedy(some, [{}] * len(some), [EVERYTHING] * len(some))
    closer = CertifiedVLLM.over(linker, llm, top_logprobs=20)._greedy(some, [{}] * len(some), [EVERYTHING] * len(some))
    for ids, one, other in zip(some, found, closer, strict=True):
        best = one.names[0]
        rest = math.fsum(math.exp(value) for entry, value in enumerate(score_entries(linker.model, ids, paths)) if entry != best.entry)
        assert rest <= one.open_mass * math.exp(CLOSE)
        assert other.open_mass <= one.open_mass * math.exp(CLOSE)
        assert trie.walk(paths[best.entry]) == best.entry


def test_the_server_answers_what_is_certain_and_the_engine_the_rest(linker: Linker, llm: Any, queries: list[Query]) -> None:
    certified = CertifiedVLLM.over(linker, llm)
    ranked, engine = certified.rank(queries), linker.rank(queries)
    assert certified.served.total() == len(queries)
    assert min(certified.served["certified"], certified.served["uncertain"]) > 10
    assert all(len(each) == 1 for each in ranked)
    assert [(each[0].code, each[0].name) for each in ranked] == [(each[0].code, each[0].name) for each in engine]
    assert [each[0].log_prob for each in ranked] == pytest.approx([each[0].log_prob for each in engine], abs=CLOSE)


def test_what_the_engine_is_handed_keeps_its_alternatives(linker: Linker, llm: Any, queries: list[Query]) -> None:
    certified = CertifiedVLLM.over(linker, llm)
    lengths = [len(each) for each in certified.rank(queries, 3)]
    assert sum(length == 1 for length in lengths) >= certified.served["certified"]
    assert max(lengths) > 1


def test_candidates_and_documents_go_the_same_way(linker: Linker, llm: Any, queries: list[Query]) -> None:
    certified, some = CertifiedVLLM.over(linker, llm), queries[:40]
    lexicon: Any = linker.lexicon
    flags = [lexicon.flags(each.groups) for each in some]
    in_group = [[entry for entry in range(len(lexicon)) if lexicon.trie.walk(lexicon.trie.path(entry), held) >= 0] for held in flags]
    listed: list[Any] = [None if i % 4 == 0 else entries[i % 7 :: 7] for i, entries in enumerate(in_group)]
    codes = [[each[0].code for each in one.rank(some, 1, listed)] for one in (certified, linker)]
    assert codes[0] == codes[1]
    linked = [[each.predictions[0].code for each in one.link([each.document for each in some])] for one in (certified, linker)]
    assert linked[0] == linked[1]
    assert certified.served["certified"] > 10


def test_a_query_too_long_for_vllm_goes_to_the_engine(linker: Linker, llm: Any) -> None:
    long = query(next(concepts()), "We found {}" + ", ataxia" * 35 + ".")
    longest = linker.lexicon.header["longest"]
    assert 160 < len(encode_prompt(linker.prompt(long), linker.tokenizer)) + longest <= 256
    certified = CertifiedVLLM.over(linker, llm)
    assert certified.rank([long]) == linker.rank([long])
    assert certified.served == {"certified": 0, "uncertain": 0, "too long": 1}


def test_free_requests_beside_constrained_ones_stay_free(linker: Linker, llm: Any, prompts: list[list[int]]) -> None:
    free = SamplingParams(temperature=0.0, max_tokens=6, detokenize=False, ignore_eos=True)
    held = CertifiedVLLM.over(linker, llm)._params({})
    inputs = [{"prompt_token_ids": ids} for ids in prompts[:12]]
    alone = [each.outputs[0].token_ids for each in llm.generate(inputs, free, use_tqdm=False)]
    mixed = [each.outputs[0].token_ids for each in llm.generate([*inputs, *inputs], [free, held] * 12, use_tqdm=False)]
    expected = [alone[i % 12] for i in range(24)]
    assert [tokens for i, tokens in enumerate(mixed) if i % 2 == 0] == [tokens for i, tokens in enumerate(expected) if i % 2 == 0]
    assert all(linker.lexicon.trie.walk(tokens) >= 0 for i, tokens in enumerate(mixed) if i % 2 == 1)


def test_candidates_hold_a_request(linker: Linker, llm: Any, prompts: list[list[int]]) -> None:
    rng = np.random.default_rng(0)
    chosen = [rng.choice(len(linker.lexicon), 5, replace=False).tolist() for _ in prompts[:20]]
    params = [CertifiedVLLM.over(linker, llm)._params({}) for _ in chosen]
    for each, candidates in zip(params, chosen, strict=True):
        each.extra_args = {"syncabel": {"candidates": candidates}}
    outputs = llm.generate([{"prompt_token_ids": ids} for ids in prompts[:20]], params, use_tqdm=False)
    assert all(linker.lexicon.trie.walk(each.outputs[0].token_ids) in candidates for each, candidates in zip(outputs, chosen, strict=True))


def test_a_bad_request_is_an_error_of_its_own(linker: Linker, llm: Any, prompts: list[list[int]]) -> None:
    good = CertifiedVLLM.over(linker, llm)._params({})
    bad = SamplingParams(temperature=0.0, extra_args={"syncabel": {"groups": [9]}})
    with pytest.raises(VLLMValidationError, match="group 9 is not in the trie"):
        llm.generate([{"prompt_token_ids": prompts[0]}], bad, use_tqdm=False)
    (after,) = llm.generate([{"prompt_token_ids": prompts[0]}], good, use_tqdm=False)
    assert linker.lexicon.trie.walk(after.outputs[0].token_ids) >= 0


def test_one_process_serves_one_trie(llm: Any, tmp_path: Path) -> None:
    (tmp_path / "lexicon" / "trie").mkdir(parents=True)
    with pytest.raises(ConfigError, match="use one process for each trie"):
        load_vllm(tmp_path)


def test_a_folder_without_a_lexicon_is_refused_and_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    with pytest.raises(MissingLexiconError, match="no lexicon in it"):
        load_vllm(tmp_path)
    assert FOLDER_VARIABLE not in os.environ


def test_a_model_with_fewer_logits_than_its_trie_has_tokens_is_refused_before_vllm_starts(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    narrow = tmp_path / "narrow"
    shutil.copytree(folder, narrow)
    config = json.loads((narrow / "config.json").read_text())
    (narrow / "config.json").write_text(json.dumps({**config, "vocab_size": 40}))
    with pytest.raises(ConfigError, match="the model has 40 logits, its trie token ids up to") as error:
        load_vllm(narrow, dtype="float32", max_model_len=160, enforce_eager=True)
    assert "\n" not in str(error.value)
    assert FOLDER_VARIABLE not in os.environ


def test_a_linker_of_another_model_is_refused(linker: Linker, llm: Any, tiny_llama: Any) -> None:
    other = tiny_llama(linker.model.config.vocab_size + 8)
    with pytest.raises(ConfigError, match="load both from one folder"):
        CertifiedVLLM.over(replace(linker, model=other), llm)


def test_what_no_query_can_be_answered_with_is_the_engines_error(linker: Linker, llm: Any, queries: list[Query]) -> None:
    lexicon: Any = linker.lexicon
    other = next(entry for entry in range(len(lexicon)) if lexicon.trie.walk(lexicon.trie.path(entry), lexicon.flags(queries[0].groups)) < 0)
    for one in (linker, CertifiedVLLM.over(linker, llm)):
        with pytest.raises(TrieError, match=r"^document .*, mention '1': no candidate is in the allowed groups$"):
            one.rank(queries[:1], 1, [[other]])
        with pytest.raises(TrieError, match=r"^document .*, mention '1': the list of candidates is empty$"):
            one.rank(queries[:1], 1, [[]])
        with pytest.raises(UnknownNameError, match="unknown group 'Drug'"):
            one.rank([Query(queries[0].document, queries[0].mention, ("Drug",))])


def test_no_queries_have_no_answers(linker: Linker, llm: Any) -> None:
    assert CertifiedVLLM.over(linker, llm).rank([]) == []


def test_what_cannot_be_certified_is_refused(linker: Linker, llm: Any) -> None:
    with pytest.raises(ConfigError, match="ranked by 'sum'"):
        CertifiedVLLM.over(replace(linker, settings=DecodingSettings(ranking="mean")), llm)
    with pytest.raises(ConfigError, match="proves the first rank"):
        CertifiedVLLM.over(replace(linker, settings=DecodingSettings(search="exact", exact_ranks=2)), llm)
    with pytest.raises(ConfigError, match="top_logprobs is 21"):
        CertifiedVLLM.over(linker, llm, top_logprobs=21)
    with pytest.raises(ConfigError, match="epsilon -1"):
        CertifiedVLLM.over(linker, llm, epsilon=-1)
