"""A model by its folder, or by its name on the Hugging Face Hub, as a folder on this machine."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from syncabel.errors import ConfigError, IncompleteFolderError, MissingExtraError

__all__ = ["MODEL_FILES", "TOKENIZER_FILES", "fetched"]

TOKENIZER_FILES = ("config.json", "tokenizer*", "special_tokens_map.json", "chat_template.jinja")
# No code: what a repository holds of it is left where it is.
MODEL_FILES = ("*.safetensors", "*.safetensors.index.json", *TOKENIZER_FILES, "lexicon/*", "lexicon.json", "calibration.json", "calibration_seen.npy")


def fetched(place: str | Path, files: Sequence[str] = MODEL_FILES, revision: str | None = None) -> Path:
    """The folder itself where it is one; else the repository of that name, downloaded once and kept in the Hub's cache.

    Args:
        place: a folder, or ORG/NAME.
        files: patterns of the paths that are wanted of a repository.
        revision: its commit, branch or tag; the newest of its main branch where None.

    Raises:
        IncompleteFolderError: there is no such folder, and it is no name of a repository.
        ConfigError: no such repository or revision, no right to see it, no network; or a revision of a folder.
        MissingExtraError: huggingface_hub is not installed.
    """
    folder = Path(place)
    if folder.is_dir():
        if revision is not None:
            raise ConfigError(f"{place} is a folder on this machine and has no revisions; leave revision out")
        return folder
    hub = _hub()
    if not _is_repository(str(place), hub):
        raise IncompleteFolderError(f"{place}: no such folder; give a folder that training exported, or ORG/NAME of a model on the Hub")
    with _in_one_line(str(place), revision, hub):
        return Path(hub.snapshot_download(str(place), revision=revision, allow_patterns=list(files), library_name="syncabel"))


def _hub() -> Any:
    try:
        import huggingface_hub
        import huggingface_hub.constants
        import huggingface_hub.errors
        import huggingface_hub.utils
    except ModuleNotFoundError:
        raise MissingExtraError("hub", "huggingface_hub") from None
    return huggingface_hub


def _is_repository(name: str, hub: Any) -> bool:
    # Where the first part is a folder here, a path was meant: nothing is asked of the Hub for a misspelt one.
    if name.count("/") != 1 or Path(name.split("/")[0]).exists():
        return False
    try:
        hub.utils.validate_repo_id(name)
    except hub.errors.HFValidationError:
        return False
    return True


@contextmanager
def _in_one_line(repo: str, revision: str | None, hub: Any) -> Iterator[None]:
    """Errors of the hub's client, which are pages, as one line that says what to do."""
    errors = hub.errors
    endpoint = hub.constants.ENDPOINT
    transport_error: Any = errors.HfHubHTTPError.__bases__[0]  # of the HTTP library, which is another one from version to version
    try:
        yield
    except errors.GatedRepoError:
        raise ConfigError(f"{repo} is gated on {endpoint}; ask for access on its page, and run `hf auth login`") from None
    except errors.RevisionNotFoundError:
        raise ConfigError(f"{repo} has no revision {revision!r} on {endpoint}; give a commit, branch or tag that it has") from None
    except errors.RepositoryNotFoundError:
        raise ConfigError(f"{repo} is no folder here and no model on {endpoint} that you may see; check the name, or run `hf auth login`") from None
    except errors.HfHubHTTPError as error:
        raise ConfigError(f"{endpoint} answers {repo} with status {error.response.status_code}; try again later") from None
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
        offline = "HF_HUB_OFFLINE is set" if hub.is_offline_mode() else f"{endpoint} cannot be reached"
        raise ConfigError(f"{repo} is no folder here and was not downloaded before, and {offline}; check the name and the network ({_kind(error)})") from None
    except transport_error as error:
        raise ConfigError(f"{endpoint} cannot be reached ({_kind(error)}); check the network and try again") from None


def _kind(error: BaseException) -> str:
    return type(error).__name__
