"""Models that others published in the SynCABEL layout, as model folders of this project.

Read are the weights (safetensors), the tokenizer and `text_to_code.json` ({group: {name: code}}).  The trie is built anew from the
names of that file; `candidate_trie.pkl` is never opened and the folder's own code never run.

The names are the file's, not a knowledge base's: the model learnt these strings.  A name that stands for different codes in
different groups is the one exception, for a leaf stands for one code: it is written with what tells the codes apart, as everywhere
in this project, and the model never saw it so.  How many there are is counted and said.
"""

import json
import re
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from syncabel.decoding import exported_tokenizer
from syncabel.errors import ConfigError, FormatError, IncompleteFolderError
from syncabel.export.card import Facts
from syncabel.export.folder import check_place, export_model
from syncabel.kb import KnowledgeBase
from syncabel.kb.vocabulary import CONCEPTS, NAMES, About, Frames
from syncabel.lexicon.build import lexicon_and_account
from syncabel.lexicon.store import Lexicon
from syncabel.prompt import SEPARATOR, PromptFormat, encode_names, prepare_tokenizer
from syncabel.types import NIL_CODE, NO_CODE

__all__ = ["NAMES_FILE", "Altered", "Converted", "convert_model", "kb_of_names", "read_names"]

NAMES_FILE = "text_to_code.json"
_ROWS = {"group": pl.String, "name": pl.String, "code": pl.String}
_BLOCK = 50_000  # names tokenised together


@dataclass(frozen=True, slots=True)
class Altered:
    """A name whose leaf is another string than the model learnt.

    Attributes:
        name, code: as in the file.
        leaf: as the lexicon has it; "" where it was left out.
        reason: `shared_name`, `tokenises_alike`, `merged` (see `syncabel.lexicon.leaves.Alike`), `tidied`, or why it was left out.
    """

    name: str
    code: str
    leaf: str
    reason: str


@dataclass(frozen=True, slots=True)
class Converted:
    """What a conversion gave.

    Attributes:
        folder: the model folder.
        rows: names in the file, those that stand in several groups counted in each.
        entries, codes, groups: of the lexicon.
        altered: names that are not the lexicon's as they stand in the file.
        widened: names that the file has in fewer groups than their concept, and that all groups of the concept now have.
        unknown: names that the knowledge base does not have for their code; None where none was given.
    """

    folder: Path
    rows: int
    entries: int
    codes: int
    groups: int
    altered: tuple[Altered, ...]
    widened: int
    unknown: int | None


def convert_model(source: Path, folder: Path, language: str = "en", kb: KnowledgeBase | None = None, licence: str = "unknown") -> Converted:
    """Write the model folder of a published model.

    Args:
        source: folder in the SynCABEL layout.
        folder: where to write.
        language: of the prompts, ISO 639-1.
        kb: the knowledge base that the names were taken from, for source, release and licence of the terminology; its names are not used.
        licence: of the weights, as the hub names licences.

    Raises:
        IncompleteFolderError: there is no such folder, a file is missing, or weights are.
        FormatError: `text_to_code.json` is no table of groups, names and codes.
        ConfigError: the model is no Llama, an adapter or quantised; the tokenizer has no `<SEP>` or no end token, has more tokens than the model, or
            does not give a name back as it was; the folder holds something else.
    """
    fmt = PromptFormat("syncabel", language)
    check_place(folder, source / "lexicon", [source])
    _check_files(source)
    rows = read_names(source / NAMES_FILE)
    known = None if kb is None else _unknown(rows, kb)
    names = kb_of_names(rows, language, _about(source, kb, known))
    tokenizer = _tokenizer(source, fmt)
    lexicon, account = lexicon_and_account(names, tokenizer)
    _check_round_trip(lexicon, tokenizer)
    changed = (Altered(*row, each.reason) for each in account for row in zip(each.names, each.codes, each.leaves, strict=True) if row[0] != row[2])
    altered = (*changed, *_cleaned(rows, names))
    done = Converted(folder, rows.height, len(lexicon), len(lexicon.codes), len(lexicon.groups), altered, _widened(rows), known)
    model = _model(source, len(tokenizer))
    # Beside the folder, and not where temporary files go: a lexicon of millions of names takes a gigabyte.
    folder.resolve().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.resolve().name}-", dir=folder.resolve().parent) as temporary:
        lexicon.save(Path(temporary) / "lexicon")
        facts = Facts(folder.resolve().name, "", language, licence, _account(done, source.resolve().name))
        export_model(model, tokenizer, Path(temporary) / "lexicon", folder, fmt, facts, ranking="mean")
    return done


