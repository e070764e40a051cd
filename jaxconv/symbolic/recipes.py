"""Recipes: how numbers are computed from sizes, as graphs of functions and their arguments."""

import functools
from collections.abc import Callable
from typing import Any


def remembered(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function find its answer once for each recipe.

    Another recipe may use the same one twice, and the next one that one: after 50 such steps it
    occurs 2**50 times.

    Args:
        function: of a recipe, which keeps the answers; or of another number, and what else is
            hashable. Nothing is kept where it raises an error.

    Returns:
        The function.
    """

    @functools.wraps(function)
    def once(value: Any, *arguments: Any) -> Any:
        answers = getattr(value, "answers", None)
        if answers is None:
            return function(value, *arguments)
        question = function, *arguments
        if question not in answers:
            answers[question] = function(value, *arguments)
        return answers[question]

    return once
