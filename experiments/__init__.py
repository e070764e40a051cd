"""Experiments: one script a question, whose docstring says how to run it and what to expect."""
