"""What is fuzzed: every reader with a small valid source whose bytes are then damaged."""

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from syncabel.corpora import FORMATS
from syncabel.kb import KnowledgeBase, Vocabulary
from syncabel.kb.readers.icd10cm import read_icd10cm
from syncabel.kb.readers.medic import read_medic
from syncabel.kb.readers.mesh import read_mesh
from syncabel.kb.readers.obo import read_obo
from syncabel.kb.readers.owl import read_owl
from syncabel.kb.readers.rf2 import read_rf2
from syncabel.kb.readers.rrf import read_rrf
from syncabel.kb.readers.table import read_gazetteer, read_names, read_table


class Target(NamedTuple):
    """A reader and a source it reads.

    Attributes:
        read: reads the whole of the path.
        files: path inside the source -> content; a single file where there is one path and `folder` is false.
        folder: whether the reader is given the folder.
    """

    read: Callable[[Path], object]
    files: Mapping[str, bytes]
    folder: bool = False


def lines(*rows: str, end: str = "\n") -> bytes:
    return "".join(row + end for row in rows).encode()


def knowledge_base(read: Callable[..., Vocabulary], **options: object) -> Callable[[Path], object]:
    def whole(path: Path) -> KnowledgeBase:
        vocabulary = read(path, **options)
        return KnowledgeBase.build(vocabulary.content, vocabulary.about)

    return whole


def corpus(format_name: str) -> Callable[[Path], object]:
    return lambda path: FORMATS[format_name](path)


