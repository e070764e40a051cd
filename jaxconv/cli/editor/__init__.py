"""The language server, which alone needs pygls: ``jaxconv lsp`` imports it when it runs."""
