"""`syncabel publish`: generated sentences as a dataset on the Hugging Face Hub."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from syncabel.cli.console import out, print_json
from syncabel.hub.dataset import DATA, DatasetFacts, export_dataset
from syncabel.hub.upload import Pushed, check_repo, push_folder
from syncabel.kb import KnowledgeBase

__all__ = ["publish"]


def publish(
    dataset: Annotated[Path, typer.Option(help="Folder of `syncabel generate`, or a documents.jsonl.", show_default=False)],
    repo: Annotated[str, typer.Option(metavar="ORG/NAME", help="Repository to push to.", show_default=False)],
    kb: Annotated[str, typer.Option(help="Knowledge base the sentences were made from: a folder, or `doid`.")] = "doid",
    title: Annotated[str | None, typer.Option(help="Heading of the card; by default the repository's name.")] = None,
    licence: Annotated[str, typer.Option("--license", help="Licence of the dataset, as the hub names it, e.g. cc-by-4.0.")] = "unknown",
    statement: Annotated[
        str, typer.Option("--i-may-redistribute", metavar="REASON", help="Why you may pass on names whose vocabulary does not allow it; the card repeats it.")
    ] = "",
    private: Annotated[bool, typer.Option("--private", help="Only the owners see the repository.")] = False,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Keep the dataset in this folder as well.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Make the dataset and send nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was made and pushed as JSON.")] = False,
) -> None:
    """Push generated sentences with a card of measured facts; the token comes from HF_TOKEN or `hf auth login`."""
    check_repo(repo)
    manifest = KnowledgeBase.load(kb).manifest
    with tempfile.TemporaryDirectory(prefix="syncabel-publish-") as temporary:
        folder = output or Path(temporary) / "dataset"
        facts = export_dataset(dataset, folder, manifest, title=title or repo.split("/")[1], licence=licence, repo=repo, statement=statement)
        pushed = None if dry_run else _push(folder, repo, facts, private)
    if as_json:
        print_json(_as_json(facts, pushed))
    else:
        _say(facts, pushed, repo)


def _push(folder: Path, repo: str, facts: DatasetFacts, private: bool) -> Pushed:
    message = f"{facts.documents:,} synthetic sentences for {facts.concepts:,} concepts"
    return push_folder(folder, repo, "dataset", message=message, private=private, replaces=(DATA,))


def _as_json(facts: DatasetFacts, pushed: Pushed | None) -> dict[str, object]:
    made = {"documents": facts.documents, "mentions": facts.mentions, "concepts": facts.concepts, "files": facts.files}
    return made if pushed is None else made | {"url": pushed.url, "commit": pushed.commit, "changed": pushed.changed, "deleted": list(pushed.deleted)}


def _say(facts: DatasetFacts, pushed: Pushed | None, repo: str) -> None:
    out.print(f"{facts.documents:,} documents, {facts.mentions:,} mentions, {facts.concepts:,} concepts")
    for path, size in facts.files.items():
        out.print(f"  {path}  {size:,} bytes")
    if pushed is None:
        out.print(f"nothing was sent; without --dry-run these files go to {repo}")
    elif pushed.changed:
        out.print(f"pushed → {pushed.url} (commit {pushed.commit[:8]})")
    else:
        out.print(f"{pushed.url} already holds these files (commit {pushed.commit[:8]}); nothing was committed")
