"""Documents of a few words for the grids of scripts/evidence.py and scripts/efficiency.py, and a training of seconds."""

from dataclasses import replace

from syncabel.types import Document, Mention, Span

# Of three steps of four examples: a whole number of them makes the loss tokens equal but for a part, see the grids' tolerance.
SECONDS = {
    "steps": 3, "batch": 4, "vocabulary": 300, "hidden-size": 32, "intermediate-size": 64, "num-layers": 2, "num-heads": 4,
    "per-concept": 2, "hold-out": 0.4, "plan-seed": 1, "beams": 2, "free-tokens": 6,
}  # fmt: skip


def document(number: str, text: str, *named: tuple[str, str]) -> Document:
    """A text whose mentions are (surface, code)."""
    spans = [(Span(text.index(surface), text.index(surface) + len(surface)), surface, code) for surface, code in named]
    return Document(number, text, tuple(Mention(f"m{i}", (span,), surface, "Disease", ((code,),)) for i, (span, surface, code) in enumerate(spans)))


FIT = tuple(
    replace(document(f"fit-{i}", text, named), split="train")
    for i, (text, named) in enumerate(
        (
            ("The boy had angina once more.", ("angina", "A:3")),
            ("A sclerosis was seen early on.", ("sclerosis", "A:1")),
            ("She came with angina at night.", ("angina", "A:3")),
        )
    )
)
TEST = (
    document("t1", "His angina and his stenocardia are new.", ("angina", "A:3"), ("stenocardia", "A:4")),
    document("t2", "A cold, a heart disease and a stenosis.", ("cold", "A:5"), ("heart disease", "A:8"), ("stenosis", "A:2")),
)
