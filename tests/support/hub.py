"""A Hugging Face hub on this machine: the requests that downloads and uploads make."""

import base64
import contextlib
import hashlib
import http.server
import json
import re
import threading
from urllib.parse import unquote, urlsplit


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers requests for the repositories of its server."""

    protocol_version = "HTTP/1.1"

    def reply(self, status, content=b"", **headers):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def read(self):
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def do_GET(self):
        path = unquote(urlsplit(self.path).path)
        found = re.fullmatch(r"/([\w.-]+/[\w.-]+)/resolve/([^/]+)/(.+)", path)
        self.server.asked.append(path)
        if not found or found[1] not in self.server.repositories:
            self.reply(404, X_Error_Code="RepoNotFound")
        elif found[3] not in self.server.repositories[found[1]]:
            self.reply(404, X_Error_Code="EntryNotFound", X_Repo_Commit="a" * 40)
        else:
            content = self.server.repositories[found[1]][found[3]]
            etag = self.server.etags.get(found[3]) or etag_of(found[3], content)
            files = sorted(self.server.repositories[found[1]].items())
            commit = hashlib.sha1(repr(files).encode()).hexdigest()
            self.reply(200, content, ETag=f'"{etag}"', X_Repo_Commit=commit)

    do_HEAD = do_GET  # noqa: N815

    def do_POST(self):
        path, body = urlsplit(self.path).path, self.read()
        if not self.headers.get("Authorization"):
            self.reply(401, {"error": "Invalid username or password."})
        elif path == "/api/repos/create":
            asked = json.loads(body)
            owner = asked.get("organization") or "me"
            name = f"{owner}/{asked['name']}"
            self.server.repositories.setdefault(name, {})
            self.reply(200, {"url": f"{self.server.address}/{name}", "name": name, "id": "1"})
        elif path.endswith("/preupload/main"):
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]
            self.reply(200, {"files": files})
        elif found := re.fullmatch(r"/api/models/(.+/.+)/commit/main", path):
            for line in filter(None, body.splitlines()):
                entry = json.loads(line)
                if entry["key"] == "file":
                    value = entry["value"]
                    content = base64.b64decode(value["content"])
                    self.server.repositories[found[1]][value["path"]] = content
            url = f"{self.server.address}/{found[1]}/commit/{'b' * 40}"
            self.reply(200, {"success": True, "commitOid": "b" * 40, "commitUrl": url})
        else:
            self.reply(200, {"errors": [], "warnings": []})  # validates a model card

    def log_message(self, *args):
        pass


def etag_of(file, content):
    """The hash of a large file is its sha256, that of others the one of Git."""
    if file.endswith((".safetensors", ".bin")):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0%b" % (len(content), content)).hexdigest()


@contextlib.contextmanager
def serving(repositories):
    """Serve repositories: their files by name.

    The server has its ``address``, ``etags`` that differ from the content, by name of the file,
    and the paths that were ``asked`` for.
    """
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.repositories, server.etags, server.asked = repositories, {}, []
    server.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
