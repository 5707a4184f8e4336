"""`syncabel publish`: a trained model, or generated sentences as a dataset, on the Hugging Face Hub."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from syncabel.cli.console import err, out, print_json
from syncabel.errors import ConfigError, MissingExtraError
from syncabel.hub.dataset import DATA, export_dataset
from syncabel.hub.upload import Kind, Pushed, check_repo, push_folder
from syncabel.kb import KnowledgeBase

if TYPE_CHECKING:
    from syncabel.hub.model import ModelFacts

__all__ = ["publish"]


def publish(
    model: Annotated[Path | None, typer.Argument(help="Model folder that training exported.", show_default=False)] = None,
    repo: Annotated[str | None, typer.Option(metavar="ORG/NAME", help="Repository to push to.", show_default=False)] = None,
    dataset: Annotated[Path | None, typer.Option(help="Instead of a model: a folder of `syncabel generate`, or a documents.jsonl.", show_default=False)] = None,
    check: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Only look the figures of a kept folder's card up in its results; nothing is sent.")
    ] = None,
    results: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE[:KEY]",
            help="Of a model: results file whose figures go on the card; KEY is where the model's own stand in it, needed where it has several systems. "
            "May be repeated.",
        ),
    ] = None,
    kb: Annotated[str | None, typer.Option(help="Of a dataset: knowledge base the sentences were made from: a folder, or `doid` (the default).")] = None,
    title: Annotated[str | None, typer.Option(help="Heading of the card; by default the repository's name.")] = None,
    licence: Annotated[
        str | None,
        typer.Option(
            "--license",
            help="As the hub names it, e.g. llama3 or cc-by-4.0; by default what a model was exported with, and a model without one is refused; "
            "of a dataset unknown.",
        ),
    ] = None,
    statement: Annotated[
        str, typer.Option("--i-may-redistribute", metavar="REASON", help="Why you may pass on names whose vocabulary does not allow it; the card repeats it.")
    ] = "",
    with_seen: Annotated[
        bool, typer.Option("--with-seen", help="Of a model: take digests of training mentions along for its confidences; short strings can be guessed.")
    ] = False,
    private: Annotated[bool, typer.Option("--private", help="Only the owners see the repository.")] = False,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Keep what was made in this folder as well.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Make the folder and send nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was made and pushed as JSON.")] = False,
) -> None:
    """Push a trained model, or generated sentences, with a card of measured facts; the token comes from HF_TOKEN or `hf auth login`.

    A model goes out with its lexicon only where the terminology may be passed on; else with a manifest and the command that builds it.
    """
    if sum(each is not None for each in (model, dataset, check)) != 1:
        raise ConfigError("give one of a MODEL folder, --dataset and --check; see `syncabel publish --help`")
    if check is not None:
        _check(check, as_json)
        return
    if repo is None:
        raise ConfigError("give the repository to push to: --repo ORG/NAME")
    check_repo(repo)
    asked = _Asked(repo, title or repo.split("/")[1], licence, statement, private, output, dry_run, as_json)
    if model is not None:
        _refuse(kb is not None, "--kb is for --dataset; a model's knowledge base is known from its lexicon, leave it out")
        _publish_model(model, results or [], asked, with_seen)
    elif dataset is not None:
        _refuse(bool(results), "--results is for a model; leave it out with --dataset")
        _refuse(with_seen, "--with-seen is for a model; leave it out with --dataset")
        _publish_dataset(dataset, kb or "doid", asked)


@dataclass(frozen=True, slots=True)
class _Asked:
    """The options that models and datasets share."""

    repo: str
    title: str
    licence: str | None
    statement: str
    private: bool
    output: Path | None
    dry_run: bool
    as_json: bool

    def push(self, folder: Path, kind: Kind, message: str, replaces: Sequence[str]) -> Pushed | None:
        """Send the folder; None where nothing is to be sent."""
        if self.dry_run:
            return None
        return push_folder(folder, self.repo, kind, message=message, private=self.private, replaces=replaces)


def _refuse(wrong: bool, message: str) -> None:
    if wrong:
        raise ConfigError(message)


@contextmanager
def _models_needed() -> Iterator[None]:
    """What handles models needs torch and transformers, which data sets do without."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtraError("link", str(error.name)) from None


