"""Synthetic training sentences: writers behind one protocol, gates with reasons, a loop that survives being killed."""

from data_gen.generate import Manifest, generate_documents, run
from data_gen.mentions import perturb
from data_gen.short_forms import shared_short_forms
from data_gen.template import TemplateWriter
from data_gen.writer import Context, Generation, Writer

__all__ = ["Context", "Generation", "Manifest", "TemplateWriter", "Writer", "generate_documents", "perturb", "run", "shared_short_forms"]
