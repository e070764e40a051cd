// Starts `jaxconv lsp` for Python files, and stops it with the editor.
const { workspace } = require("vscode");
const { LanguageClient } = require("vscode-languageclient/node");

let client;

function activate() {
  const command = workspace.getConfiguration("jaxconv").get("path");
  const server = { command, args: ["lsp"] }; // runs in the workspace folder
  const documentSelector = [{ scheme: "file", language: "python" }];
  client = new LanguageClient("jaxconv", "jaxconv", server, { documentSelector });
  return client.start();
}

function deactivate() {
  return client?.stop();
}

module.exports = { activate, deactivate };
