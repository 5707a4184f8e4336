"""Knowledge bases: concepts and their names as tables, from any vocabulary, and what is asked of them.

`base` is the knowledge base in use over a mapped `index`; `tables` makes its tables out of what a reader hands back
(`vocabulary`); `manifest` says what a saved folder holds.  There is one reader per format.
"""

from syncabel.kb.base import SHIPPED, KnowledgeBase
from syncabel.kb.manifest import Manifest
from syncabel.kb.medic import read_medic
from syncabel.kb.obo import read_obo
from syncabel.kb.table import read_table
from syncabel.kb.vocabulary import About, Entry, Frames, Vocabulary

__all__ = ["SHIPPED", "About", "Entry", "Frames", "KnowledgeBase", "Manifest", "Vocabulary", "read_medic", "read_obo", "read_table"]