def _check_files(source: Path) -> None:
    """Refuse a folder that cannot become a model, before anything large is read."""
    if not source.is_dir():
        raise IncompleteFolderError(f"{source}: no such folder; a repository of the Hub is downloaded first, {_download(source)}")
    for name in ("config.json", "tokenizer.json", NAMES_FILE):
        if not (source / name).is_file():
            raise IncompleteFolderError(f"{source}: {name} is missing; give a folder with a published model's weights, tokenizer and {NAMES_FILE}")
    if (source / "adapter_config.json").exists():
        raise ConfigError(f"{source}: holds an adapter; merge it into its model's weights first")
    if not any(source.glob("*.safetensors")):
        raise IncompleteFolderError(f"{source}: no *.safetensors weights in it; others are pickles, which are not opened")
    config = _json(source / "config.json")
    if not isinstance(config, dict) or config.get("model_type") != "llama":
        raise ConfigError(f"{source / 'config.json'}: no Llama; models of this layout are")
    if config.get("quantization_config"):
        raise ConfigError(f"{source}: its weights are quantised; give the folder with the full ones")


def _download(source: Path) -> str:
    """How to come by a folder that is not there, with the repository's name where it looks like one."""
    name = source.as_posix()
    # Where the first part is a folder here, a path was meant.
    if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name) or source.parent.exists():
        return "`hf download ORG/NAME --local-dir FOLDER`, and its FOLDER given"
    return f"`hf download {name} --local-dir {source.name}`, and {source.name} given"


def _json(path: Path, **how: Any) -> Any:
    try:
        return json.loads(path.read_bytes(), **how)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"no JSON: {' '.join(str(error).split())}", path, hint="download the file again") from None


def read_names(path: Path) -> pl.DataFrame:
    """The rows of `text_to_code.json`: group, name, code, in the file's order.

    Raises:
        FormatError: it is no object of objects of strings, has a name twice in a group, or a code that means something else here.
    """
    groups = _json(path, object_pairs_hook=_once)
    if not isinstance(groups, dict) or not groups:
        raise FormatError("no object of groups in it", path, hint="it should be {group: {name: code}}")
    of_group, of_name, of_code = list[str](), list[str](), list[str]()
    for group, names in groups.items():
        if not isinstance(names, dict) or not all(isinstance(code, str) for code in names.values()):
            raise FormatError(f"group {group!r} is no object of names with codes, both text", path, hint="it should be {group: {name: code}}")
        of_group += [group] * len(names)
        of_name += names.keys()
        of_code += names.values()
    return _frame((of_group, of_name, of_code), path)


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    # Python keeps the last of two; which one the model was trained with is not known.
    if len(found := dict(pairs)) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"{twice!r} stands twice in one object")
    return found


def _frame(columns: Sequence[Sequence[str]], path: Path) -> pl.DataFrame:
    try:
        rows = pl.DataFrame(dict(zip(_ROWS, columns, strict=True)), schema=_ROWS)
    except UnicodeEncodeError:  # JSON can write half of a surrogate pair, which is no character
        raise FormatError("a name or code in it is no Unicode text", path, hint="download the file again") from None
    if rows.is_empty():
        raise FormatError("no name in it", path, hint="it should be {group: {name: code}}")
    for marker in (NO_CODE, NIL_CODE):
        if (rows["code"] == marker).any():
            raise FormatError(f"the code {marker!r} in it means here that there is none", path, hint="rename it in the file")
    return rows


def kb_of_names(rows: pl.DataFrame, language: str, about: About) -> KnowledgeBase:
    """A knowledge base whose concepts are the codes of the rows, each with all its names and groups; the first name is the preferred one.

    Args:
        rows: columns group, name, code.
        language: of the names.
        about: facts for the manifest.

    Raises:
        FormatError, MarkupError: see `KnowledgeBase.build`.
    """
    groups = rows.group_by("code", maintain_order=True).agg(groups=pl.col("group").unique(maintain_order=True))
    empty = [pl.lit(None, kind).alias(name) for name, kind in CONCEPTS.items() if name not in groups.columns]
    pairs = rows.unique(["code", "name"], keep="first", maintain_order=True)
    own = {"text": pl.col("name"), "language": pl.lit(language), "scope": pl.lit("exact"), "preferred": pl.lit(False)}
    names = pairs.select("code", **own).select(*NAMES)
    return KnowledgeBase.build(Frames(groups.with_columns(empty).select(*CONCEPTS), names), about)


def _about(source: Path, kb: KnowledgeBase | None, unknown: int | None) -> About:
    """Terms of the terminology: those of the knowledge base where there is one, and its leave to pass names on where all names are its."""
    made = f"names of {source.resolve().name}"
    if kb is None:
        return About(made, filters=(f"file={NAMES_FILE}",))
    return replace(kb.about, redistributable=kb.about.redistributable and not unknown, filters=(*kb.about.filters, f"file={NAMES_FILE}"))


def _unknown(rows: pl.DataFrame, kb: KnowledgeBase) -> int:
    """How many names a knowledge base does not have for their code."""
    own = kb.tables.names.select(name="text", code=kb.tables.concepts["code"].gather(kb.tables.names["concept"]))
    return rows.unique(["code", "name"]).join(own, on=["code", "name"], how="anti").height


