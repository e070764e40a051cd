"""``jaxconv lsp``: proofs in an editor."""

import argparse
import sys

from jaxconv.cli.command import Command


class LspCommand(Command):
    """Speak the language server protocol on standard input and output."""

    name = "lsp"
    help = "prove shapes in an editor, as a language server"
    description = (
        "Speak the language server protocol on standard input and output. An editor starts it, and "
        "shows for each saved file which sizes its functions accept and what each layer returns."
    )
    epilog = "docs/editor.md has the settings for VS Code, Neovim and Helix."
    position = 75
    extra = "editor"

    def run(self, options: argparse.Namespace) -> None:
        """Serve one editor until it disconnects.

        Args:
            options: there are none.
        """
        del options
        from jaxconv.cli.editor.server import ShapeServer

        # The server closes what it writes to. Standard output stays open: the command flushes it.
        with open(sys.stdout.fileno(), "wb", closefd=False) as output:
            ShapeServer().start_io(stdout=output)
