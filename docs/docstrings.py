"""Prepare docstrings for the site: roles become links, and examples become code."""

import re
from typing import Any

import griffe

import jaxconv

ROLE = re.compile(r":(?:func|class|meth|mod):`([\w.]+)`")


class AsMarkdown(griffe.Extension):
    """Rewrites each docstring before griffe parses it."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of one object."""
        if obj.docstring is not None:
            text = ROLE.sub(_link, obj.docstring.value)
            obj.docstring.value = text.replace("Example:\n", "Examples:\n")


def _link(role: re.Match[str]) -> str:
    """Return a link to a documented name, and code for any other name."""
    name = role[1]
    return f"[`{name}`][jaxconv.{name}]" if name in jaxconv.__all__ else f"`{name}`"
