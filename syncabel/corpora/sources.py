"""Corpora as rows: where each comes from, under what terms, which file is which split, which reader takes it."""

import gzip
import hashlib
import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

from syncabel.types import Split, as_split

__all__ = ["SOURCES", "Official", "Source", "SourceFile", "of_quaero", "source_of", "split_of", "verified"]

_LARGEST = 256 << 20  # bytes of content; more is no official file, and not worth a digest
_QUAERO_FILE = re.compile(r"(?:.*/)?(train|dev|test)/(?:EMEA|MEDLINE)(?:/[^/]*)?")  # as its archive lays its files out


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One official file.

    Attributes:
        name: as published, without `.gz`; with folders before it where sources have files of one name.
        split: train, dev or test; None where one file holds several.
        sha256: of the uncompressed content, hexadecimal; of an archive, of the archive; None where it is not known.
        part: whether it is read with another file of the source and is no corpus by itself.
    """

    name: str
    split: Split | None
    sha256: str | None
    part: bool = False


@dataclass(frozen=True, slots=True)
class Official:
    """What a path is of a source.

    Attributes:
        source: a key of `SOURCES`.
        split: train, dev or test; None where it holds several.
        file: the name as published; None for a folder unpacked from an archive.
        verified: whether the content has the SHA-256 of that file; None where there is none to compare, e.g. of a folder.
    """

    source: str
    split: Split | None
    file: str | None
    verified: bool | None


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
        answers: what several codes of one mention mean there, and what stands for none, in words.
        type_groups: annotated type -> group of the knowledge base the source was coded with; None where that base has no group of its own for it.
    """

    title: str
    licence: str
    obtain: str
    format: str
    files: tuple[SourceFile, ...]
    language: str = "en"
    shareable: bool = False
    answers: str = ""
    type_groups: Mapping[str, str] | None = None


_QUAERO_GROUPS: Mapping[str, str] = MappingProxyType(
    {
        "ANAT": "Anatomy",
        "CHEM": "Chemicals & Drugs",
        "DEVI": "Devices",
        "DISO": "Disorders",
        "GEOG": "Geographic Areas",
        "LIVB": "Living Beings",
        "OBJC": "Objects",
        "PHEN": "Phenomena",
        "PHYS": "Physiology",
        "PROC": "Procedures",
    }
)  # UMLS semantic groups, by their short and long names


def _medmentions(title: str, folder: str) -> Source:
    return Source(
        title=title,
        licence="CC0 1.0; codes are UMLS'",
        obtain="https://github.com/chanzuckerberg/MedMentions",
        format="pubtator-medmentions",
        files=(SourceFile(f"{folder}/data/corpus_pubtator.txt", None, None),),
        answers="one code a mention; the splits are lists of document ids beside the file",
    )


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
            answers="`|` and `+` join codes that are right together; -1 is none",
            type_groups=MappingProxyType(dict.fromkeys(("SpecificDisease", "DiseaseClass", "Modifier", "CompositeMention"), "Disease")),
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
            answers="`|` joins codes that are right together; -1 is none.  The groups are MeSH's; its mental disorders lie in Psychiatry and Psychology",
            type_groups=MappingProxyType({"Chemical": "Chemicals and Drugs", "Disease": "Diseases"}),
        ),
        "medmentions": _medmentions("MedMentions, all of UMLS (Mohan and Li, 2019)", "full"),
        "medmentions_st21pv": _medmentions("MedMentions ST21pv, 21 semantic types of 18 vocabularies (Mohan and Li, 2019)", "st21pv"),
        "quaero": Source(
            title="QUAERO French Medical Corpus, CLEF eHealth release (Névéol et al., 2014)",
            licence="GNU Free Documentation License",
            obtain="https://quaerofrenchmed.limsi.fr/",
            format="quaero",
            files=(SourceFile("quaero_brat.tar.gz", None, "546161395b9b8a031331f501d29e2d1e506f042b3d59effa58442864bbdf0961"),),
            language="fr",
            answers="codes in one note, apart by a space or a comma, are alternatives; an empty note is no annotation; 49 codes are misspelt and kept so",
            type_groups=_QUAERO_GROUPS,
        ),
        "spaccc": Source(
            title="SPACCC: DisTEMIST, MedProcNER/ProcTEMIST and SympTEMIST, Spanish clinical cases (Miranda-Escalada et al., 2022; Lima-López et al., 2023)",
            licence="texts CC BY 4.0; codes are SNOMED CT's",
            obtain="https://temu.bsc.es/",
            format="spaccc",
            files=(
                SourceFile("train.tsv", "train", "b37830f6228be39e1c143b482c56a3f127ba22beed8b85265343bca391570898"),
                SourceFile("test.tsv", "test", "eda5f2e4c074993cf612e8a81620d1753e96c0b926c220fe514b693dd2cf7901"),
                SourceFile("texts.tar.gz", None, "8156316f33cb09ac5d72f6c45dcc86fc034e5830f3e58b8b42a5307a00d6c91f", part=True),
            ),
            language="es",
            answers="`+` joins codes that are right together, NO_CODE among them being left out; NO_CODE alone, and NOMAP, is none.  No type has one group: "
            "codes of ENFERMEDAD and SINTOMA are disorders, findings and abnormal morphologies alike, those of PROCEDIMIENTO procedures and regimes",
        ),
        "hpo": Source(
            title="ID-68 and GSC+, phenotypes in case reports and abstracts (Anazi et al., 2017; Lobo, Lamurias and Couto, 2017)",
            licence="publicly distributed, no licence stated",
            obtain="https://github.com/lasigeBioTM/IHP",
            format="span-jsonl",
            files=(
                SourceFile("id68.jsonl", None, "b1a51b4393d87048aa9bd9629e40ee3aeceb4add29f56bc145753e0243b3989d"),
                SourceFile("gsc_plus.jsonl", None, "67ed19ba3354b60e5e0cbb96c54e10c1f8b883a37b8c352d7fc54ac1729e7260"),
            ),
            answers="one code a mention, some of them alternative ids of HPO, which names no groups: the one type's is that of the whole ontology",
            type_groups=MappingProxyType({"Phenotype": "Phenotype"}),
        ),
    }
)


