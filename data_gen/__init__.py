"""Synthetic training sentences: writers behind one protocol, gates with reasons, a loop that survives being killed."""

from data_gen.folder import Manifest
from data_gen.generate import generate_documents, reparse, run
from data_gen.mentions import perturb
from data_gen.names import NamesWriter
from data_gen.short_forms import shared_short_forms
from data_gen.surroundings import Surroundings
from data_gen.template import TemplateWriter
from data_gen.writer import Context, Failure, Generation, Request, Writer

__all__ = [
    "Context",
    "Failure",
    "Generation",
    "Manifest",
    "NamesWriter",
    "Request",
    "Surroundings",
    "TemplateWriter",
    "Writer",
    "generate_documents",
    "perturb",
    "reparse",
    "run",
    "shared_short_forms",
]
