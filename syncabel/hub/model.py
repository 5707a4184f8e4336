"""A trained model as a folder for the Hub: what it needs and nothing else, its card, and the lexicon where that may be passed on.

config.json, *.safetensors, tokenizer files     as training exported them
modeling_syncabel.py and what it imports        `sample`
lexicon/                                        names and codes; left out where the terminology may not be passed on
lexicon.json                                    what the lexicon is and how it is built, without a name of it
calibration.json                                its confidences, where it was calibrated; with digests of training strings (calibration_seen.npy), which
                                                can be guessed from, only where that is asked for
training.json, results/*.yaml                   what was measured; every figure of the card is in one of these.  Folders of this machine are cut
                                                to their last part in them, and tokens of the hub are left out
README.md                                       the card
"""

import fnmatch
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from syncabel.calibration.answering import own_digests
from syncabel.calibration.store import CALIBRATION, SEEN_FILE, Calibration
from syncabel.decoding import LEXICON_FOLDER, LEXICON_MANIFEST, load_lexicon
from syncabel.errors import ConfigError, DigestMismatchError, FormatError, MissingLexiconError
from syncabel.export.card import Facts, model_card
from syncabel.export.figures import CARD, RESULTS, RUN, check_folder
from syncabel.export.folder import class_of, lexicon_manifest, write_code, write_json
from syncabel.export.results import ResultsFile, read_results
from syncabel.lexicon.store import Lexicon
from syncabel.linker import model_entry

__all__ = ["REPLACES", "ModelFacts", "export_model_repo"]

_OWN = (
    *("config.json", "model*.safetensors", "model.safetensors.index.json", "tokenizer*", "special_tokens_map.json", "chat_template.jinja"),
    *("added_tokens.json", "vocab.json", "merges.txt", RUN, CALIBRATION, SEEN_FILE),
)
# Whatever else lies in the folder (checkpoints, logs, notes) stays at home.
_KEPT = (*_OWN, "LICENSE*", "NOTICE*", "USE_POLICY*")
# Paths of a repository that are this folder's own: those that it no longer has are deleted there.
REPLACES = (
    *(*_OWN, "generation_config.json", "modeling_syncabel.py", "constrained_*.py", "syncabel_*.py"),
    *(f"{LEXICON_FOLDER}/*", LEXICON_MANIFEST, f"{RESULTS}/*.yaml"),
)