def split_of(name: str) -> Split | None:
    """The split of an official file, told by its name with or without `.gz`; None for any other file."""
    plain = name.removesuffix(".gz")
    return next((file.split for source in SOURCES.values() for file in source.files if file.name == plain), None)


def source_of(path: Path | str) -> Official | None:
    """Which source a path is from: a file by its content under any name, else by its name; a folder by the layout of the archive it is from.

    Args:
        path: a file, an archive or a folder.

    Returns:
        None for what is no official file as far as can be told.

    Raises:
        OSError: it cannot be read.
    """
    path = Path(path)
    if path.is_dir():
        return _of_folder(path)
    digest = _digest(path)
    known = [(name, file) for name, source in SOURCES.items() for file in source.files]
    if same := next(((name, file) for name, file in known if file.sha256 is not None and file.sha256 == digest), None):
        return Official(same[0], same[1].split, same[1].name, True)
    plain = f"/{path.absolute().as_posix().removesuffix('.gz')}"
    # An archive keeps its suffix, other files may be compressed or not.
    named = next(((name, file) for name, file in known if plain.endswith(f"/{file.name.removesuffix('.gz')}")), None)
    if named:
        return Official(named[0], named[1].split, named[1].name, None if named[1].sha256 is None else False)
    return Official("quaero", _quaero_split(path.absolute().as_posix()), None, None) if of_quaero(path.absolute().as_posix()) else None


def verified(paths: Iterable[Path | str]) -> dict[Path, Official | None]:
    """What each path is of a source, in the order given; see `source_of`."""
    return {Path(path): source_of(path) for path in paths}


def of_quaero(name: str) -> bool:
    """Whether a path, `/` between parts, lies where the archive of QUAERO has its files."""
    return _QUAERO_FILE.fullmatch(name) is not None


def _quaero_split(name: str) -> Split | None:
    found = _QUAERO_FILE.fullmatch(name)
    return as_split(found.group(1)) if found else None


def _of_folder(path: Path) -> Official | None:
    name = path.absolute().as_posix()
    if of_quaero(name):
        return Official("quaero", _quaero_split(name), None, None)
    if path.name in ("train", "dev", "test") and any((path / part).is_dir() for part in ("EMEA", "MEDLINE")):
        return Official("quaero", as_split(path.name), None, None)
    if any((path / above / "test" / part).is_dir() for above in ("", "corpus") for part in ("EMEA", "MEDLINE")):
        return Official("quaero", None, None, None)
    return None


def _digest(path: Path) -> str | None:
    """SHA-256 of a file's content, uncompressed unless it is an archive; None where it is too large, or damaged."""
    packed = path.suffix == ".gz" and not path.name.endswith(".tar.gz")
    if path.stat().st_size > _LARGEST:
        return None
    digest, left = hashlib.sha256(), _LARGEST
    with gzip.open(path, "rb") if packed else path.open("rb") as handle:
        try:
            for block in iter(partial(handle.read, 1 << 20), b""):
                digest.update(block)
                left -= len(block)
                if left < 0:
                    return None
        except (gzip.BadGzipFile, EOFError, zlib.error):
            return None  # its reader says so
    return digest.hexdigest()
