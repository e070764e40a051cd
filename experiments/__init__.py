"""Experiments: one script per question. Its docstring says how to run it and what to expect."""