OBO = lines(
    "format-version: 1.2", "ontology: demo", "", "[Term]", "id: D:1", "name: disease", "namespace: demo", 'def: "Any." [X:1]', "",
    "[Term]", "id: D:2", "name: flu", 'synonym: "grippe" EXACT []', "is_a: D:1 ! disease", "alt_id: D:9", "xref: ICD10:J11", "relationship: part_of D:1", "",
    "[Term]", "id: D:3", "name: old", "is_obsolete: true", "consider: D:2",
)  # fmt: skip
OWL = b"""<?xml version="1.0"?>
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:rdfs="http://www.w3.org/2000/01/rdf-schema#"
 xmlns:owl="http://www.w3.org/2002/07/owl#" xmlns:oboInOwl="http://www.geneontology.org/formats/oboInOwl#">
<owl:Ontology rdf:about="http://purl.obolibrary.org/obo/demo.owl"/>
<owl:Class rdf:about="http://purl.obolibrary.org/obo/D_1"><rdfs:label>disease</rdfs:label></owl:Class>
<owl:Class rdf:about="http://purl.obolibrary.org/obo/D_2"><rdfs:label>flu</rdfs:label>
<rdfs:subClassOf rdf:resource="http://purl.obolibrary.org/obo/D_1"/><oboInOwl:hasExactSynonym>grippe</oboInOwl:hasExactSynonym></owl:Class>
</rdf:RDF>
"""
RRF = {
    "META/MRCONSO.RRF": lines(
        "C0000005|ENG|P|L1|PF|S1|Y|A1||M1|D1|MSH|PEP|D1|albumin|0|N|256|",
        "C0000005|FRE|P|L2|PF|S2|Y|A2||M1|D1|MSHFRE|SY|D1|albumine|0|N||",
        "C0000039|ENG|S|L3|VO|S3|N|A3||||MTH|PN|C1|serum protein|0|N||",
    ),
    "META/MRSTY.RRF": lines("C0000005|T116|A1.4|Protein|AT1|256|", "C0000039|T121|A1|Substance|AT2||"),
    "META/MRREL.RRF": lines("C0000005|A1|AUI|PAR|C0000039|A3|AUI|inverse_isa|R1||MSH|MSH|||N||"),
    "META/MRDEF.RRF": lines("C0000005|A1|AT3||MSH|A protein.|N||"),
}  # fmt: skip
_T = "Snapshot/Terminology"
RF2 = {
    f"{_T}/sct2_Concept_Snapshot_INT_20240101.txt": lines(
        "id\teffectiveTime\tactive\tmoduleId\tdefinitionStatusId",
        *(
            f"{code}\t20240101\t{active}\t900000000000207008\t900000000000074008"
            for code, active in (("138875005", 1), ("64572001", 1), ("6142004", 1), ("73211009", 0))
        ),
        end="\r\n",
    ),
    f"{_T}/sct2_Description_Snapshot-en_INT_20240101.txt": lines(
        "id\teffectiveTime\tactive\tmoduleId\tconceptId\tlanguageCode\ttypeId\tterm\tcaseSignificanceId",
        *(
            f"{i}\t20240101\t1\t900000000000207008\t{code}\ten\t{kind}\t{term}\t900000000000448009"
            for i, (code, kind, term) in enumerate(
                [
                    ("138875005", "900000000000003001", "SNOMED CT Concept (SNOMED RT+CTV3)"),
                    ("64572001", "900000000000003001", "Disease (disorder)"), ("64572001", "900000000000013009", "Disease"),
                    ("6142004", "900000000000003001", "Influenza (disorder)"), ("6142004", "900000000000013009", "Flu"),
                ],
                101,
            )
        ),
        end="\r\n",
    ),
    f"{_T}/sct2_Relationship_Snapshot_INT_20240101.txt": lines(
        "id\teffectiveTime\tactive\tmoduleId\tsourceId\tdestinationId\trelationshipGroup\ttypeId\tcharacteristicTypeId\tmodifierId",
        *(
            f"{i}\t20240101\t1\t900000000000207008\t{child}\t{parent}\t0\t116680003\t900000000000011006\t900000000000451002"
            for i, (child, parent) in enumerate([("64572001", "138875005"), ("6142004", "64572001")], 201)
        ),
        end="\r\n",
    ),
}  # fmt: skip
MESH = b"""<?xml version="1.0"?>
<DescriptorRecordSet LanguageCode="eng"><DescriptorRecord DescriptorClass="1"><DescriptorUI>D000001</DescriptorUI>
<DescriptorName><String>Calcimycin</String></DescriptorName><TreeNumberList><TreeNumber>D03.633</TreeNumber></TreeNumberList>
<ConceptList><Concept PreferredConceptYN="Y"><ConceptUI>M0000001</ConceptUI><ConceptName><String>Calcimycin</String></ConceptName>
<ScopeNote>An antibiotic.</ScopeNote><TermList><Term ConceptPreferredTermYN="Y"><TermUI>T1</TermUI><String>Calcimycin</String></Term>
<Term ConceptPreferredTermYN="N"><TermUI>T2</TermUI><String>A-23187</String></Term></TermList></Concept></ConceptList></DescriptorRecord>
</DescriptorRecordSet>
"""
ICD = b"""<?xml version="1.0" encoding="utf-8"?>
<ICD10CM.tabular><version>2024</version><chapter><name>10</name><desc>Respiratory</desc>
<section id="J09-J18"><desc>Influenza</desc><diag><name>J11</name><desc>Influenza, virus not identified</desc>
<inclusionTerm><note>Influenza NOS</note></inclusionTerm><diag><name>J11.1</name><desc>with respiratory manifestations</desc></diag></diag>
</section></chapter></ICD10CM.tabular>
"""
PUBTATOR = lines(
    "1|t|Flu and fever.", "1|a|The flu is a disease.", "1\t0\t3\tFlu\tSpecificDisease\tD007251", "1\t8\t13\tfever\tModifier\tD005334|D000001", "",
)  # fmt: skip
CDR = lines("1|t|Flu and aspirin.", "1|a|The flu.", "1\t0\t3\tFlu\tDisease\tD007251", "1\t8\t15\taspirin\tChemical\tD001241", "1\tCID\tD001241\tD007251", "")
MEDMENTIONS = lines("1|t|Flu and fever.", "1|a|The flu.", "1\t0\t3\tFlu\tT047\tUMLS:C0021400", "1\t8\t13\tfever\tT184,T033\tC0015967", "")
BRAT = {
    "a/1.txt": "Grippe et fièvre élevée.\n".encode(),
    "a/1.ann": "T1\tDISO 0 6\tGrippe\n#1\tAnnotatorNotes T1\tC0021400\nT2\tDISO 10 16;17 23\tfièvre élevée\nN1\tReference T2 UMLS:C0015967\tFever\n".encode(),
    "b/2.txt": b"Nothing.\n",
    "b/2.ann": b"",
}
DOCUMENT = {"id": "1", "text": "Flu and fever.", "mentions": [{"id": "T1", "spans": [{"start": 0, "end": 3}], "text": "Flu", "type": "D", "answers": [["D1"]]}]}
BIGBIO = {
    "id": "0", "document_id": "1", "passages": [{"id": "1", "type": "title", "text": ["Flu and fever."], "offsets": [[0, 14]]}],
    "entities": [{"id": "2", "type": "D", "text": ["Flu"], "offsets": [[0, 3]], "normalized": [{"db_name": "MESH", "db_id": "D1"}]}],
    "events": [], "coreferences": [], "relations": [],
}  # fmt: skip
BIOC = {
    "documents": [
        {"id": "1", "passages": [{"offset": 0, "infons": {"type": "title"}, "text": "Flu and fever.", "annotations": [
            {"id": "2", "infons": {"type": "Disease", "identifier": "MESH:D007251"}, "text": "Flu", "locations": [{"offset": 0, "length": 3}]}]}]}
    ]
}  # fmt: skip
BIOC_XML = b"""<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE collection SYSTEM "BioC.dtd">
<collection><source>PubTator</source><date/><key/><document><id>1</id><passage><infon key="type">title</infon><offset>0</offset><text>Flu and fever.</text>
<annotation id="2"><infon key="type">Disease</infon><infon key="identifier">MESH:D007251</infon><location offset="0" length="3"/><text>Flu</text></annotation>
</passage></document></collection>
"""
SPACCC = {
    "train.tsv": lines(
        "filename\tlabel\tstart_span\tend_span\tspan\tcode\tsemantic_rel",
        "d1\tENFERMEDAD\t0\t5\tgripe\t6142004\tEXACT",
        "d1\tSINTOMA\t8\t14\tfiebre\tNO_CODE\t",
    ),
    "texts/d1.txt": b"gripe y fiebre.\n",
}


