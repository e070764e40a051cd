"""Run-time type checks: with them, an argument of a wrong type is refused before our own code."""

import os

import pytest

WITHOUT_TYPE_CHECKS = pytest.mark.skipif(
    "JAXCONV_CHECK_TYPES" in os.environ, reason="the type checks refuse the argument"
)
