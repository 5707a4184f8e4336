"""Knowledge bases: concepts and their names as tables, from OBO, `code name P|S` tables or MEDIC.

`base` is the knowledge base in use, `tables` makes its tables out of concepts, `manifest` says what a saved folder
holds, and there is one reader per format: `obo`, `table`, `medic`.
"""

from syncabel.kb.base import SHIPPED, KnowledgeBase
from syncabel.kb.manifest import Manifest
from syncabel.kb.medic import read_medic
from syncabel.kb.obo import read_obo
from syncabel.kb.table import read_table

__all__ = ["SHIPPED", "KnowledgeBase", "Manifest", "read_medic", "read_obo", "read_table"]
