"""The final folder of a model: complete, standing alone, loadable with plain transformers.

`folder` writes it, `card` fills the model card from measured facts.
"""

from syncabel.export.folder import COPIED, export_model, flat_source

__all__ = ["COPIED", "export_model", "flat_source"]
