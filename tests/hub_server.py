"""A loopback server that speaks enough of the Hub's API for `datasets` and `huggingface_hub` to load from it.

Folders are served as repositories: every file of the folder, at one commit (the hash of their contents), under the
branch "main". Only addresses of this machine are ever asked.

    with serve(datasets={"owner/name": folder}) as address:
        subprocess.run(..., env={**os.environ, "HF_ENDPOINT": address})
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

WHEN = "2024-09-24T00:00:00.000Z"


@dataclass(frozen=True)
class Repository:
    """A folder as a repository."""

    name: str
    folder: Path

    @property
    def files(self) -> dict[str, bytes]:
        """Path below the folder -> content."""
        found = sorted(path for path in self.folder.rglob("*") if path.is_file())
        return {path.relative_to(self.folder).as_posix(): path.read_bytes() for path in found}

    @property
    def commit(self) -> str:
        """40 hex digits that stand for the content."""
        digest = hashlib.sha1()
        for path, content in self.files.items():
            digest.update(path.encode() + b"\0" + hashlib.sha1(content).digest())
        return digest.hexdigest()

    def info(self) -> dict[str, Any]:
        """What the Hub tells of a repository."""
        return {
            "_id": "0" * 24, "id": self.name, "author": self.name.partition("/")[0], "sha": self.commit,
            "lastModified": WHEN, "createdAt": WHEN, "private": False, "gated": False, "disabled": False,
            "downloads": 0, "likes": 0, "tags": [], "siblings": [{"rfilename": path} for path in self.files],
        }  # fmt: skip

    def entry(self, path: str) -> dict[str, Any]:
        """What the Hub tells of a file or folder."""
        content = self.files.get(path)
        if content is None:
            return {"type": "directory", "oid": hashlib.sha1(path.encode()).hexdigest(), "size": 0, "path": path}
        return {"type": "file", "oid": hashlib.sha1(content).hexdigest(), "size": len(content), "path": path}

    def below(self, folder: str, *, recursive: bool) -> list[dict[str, Any]]:
        """The entries below a folder ("" is the root)."""
        start = f"{folder}/" if folder else ""
        paths = set()
        for path in self.files:
            if path.startswith(start):
                parts = path[len(start) :].split("/")
                depth = len(parts) if recursive else 1
                paths |= {start + "/".join(parts[: i + 1]) for i in range(depth)}
        return [self.entry(path) for path in sorted(paths)]


@contextlib.contextmanager
def serve(datasets: Mapping[str, Path] | None = None, models: Mapping[str, Path] | None = None) -> Iterator[str]:
    """Serve folders as repositories; gives the server's address."""
    repositories = {f"datasets/{name}": Repository(name, folder) for name, folder in (datasets or {}).items()}
    repositories |= {f"models/{name}": Repository(name, folder) for name, folder in (models or {}).items()}

    class Handler(_Handler):
        known = repositories

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


_API = re.compile(r"^/api/(?P<kind>datasets|models)/(?P<name>[^/]+/[^/]+)(?P<rest>/.*)?$")
_FILE = re.compile(r"^/(?P<kind>datasets/)?(?P<name>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)$")


class _Handler(BaseHTTPRequestHandler):
    known: Mapping[str, Repository] = {}
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        api = _API.match(unquote(urlsplit(self.path).path))
        repository = self.known.get(f"{api['kind']}/{api['name']}") if api else None
        if repository is None or api is None or not (api["rest"] or "").startswith("/paths-info/"):
            self._missing("RepoNotFound")
            return
        if "json" in (self.headers.get("Content-Type") or ""):
            paths = json.loads(content)["paths"]
        else:
            paths = parse_qs(content.decode())["paths"]
        found = [p for p in paths if p in repository.files or repository.below(p, recursive=False)]
        self._send(json.dumps([repository.entry(path) for path in found]).encode(), "application/json", body=True)

    def _answer(self, *, body: bool) -> None:
        parts = urlsplit(self.path)
        path, query = unquote(parts.path), parse_qs(parts.query)
        if file := _FILE.match(path):
            repository = self.known.get(f"{'datasets' if file['kind'] else 'models'}/{file['name']}")
            if repository is None:
                self._missing("RepoNotFound")
            elif file["revision"] not in ("main", repository.commit):
                self._missing("RevisionNotFound")
            elif file["path"] not in repository.files:
                self._missing("EntryNotFound", commit=repository.commit)
            else:
                content = repository.files[file["path"]]
                etag = f'"{hashlib.sha1(content).hexdigest()}"'
                headers = {"ETag": etag, "X-Repo-Commit": repository.commit, "Accept-Ranges": "bytes"}
                self._send(content, "application/octet-stream", body=body, headers=headers)
            return
        api = _API.match(path)
        repository = self.known.get(f"{api['kind']}/{api['name']}") if api else None
        if repository is None or api is None:
            self._missing("RepoNotFound")
            return
        rest = (api["rest"] or "").strip("/").split("/")
        if rest[0] in ("revision", "tree") and rest[1] not in ("main", repository.commit):
            self._missing("RevisionNotFound")
        elif rest[0] in ("", "revision"):
            self._send(json.dumps(repository.info()).encode(), "application/json", body=body)
        elif rest[0] == "tree":
            recursive = query.get("recursive", ["false"])[0].lower() in ("true", "1")
            entries = repository.below("/".join(rest[2:]), recursive=recursive)
            if entries or len(rest) == 2:
                self._send(json.dumps(entries).encode(), "application/json", body=body)
            else:
                self._missing("EntryNotFound", commit=repository.commit)
        else:
            self._missing("EntryNotFound", commit=repository.commit)

    def _missing(self, code: str, *, commit: str | None = None) -> None:
        headers = {"X-Error-Code": code, "X-Error-Message": code}
        if commit is not None:
            headers["X-Repo-Commit"] = commit
        self._send(json.dumps({"error": code}).encode(), "application/json", body=True, headers=headers, status=404)

    def _send(
        self, content: bytes, kind: str, *, body: bool, headers: Mapping[str, str] | None = None, status: int = 200
    ) -> None:
        wanted = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "") if status == 200 else None
        whole = len(content)
        if wanted:
            first, last = int(wanted[1]), int(wanted[2] or whole - 1)
            content, status = content[first : last + 1], 206
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        if wanted:
            self.send_header("Content-Range", f"bytes {first}-{first + len(content) - 1}/{whole}")
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if body and self.command != "HEAD":
            self.wfile.write(content)
