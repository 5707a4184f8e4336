"""Corpora as rows: where each comes from, under what terms, which file is which split, which reader takes it."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from syncabel.types import Split

__all__ = ["SOURCES", "Source", "SourceFile", "split_of"]


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One official file.

    Attributes:
        name: as published, without `.gz`.
        split: train, dev or test.
        sha256: of the uncompressed content, hexadecimal.
    """

    name: str
    split: Split
    sha256: str


@dataclass(frozen=True, slots=True)
class Source:
    """One corpus.

    Attributes:
        title: its name in print.
        licence: in words.
        obtain: how to get the files.
        format: a key of `syncabel.corpora.FORMATS`.
        files: the official ones.
        language: ISO 639-1 code.
        shareable: whether its text may go to a host that is not this machine; no, unless its owner says otherwise.
    """

    title: str
    licence: str
    obtain: str
    format: str
    files: tuple[SourceFile, ...]
    language: str = "en"
    shareable: bool = False


SOURCES: Mapping[str, Source] = MappingProxyType(
    {
        "ncbi_disease": Source(
            title="NCBI disease corpus (Doğan, Leaman and Lu, 2014)",
            licence="public domain (United States Government Work)",
            obtain="https://www.ncbi.nlm.nih.gov/research/bionlp/Data/disease/",
            format="pubtator-ncbi",
            files=(
                SourceFile("NCBItrainset_corpus.txt", "train", "f311381b28a6d0f641f57f4a963bb83619c2bdec5cd9caabb1381f894d5db817"),
                SourceFile("NCBIdevelopset_corpus.txt", "dev", "02db559974624ae9cbe6cd95d64d953e6926bb63afb6b25b63e53bd8b41a4b55"),
                SourceFile("NCBItestset_corpus.txt", "test", "61c8050bf6979ef7b943ec1158dfc03b651ea3367d4c37356f9de4841e85c9a3"),
            ),
        ),
        "bc5cdr": Source(
            title="BioCreative V chemical–disease relation corpus (Li et al., 2016)",
            licence="public domain (NLM notice)",
            obtain="https://biocreative.bioinformatics.udel.edu/tasks/biocreative-v/track-3-cdr/",
            format="pubtator-bc5cdr",
            files=(
                SourceFile("CDR_TrainingSet.PubTator.txt", "train", "7afcec134e3d4871e74b0398d92850d3c9ac94c0bdc780003f2d60184c012bd8"),
                SourceFile("CDR_DevelopmentSet.PubTator.txt", "dev", "9e18d8e700168887a7919e62f67ac2ce2357e3f409a48ee992906abdd80fe3e5"),
                SourceFile("CDR_TestSet.PubTator.txt", "test", "a3c48d5f35bdfce20c2371778abedc9fd24d1da092207072e5181ad53c8d0e2f"),
            ),
        ),
    }
)


def split_of(name: str) -> Split | None:
    """The split of an official file, told by its name with or without `.gz`; None for any other file."""
    plain = name.removesuffix(".gz")
    return next((file.split for source in SOURCES.values() for file in source.files if file.name == plain), None)
