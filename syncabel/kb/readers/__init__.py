"""One reader per vocabulary format, each `read_X(source, *, options) -> Vocabulary`; `formats` is the table of them.

Shared by several: `delimited` (RRF, RF2), `rows` (tables), `ontology` (OBO, OWL), `xmlfile` (MeSH, ICD-10-CM, OWL).
"""