def _check(folder: Path, as_json: bool) -> None:
    with _models_needed():
        from syncabel.export.figures import check_folder
    if (folder / "README.md").is_file() and not (folder / "config.json").is_file():
        raise ConfigError(f"{folder} is no model: there is no config.json in it; --check is for the card of a model, a data set is checked as it is published")
    figures = check_folder(folder)
    if as_json:
        print_json({"figures": figures, "untraced": 0})
    else:
        out.print(f"{folder}: {figures:,} figures on the card, each of them in the folder's files")


def _publish_model(model: Path, results: list[str], asked: _Asked, with_seen: bool) -> None:
    with _models_needed():
        from syncabel.hub.model import REPLACES, export_model_repo
    with tempfile.TemporaryDirectory(prefix="syncabel-publish-") as temporary:
        folder = asked.output or Path(temporary) / "model"
        facts = export_model_repo(
            model,
            folder,
            asked.repo,
            title=asked.title,
            licence=asked.licence,
            results=results,
            statement=asked.statement,
            links=asked.output is None,  # a folder that is kept has files of its own
            with_seen=with_seen,
        )
        message = f"{asked.title}: weights, tokenizer, {'lexicon, ' if facts.lexicon else ''}card"
        pushed = asked.push(folder, "model", message, REPLACES)
    _warn(facts)
    if asked.as_json:
        made = {"files": dict(facts.files), "lexicon": facts.lexicon, "left_out": list(facts.left_out), "figures": facts.figures}
        print_json(made | _pushed(pushed))
    else:
        lexicon = "included" if facts.lexicon else "left out, its terminology may not be passed on; lexicon.json says how it is built"
        out.print(f"lexicon: {lexicon}; {facts.figures:,} figures on the card, each of them in the folder's files")
        _say(facts.files, pushed, asked.repo)


def _warn(facts: "ModelFacts") -> None:
    if not facts.recorded:
        err.print("syncabel: the model has no training.json, so its card says nothing of how it was trained; models exported now have one")
    if "calibration_seen.npy" in facts.left_out:
        guessed = "training mentions could be guessed from calibration_seen.npy"
        err.print(f"syncabel: the calibration stays at home, {guessed}; `syncabel calibrate --no-seen` makes one without, --with-seen sends it all the same")
    if facts.left_out:
        err.print(f"syncabel: stays at home: {', '.join(facts.left_out)}")


def _publish_dataset(dataset: Path, kb: str, asked: _Asked) -> None:
    manifest = KnowledgeBase.load(kb).manifest
    with tempfile.TemporaryDirectory(prefix="syncabel-publish-") as temporary:
        folder = asked.output or Path(temporary) / "dataset"
        licence = asked.licence or "unknown"
        facts = export_dataset(dataset, folder, manifest, title=asked.title, licence=licence, repo=asked.repo, statement=asked.statement)
        pushed = asked.push(folder, "dataset", f"{facts.documents:,} synthetic sentences for {facts.concepts:,} concepts", (DATA,))
    if asked.as_json:
        print_json({"documents": facts.documents, "mentions": facts.mentions, "concepts": facts.concepts, "files": facts.files} | _pushed(pushed))
    else:
        out.print(f"{facts.documents:,} documents, {facts.mentions:,} mentions, {facts.concepts:,} concepts")
        _say(facts.files, pushed, asked.repo)


def _pushed(pushed: Pushed | None) -> dict[str, Any]:
    return {} if pushed is None else {"url": pushed.url, "commit": pushed.commit, "changed": pushed.changed, "deleted": list(pushed.deleted)}


def _warn_of_history(pushed: Pushed) -> None:
    """A terminology that was taken out is still in what was published before."""
    from syncabel.decoding import LEXICON_FOLDER

    if any(path.startswith(f"{LEXICON_FOLDER}/") for path in pushed.deleted):
        err.print(f"{LEXICON_FOLDER}/ was taken out of {pushed.url}, but its earlier commits still hold it; squash the history there to be rid of it")


def _say(files: Mapping[str, int], pushed: Pushed | None, repo: str) -> None:
    for path, size in files.items():
        out.print(f"  {path}  {size:,} bytes")
    if pushed is None:
        out.print(f"nothing was sent; without --dry-run these files go to {repo}")
    elif pushed.changed:
        out.print(f"pushed → {pushed.url} (commit {pushed.commit[:8]})")
        _warn_of_history(pushed)
    else:
        out.print(f"{pushed.url} already holds these files (commit {pushed.commit[:8]}); nothing was committed")
