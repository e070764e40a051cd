"""Functions compiled ahead of time, for this machine or for a file."""