def zipped(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)  # ZipInfo: no time of day in it
    return buffer.getvalue()


TARGETS: dict[str, Target] = {
    "obo": Target(knowledge_base(read_obo, group="Disease"), {"demo.obo": OBO}),
    "owl": Target(knowledge_base(read_owl, group="Disease"), {"demo.owl": OWL}),
    "names": Target(knowledge_base(read_names, group="Disease"), {"names.tsv": lines("D:1\tflu\tP", "D:1\tgrippe\tS", "D:2\tfever\tP")}),
    "table": Target(
        knowledge_base(read_table, code_column="code", name_column="name", group_column="group"),
        {"table.csv": lines("code,name,group", 'D:1,"flu, acute",Disease', "D:2,fever,Finding")},
    ),
    "table-jsonl": Target(
        knowledge_base(read_table, code_column="code", name_column="name", group="Disease"),
        {"table.jsonl": lines(json.dumps({"code": "D:1", "name": "flu"}), json.dumps({"code": "D:2", "name": "fever"}))},
    ),
    "gazetteer": Target(
        knowledge_base(read_gazetteer),
        {"gazetteer.tsv": lines("code\tterm\tsemantic_tag\tmainterm\tlanguage", "6142004\tgripe\ttrastorno\t1\tes", "6142004\tinfluenza\ttrastorno\t0\tes")},
    ),
    "medic": Target(knowledge_base(read_medic), {"medic.txt": lines("D1|101||flu|grippe", "D2||fever")}),
    "mesh": Target(knowledge_base(read_mesh), {"desc2024.xml": MESH}),
    "icd10cm": Target(knowledge_base(read_icd10cm), {"icd10cm-tabular-2024.xml": ICD}),
    "umls": Target(knowledge_base(read_rrf), RRF, folder=True),
    "umls-zip": Target(knowledge_base(read_rrf), {"umls.zip": zipped(RRF)}),
    "snomed": Target(knowledge_base(read_rf2), RF2, folder=True),
    "pubtator-ncbi": Target(corpus("pubtator-ncbi"), {"c.txt": PUBTATOR}),
    "pubtator-bc5cdr": Target(corpus("pubtator-bc5cdr"), {"c.txt": CDR}),
    "pubtator-medmentions": Target(corpus("pubtator-medmentions"), {"c.txt": MEDMENTIONS}),
    "jsonl": Target(corpus("jsonl"), {"d.jsonl": lines(json.dumps(DOCUMENT), json.dumps(DOCUMENT | {"id": "2"}))}),
    "brat": Target(corpus("brat"), BRAT, folder=True),
    "bigbio": Target(corpus("bigbio"), {"b.json": json.dumps([BIGBIO]).encode()}),
    "bioc-xml": Target(corpus("bioc"), {"b.xml": BIOC_XML}),
    "bioc-json": Target(corpus("bioc"), {"b.json": json.dumps(BIOC).encode()}),
    "spaccc": Target(corpus("spaccc"), SPACCC, folder=True),
}
