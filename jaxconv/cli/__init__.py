"""The command line: one module per command, found by its subclass of Command."""