def _cleaned(rows: pl.DataFrame, kb: KnowledgeBase) -> Iterable[Altered]:
    """Names that the knowledge base does not have as they stand in the file: with other white space, or not at all."""
    own = kb.tables.names.select(leaf="text", code=kb.tables.concepts["code"].gather(kb.tables.names["concept"]))
    pairs = rows.select("name", "code").unique(maintain_order=True).join(own, left_on=["code", "name"], right_on=["code", "leaf"], how="anti")
    tidy = pairs.with_columns(leaf=pl.col("name").str.replace_all(r"\s+", " ").str.strip_chars())
    for name, code, leaf in tidy.join(own.with_columns(found="leaf"), on=["code", "leaf"], how="left").select("name", "code", "found").iter_rows():
        yield Altered(name, code, leaf or "", "tidied" if leaf else "left_out")


def _widened(rows: pl.DataFrame) -> int:
    """How many names of a code stand in fewer groups than the code."""
    of_code = rows.group_by("code").agg(all=pl.col("group").n_unique())
    of_name = rows.group_by("code", "name").agg(own=pl.col("group").n_unique())
    return of_name.join(of_code, on="code").filter(pl.col("own") < pl.col("all")).height


def _tokenizer(source: Path, fmt: PromptFormat) -> Any:
    """The folder's tokenizer; not one of its ids changes."""
    content = _json(source / "tokenizer.json")
    if not isinstance(content, dict) or "model" not in content:  # the tokenizers library raises a bare Exception
        raise IncompleteFolderError(f"{source / 'tokenizer.json'}: holds no tokenizer; download it again")
    tokenizer = exported_tokenizer(source)
    tokenizer.init_kwargs.pop("auto_map", None)  # it names code of the folder, and would be saved again
    if SEPARATOR not in tokenizer.get_vocab():
        raise ConfigError(f"{source}: the tokenizer has no {SEPARATOR} token, which models of this layout were trained with; give the trained model's own")
    size = len(tokenizer)
    prepare_tokenizer(tokenizer, fmt)
    if len(tokenizer) != size:
        raise ConfigError(f"{source}: the tokenizer is not complete; give the trained model's own")
    return tokenizer


def _check_round_trip(lexicon: Lexicon, tokenizer: Any) -> None:
    """Refuse a tokenizer that loses something of a name: what the model writes could then not be told from another.

    Raises:
        ConfigError: it does.
    """
    for start in range(0, len(lexicon), _BLOCK):
        names = [lexicon.name(entry) for entry in range(start, min(start + _BLOCK, len(lexicon)))]
        ids = [row[:-1] for row in encode_names(names, tokenizer)]
        written = tokenizer.batch_decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        for name, back in zip(names, written, strict=True):
            if back.strip() != name:
                raise ConfigError(f"the tokenizer reads {name!r} and gives back {back.strip()!r}; give the trained model's own")


def _model(source: Path, tokens: int) -> Any:
    """The weights, in the type they were saved in, by transformers' own class.

    Args:
        source: the folder.
        tokens: of the tokenizer; the model must have as many.
    """
    from safetensors import SafetensorError
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig.from_pretrained(source)
    for name in ("auto_map", "custom_pipelines"):  # they name code of the folder, and would be saved again
        config.__dict__.pop(name, None)
    transformers_class: Any = LlamaForCausalLM
    try:
        # The attention is named here because a configuration may name one to download.
        model, loaded = transformers_class.from_pretrained(
            source, config=config, use_safetensors=True, dtype="auto", attn_implementation="sdpa", local_files_only=True, output_loading_info=True
        )
    except (SafetensorError, RuntimeError) as error:
        raise IncompleteFolderError(f"{source}: its weights cannot be read ({' '.join(str(error).split())[:200]}); download them again") from None
    if missing := sorted(loaded["missing_keys"]):
        raise IncompleteFolderError(f"{source}: {len(missing)} weights are missing, first {missing[0]!r}; download them again")
    if (rows := model.get_input_embeddings().num_embeddings) < tokens:
        raise ConfigError(f"{source}: the tokenizer has {tokens:,} tokens and the model {rows:,}; give the trained model's own tokenizer")
    return model


def _account(done: Converted, name: str) -> dict[str, str]:
    """What was done, for the card."""
    facts = {
        "converted from": f"the published folder {name}; nothing was trained",
        f"names in {NAMES_FILE}": f"{done.rows:,} in {done.groups:,} groups",
        "names written otherwise than the model learnt": f"{len(done.altered):,}",
        "names offered in further groups of their concept": f"{done.widened:,}",
    }
    return facts if done.unknown is None else {**facts, "names that the knowledge base does not have": f"{done.unknown:,}"}
