"""The commands of the command line, one a module: ``add`` says what one takes, and what runs it."""
