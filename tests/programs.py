"""The text of a program as it is lowered for a platform, which need not be there."""

import re

import jax


def lowered(function, *args, platform="cpu"):
    """The StableHLO of a function, whose name in it is always the same."""
    text = jax.jit(function).trace(*args).lower(lowering_platforms=(platform,)).as_text()
    return re.sub(r"@jit_\w+", "@program", text)
