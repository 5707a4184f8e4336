"""The engine that stands in where stored answers are only read again."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from data_gen.chat.engine import Call, Reply, Sampling
from syncabel.errors import ConfigError

__all__ = ["StoredEngine"]


@dataclass(frozen=True, slots=True)
class StoredEngine:
    """Knows what the answers were made with and completes nothing.

    Attributes:
        name, model, sampling: see `ChatEngine`, of the engine that wrote the answers.
    """

    name: str
    model: str
    sampling: Sampling
    local: bool = True
    version: str = ""

    @property
    def settings(self) -> dict[str, str]:
        """None are known."""
        return {}

    def replies(self, calls: Iterable[Call]) -> Iterator[Reply]:  # noqa: ARG002
        """Refuses.

        Raises:
            ConfigError: always.
        """
        raise ConfigError("stored answers are read again and nothing is asked; leave --reparse out to ask the model")