_SECRET = ("hub_token", "token")  # keys whose values are secrets
_TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{16,}")
_HIDDEN = "(left out)"
_FOLDERS = re.compile(r"(?<![\w/.])~?/(?:[^\s/'\",;:]+/)+(?=[^\s/])")


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a folder for the Hub holds.

    Attributes:
        files: size in bytes per path inside the folder.
        lexicon: whether the lexicon is among them.
        left_out: names in the model's folder that stay at home, but for the lexicon.
        figures: numerals on the card, each of them found in the folder's files.
        recorded: whether the folder says how the model was trained.
    """

    files: Mapping[str, int]
    lexicon: bool
    left_out: tuple[str, ...]
    figures: int
    recorded: bool


def export_model_repo(
    model: Path,
    out: Path,
    repo: str,
    *,
    title: str,
    licence: str | None = None,
    results: Sequence[str] = (),
    statement: str = "",
    links: bool = False,
    with_seen: bool = False,
) -> ModelFacts:
    """Write the folder of a model for the Hub; it is there whole or not at all.

    Args:
        model: a folder that training exported.
        out: a folder that is not there yet, or empty.
        repo: ORG/NAME, for the code on the card.
        title: heading of the card.
        licence: of the weights, as the hub names licences; None for what the exported card says, which must then say it.
        results: results files, see `read_results`.
        statement: why the terminology may be passed on, where it does not say so itself; the card repeats it.
        links: link to the large files instead of copying them, for a folder that is sent and thrown away.
        with_seen: take a calibration along that needs digests of training mentions, from which short strings can be guessed; else such a one
            stays at home, both files of it.

    Raises:
        ConfigError: `sample` cannot be written for the model, its licence is unknown, something stands at `out`, or a figure of the card is in no file.
        MissingLexiconError: the model has no lexicon beside it.
        DigestMismatchError: its lexicon is another one's, or was altered; results say that they are of another knowledge base, or a calibration is void.
        IncompleteFolderError, FormatError: a file is missing or damaged.
    """
    entry = model_entry(model)
    lexicon = load_lexicon(model, entry, verify=True)
    if lexicon is None:
        raise MissingLexiconError(f"{model}: no {LEXICON_FOLDER}/ in it, which the card is written from; put the model's lexicon there, then publish")
    licence = _licence(model, licence)
    measured = [replace(file, content=_public(file.content)) for file in map(read_results, results)]
    statement = " ".join(statement.split())
    _refuse_twins(measured)
    for file in measured:
        _refuse_foreign(file, lexicon)
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ConfigError(f"{out} exists and is not empty; give another folder")
    included = bool(lexicon.header["redistributable"]) or bool(statement)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as temporary:
        folder = Path(temporary) / "new"
        folder.mkdir()
        left_out = _taken(model, folder, included, links, with_seen)
        entry = _completed(folder, lexicon, included, statement)
        for file in measured:
            _write_results(folder, file)
        facts = _facts(model, folder, entry, title, licence)
        calibration = _calibration(folder, lexicon)
        card = model_card(facts, lexicon, repo, results=measured, prompt=entry, included=included, statement=statement, calibration=calibration)
        (folder / CARD).write_text(card, encoding="utf-8")
        figures = check_folder(folder, "the card")
        files = {path.relative_to(folder).as_posix(): path.stat().st_size for path in sorted(folder.rglob("*")) if path.is_file()}
        folder.replace(out)
    return ModelFacts(files, included, left_out, figures, bool(facts.run))


def _licence(model: Path, given: str | None) -> str:
    """What was given, or what the exported card says; a base model's licence binds what is made of it, so none is guessed."""
    licence = str(given or _front_matter(model / CARD).get("license") or "").strip()
    if licence.lower() in ("", "unknown"):
        example = "--license llama3, gemma, apache-2.0 … (the base model's terms bind what is made of it), or other"
        raise ConfigError(f"{model}: the licence of its weights is unknown; give it as the hub names it: {example}")
    return licence


def _public(value: Any) -> Any:
    """What a record or a results file says, without folders of this machine (the last part of a path stays) and without tokens of the hub."""
    if isinstance(value, Mapping):
        return {key: _HIDDEN if key in _SECRET and inner and isinstance(inner, str) else _public(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_public(each) for each in value]
    return _TOKEN.sub(_HIDDEN, _FOLDERS.sub("", value)) if isinstance(value, str) else value


def _refuse_twins(files: Sequence[ResultsFile]) -> None:
    names = [file.name for file in files]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"two results files are named {twice[0]!r}; rename one (`name:` in the file)")


def _refuse_foreign(file: ResultsFile, lexicon: Lexicon) -> None:
    """Refuse figures that say themselves that they were measured over other names."""
    digests, kb = (file.content.get(key) for key in ("digests", "kb"))
    said = {**digests} if isinstance(digests, Mapping) else {}
    if isinstance(kb, Mapping) and "digest" in kb:
        said["kb"] = kb["digest"]
    for name, own in (("kb", lexicon.header.get("kb_digest")), ("lexicon", lexicon.digest)):
        if isinstance(found := said.get(name), str) and found != own:
            raise DigestMismatchError(f"results {file.name}: {name}", str(own), found, "they were measured over other names; give those of this model")


