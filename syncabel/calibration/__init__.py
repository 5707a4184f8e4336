"""Calibrated confidence: how likely a linker's answer is right, when to give none, and which codes hold the right one.

`fit` learns it on documents that chose nothing; it needs scikit-learn.  `store` is the file beside a model's weights, `features` what it looks
at, `seen` the digests of training mentions, `thresholds` what a precision or a coverage asks for, `answering` puts it to use: those run
on numpy and rapidfuzz, without knowledge base, tables or corpus.
"""

from syncabel.calibration.answering import Answering, load_answering
from syncabel.calibration.store import Calibration, Digests, HeldFor

__all__ = ["Answering", "Calibration", "Digests", "HeldFor", "load_answering"]
