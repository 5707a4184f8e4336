"""A folder pushed to a repository of the Hugging Face Hub, in one commit; a dataset or a model.

The token comes from the environment (HF_TOKEN) or from `hf auth login`, never from an argument, a file of the project or a log.
"""

import fnmatch
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from syncabel.errors import ConfigError, IncompleteFolderError, MissingExtraError

if TYPE_CHECKING:
    from huggingface_hub import HfApi

__all__ = ["Kind", "Pushed", "check_repo", "push_folder"]

Kind = Literal["dataset", "model"]
_ATTRIBUTES = ".gitattributes"  # the hub's own file
_LOGIN = "run `hf auth login`, or set HF_TOKEN to a token that may write"


@dataclass(frozen=True, slots=True)
class Pushed:
    """What became of a push.

    Attributes:
        url: of the repository.
        commit: the repository's latest one.
        changed: False where the repository already held the very same files, and nothing was committed.
        deleted: paths that the folder no longer has.
    """

    url: str
    commit: str
    changed: bool
    deleted: tuple[str, ...] = ()


def check_repo(repo: str) -> None:
    """Refuse what is no name of a repository, before anything is sent.

    Raises:
        ConfigError: see above.
        MissingExtraError: huggingface_hub is not installed.
    """
    hub = _hub()
    try:
        hub.utils.validate_repo_id(repo)
    except hub.errors.HFValidationError:
        valid = False
    else:
        valid = repo.count("/") == 1
    if not valid:
        raise ConfigError(f"{repo!r} is no repository name; give ORG/NAME of letters, digits, '-', '_' and '.'")


def push_folder(
    folder: Path, repo: str, kind: Kind, *, message: str, private: bool = False, replaces: Sequence[str] = (), endpoint: str | None = None
) -> Pushed:
    """Make the repository where it is not there yet, and commit the files of a folder.

    Args:
        folder: all of its files go out, but for hidden ones.
        repo: ORG/NAME.
        kind: which kind of repository.
        message: of the commit.
        private: only its owners see the repository; one that is public already is refused.
        replaces: patterns of paths that are the folder's own: those in the repository that it does not have are deleted.
        endpoint: address of the hub; None for the one of HF_ENDPOINT, else the public one.

    Raises:
        ConfigError: no token, no right, offline, an invalid name, a public repository where a private one is wanted.
        IncompleteFolderError: the folder holds no files.
        MissingExtraError: huggingface_hub is not installed.
    """
    hub = _hub()
    check_repo(repo)
    files = _files(folder)
    if hub.is_offline_mode():
        raise ConfigError("HF_HUB_OFFLINE is set, so nothing can be pushed; unset it")
    if hub.get_token() is None:
        raise ConfigError(f"no token for the hub; {_LOGIN}")
    api = hub.HfApi(endpoint=endpoint, library_name="syncabel")
    with _in_one_line(repo, api.endpoint):
        before = _made(api, repo, kind, private)
        if private and not before.private:
            raise ConfigError(f"{repo} is public on {api.endpoint}; make it private there first, or push without --private")
        stale = _stale(api, repo, kind, files, replaces)
        operations = [*(hub.CommitOperationAdd(path, str(file)) for path, file in files.items()), *(hub.CommitOperationDelete(path) for path in stale)]
        done = api.create_commit(repo, operations, commit_message=message, repo_type=kind, parent_commit=before.sha)
    return Pushed(f"{api.endpoint}/{'datasets/' if kind == 'dataset' else ''}{repo}", done.oid, done.oid != before.sha, stale)


def _hub() -> Any:
    try:
        import huggingface_hub
        import huggingface_hub.errors
        import huggingface_hub.utils
    except ModuleNotFoundError:
        raise MissingExtraError("hub", "huggingface_hub") from None
    return huggingface_hub


def _made(api: "HfApi", repo: str, kind: Kind, private: bool) -> Any:
    """Facts of the repository, which is made where it is not there."""
    try:
        return api.repo_info(repo, repo_type=kind)
    except _hub().errors.RepositoryNotFoundError:
        api.create_repo(repo, repo_type=kind, private=private or None, exist_ok=True)
    return api.repo_info(repo, repo_type=kind)


def _files(folder: Path) -> dict[str, Path]:
    """Path in the repository -> file, sorted; hidden files and folders stay at home."""
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    files = {name: path for name, path in files.items() if not any(part.startswith(".") for part in name.split("/"))}
    if not files:
        raise IncompleteFolderError(f"{folder} holds no files to push")
    return files


def _stale(api: "HfApi", repo: str, kind: Kind, files: dict[str, Path], replaces: Sequence[str]) -> tuple[str, ...]:
    there = (path for path in api.list_repo_files(repo, repo_type=kind) if path not in files and path != _ATTRIBUTES)
    return tuple(sorted(path for path in there if any(fnmatch.fnmatch(path, pattern) for pattern in replaces)))


@contextmanager
def _in_one_line(repo: str, endpoint: str) -> Iterator[None]:
    """Errors of the hub's client, which are pages, as one line that says what to do."""
    hub = _hub()
    status_error: Any = hub.errors.HfHubHTTPError
    transport_error = status_error.__bases__[0]  # of the HTTP library, which is another one from version to version
    try:
        yield
    except status_error as error:
        raise ConfigError(_by_status(error, repo, endpoint)) from None
    except transport_error as error:
        raise ConfigError(f"{endpoint} cannot be reached ({type(error).__name__}); check the network and push again") from None
    except RuntimeError as error:
        # How the client reports a file that could not be sent.
        raise ConfigError(f"{repo}: a file could not be sent ({type(error.__cause__ or error).__name__}); push again") from None
    except ValueError as error:
        raise ConfigError(f"{repo}: the hub refused the folder ({' '.join(str(error).split())})") from None


def _by_status(error: Any, repo: str, endpoint: str) -> str:
    status = error.response.status_code
    if status == 401:
        return f"{endpoint} does not know the token; {_LOGIN}"
    if status == 403:
        return f"the token may not write to {repo} on {endpoint}; ask its owner for the right, or use a token that has it"
    if status == 404:
        return f"{repo} is not to be found on {endpoint}, or the token may not see it"
    if status in (409, 412):
        return f"{repo} was changed by somebody else meanwhile; push again"
    if status == 429 or status >= 500:
        return f"{endpoint} answers with status {status}; push again later"
    return f"{endpoint} refuses {repo} with status {status}"
