"""Run-time type checks: with them, an argument of a wrong type is refused before our own code."""

import os

import pytest

TYPE_CHECKS = "JAXCONV_CHECK_TYPES" in os.environ
WITHOUT_TYPE_CHECKS = pytest.mark.skipif(TYPE_CHECKS, reason="the type checks refuse the argument")
