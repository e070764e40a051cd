"""The condition on sizes, as ``--where`` takes it, that excludes what fails."""

import re

from jaxconv.prover.verdict import Verdict
from jaxconv.symbolic.domains import domain_of
from jaxconv.symbolic.sets import SizeSet
from jaxconv.symbolic.spec_errors import SpecError

# From the words of a SizeSet to those of a condition.
WORDS = (
    (
        r"\b(\w+(?: and \w+)+) multiples of (\d+)",
        lambda m: ", ".join(f"{name} % {m[2]} == 0" for name in m[1].split(" and ")),
    ),
    (r"\b(\w+) not a multiple of (\d+)", r"\1 % \2 != 0"),
    (r"\b(\w+) a multiple of (\d+)", r"\1 % \2 == 0"),
    (r"\b(\w+) odd\b", r"\1 % 2 == 1"),
    (r"\b(\w+) even\b", r"\1 % 2 == 0"),
    (r"(?<![<>=!])=(?!=)", "=="),
)


def condition_of(sizes: SizeSet) -> str:
    """Write a set of sizes as a condition.

    Args:
        sizes: the sizes.

    Returns:
        The condition; empty where there is no short one.
    """
    text = str(sizes)
    for pattern, written in WORDS:
        text = re.sub(pattern, written, text)
    try:
        means = SizeSet(domain_of(sizes.names, text))
    except SpecError:
        return ""
    return text if means == sizes else ""


def excluding(verdict: Verdict) -> str:
    """Say how the sizes that fail are excluded, where others are accepted.

    Args:
        verdict: the result of a proof.

    Returns:
        A sentence; empty where there is nothing to exclude.
    """
    accepts = verdict.accepts if verdict.tried is None else verdict.accepts - verdict.tried
    if verdict.status != "refuted" or accepts.is_empty():
        return ""
    condition = condition_of(accepts)
    flag = f'--where "{condition}"' if condition else "--where and a condition on the sizes"
    return f"If the sizes that fail are never used, exclude them: {flag}."
