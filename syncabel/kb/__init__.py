"""Knowledge bases: concepts and their names as tables, from any vocabulary, and what is asked of them.

`base` is the knowledge base in use over a mapped `index`; `tables` makes its tables out of what a reader hands back
(`vocabulary`); `manifest` says what a saved folder holds.  There is one reader per format, and `formats` knows them all;
`merge` and `select` make one knowledge base of others, `search`, `graph`, `summary` and `diff` look into them.
"""

from syncabel.kb.base import SHIPPED, KnowledgeBase
from syncabel.kb.diff import CHANGES, KbDiff, diff
from syncabel.kb.graph import Graph, graph, neighbourhood, shortest_path
from syncabel.kb.manifest import Manifest
from syncabel.kb.merge import merge
from syncabel.kb.readers.formats import FORMATS, Format, format_of, read_vocabulary
from syncabel.kb.readers.icd10cm import read_icd10cm
from syncabel.kb.readers.medic import read_medic
from syncabel.kb.readers.mesh import read_mesh
from syncabel.kb.readers.obo import read_obo
from syncabel.kb.readers.owl import read_owl
from syncabel.kb.readers.rf2 import read_rf2
from syncabel.kb.readers.rrf import read_rrf
from syncabel.kb.readers.table import read_gazetteer, read_names, read_table
from syncabel.kb.search import Hit, search
from syncabel.kb.select import Filter, select
from syncabel.kb.summary import Summary, summarize
from syncabel.kb.vocabulary import About, Entry, Frames, Vocabulary

__all__ = [
    "CHANGES",
    "FORMATS",
    "SHIPPED",
    "About",
    "Entry",
    "Filter",
    "Format",
    "Frames",
    "Graph",
    "Hit",
    "KbDiff",
    "KnowledgeBase",
    "Manifest",
    "Summary",
    "Vocabulary",
    "diff",
    "format_of",
    "graph",
    "merge",
    "neighbourhood",
    "read_gazetteer",
    "read_icd10cm",
    "read_medic",
    "read_mesh",
    "read_names",
    "read_obo",
    "read_owl",
    "read_rf2",
    "read_rrf",
    "read_table",
    "read_vocabulary",
    "search",
    "select",
    "shortest_path",
    "summarize",
]