def _taken(model: Path, folder: Path, included: bool, links: bool, with_seen: bool) -> tuple[str, ...]:
    """Bring the model's own files over; returns the names of what stays at home."""
    kept = [path for path in sorted(model.iterdir()) if path.is_file() and any(fnmatch.fnmatch(path.name, pattern) for pattern in _KEPT)]
    if (model / SEEN_FILE).exists() and not with_seen:
        kept = [path for path in kept if path.name not in (CALIBRATION, SEEN_FILE)]
    for path in kept:
        _bring(path, folder / path.name, links and path.suffix == ".safetensors")
    if included:
        for path in _files_of(model / LEXICON_FOLDER):
            place = folder / LEXICON_FOLDER / path.relative_to(model / LEXICON_FOLDER)
            place.parent.mkdir(parents=True, exist_ok=True)
            _bring(path, place, links)
    made = {CARD, LEXICON_FOLDER, LEXICON_MANIFEST, RESULTS, *(path.name for path in kept)}
    return tuple(path.name for path in sorted(model.iterdir()) if path.name not in made and not _is_code(path))


def _files_of(folder: Path) -> Iterator[Path]:
    """A lexicon's own files."""
    yield from (path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix in (".json", ".npy"))


def _is_code(path: Path) -> bool:
    return path.suffix == ".py" or path.name == "__pycache__"


def _bring(path: Path, place: Path, link: bool) -> None:
    if link:
        os.symlink(path.resolve(), place)
    else:
        shutil.copyfile(path, place)


def _completed(folder: Path, lexicon: Lexicon, included: bool, statement: str) -> dict[str, Any]:
    """Write code and the lexicon's manifest, and say in config.json what the folder brings; returns its `syncabel` entry."""
    write_code(folder)
    if run := _run(folder / RUN):
        write_json(folder / RUN, _public(run))
    config = json.loads((folder / "config.json").read_bytes())
    config["auto_map"] = {"AutoModelForCausalLM": f"modeling_syncabel.{class_of(config['model_type'])}"}
    entry: dict[str, Any] = config["syncabel"]
    entry["lexicon_included"] = included
    write_json(folder / "config.json", config)
    write_json(folder / LEXICON_MANIFEST, lexicon_manifest(lexicon, entry, statement))
    return entry


def _write_results(folder: Path, file: ResultsFile) -> None:
    (folder / RESULTS).mkdir(exist_ok=True)
    text = yaml.safe_dump({**file.content, "name": file.name}, sort_keys=False, allow_unicode=True, width=130)
    (folder / RESULTS / f"{file.name}.yaml").write_text(text, encoding="utf-8")


def _calibration(folder: Path, lexicon: Lexicon) -> Calibration | None:
    """The folder's calibration; one that is void would make the card untrue."""
    if not (folder / CALIBRATION).is_file():
        return None
    calibration, own = Calibration.load(folder / CALIBRATION), own_digests(folder, lexicon, None)
    for name in ("weights", "lexicon", "kb", "prompts"):
        if (expected := getattr(calibration.digests, name)) != (found := getattr(own, name)):
            raise DigestMismatchError(f"{CALIBRATION} ({name})", expected, found, "it is void: run `syncabel calibrate` again, or take the file away")
    return calibration


def _facts(model: Path, folder: Path, entry: Mapping[str, Any], title: str, licence: str) -> Facts:
    """What the folder says of its making."""
    run = _run(folder / RUN)
    exported = _front_matter(model / CARD)
    base = str(run.get("model", {}).get("base", "") or exported.get("base_model", ""))
    return Facts(" ".join(title.split()), base, str(entry.get("language", "en")), licence, run=run)


def _run(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        run = json.loads(path.read_bytes())
    except ValueError:
        raise FormatError("not JSON", path, hint="export the model again, or take the file away") from None
    if not isinstance(run, dict) or not str(run.get("format", "")).startswith("syncabel.run/"):
        raise FormatError("not the record of a training", path, hint="export the model again, or take the file away")
    return run


def _front_matter(card: Path) -> dict[str, Any]:
    """The YAML on top of a card; nothing where there is none."""
    if not card.is_file():
        return {}
    found = re.match(r"---\n(.*?)\n---\n", card.read_text(encoding="utf-8", errors="replace"), re.DOTALL)
    try:
        values = yaml.safe_load(found[1]) if found else None
    except yaml.YAMLError:
        return {}
    return values if isinstance(values, dict) else {}
