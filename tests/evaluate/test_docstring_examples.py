"""The worked examples in the docstrings of the evaluation are true."""

import doctest
import importlib
import pkgutil

import pytest

import syncabel.evaluate

MODULES = ["syncabel.bootstrap", *(f"syncabel.evaluate.{module.name}" for module in pkgutil.iter_modules(syncabel.evaluate.__path__))]
# Modules of metrics that a reader must be able to check by hand.
WORKED = {f"syncabel.evaluate.{name}" for name in ("averages", "hierarchy", "nil", "protocols", "ranking")}


@pytest.mark.parametrize("name", MODULES)
def test_examples_give_what_they_say(name):
    failed, tried = doctest.testmod(importlib.import_module(name))
    assert not failed
    assert tried or name not in WORKED, "each metric has a worked example"


def test_every_protocol_has_a_worked_example():
    from syncabel.evaluate.protocols import PROTOCOLS

    assert all(">>> " in (rule.__doc__ or "") for rule in PROTOCOLS.values())
