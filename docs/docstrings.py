"""Docstrings as the site shows them: their roles become links, and their examples code."""

import re
from typing import Any

import griffe

import jaxconv

ROLE = re.compile(r":(?:func|class|meth|mod):`([\w.]+)`")


class AsMarkdown(griffe.Extension):
    """Rewrites each docstring before it is parsed."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite that of one object."""
        if obj.docstring is not None:
            text = ROLE.sub(_link, obj.docstring.value)
            obj.docstring.value = text.replace("Example:\n", "Examples:\n")


def _link(role: re.Match[str]) -> str:
    """A link to what the pages document; code for all else."""
    name = role[1]
    return f"[`{name}`][jaxconv.{name}]" if name in jaxconv.__all__ else f"`{name}`"
