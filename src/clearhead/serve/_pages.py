"""HTML pages: compressed once, revalidated by ETag, without anything from elsewhere."""

import gzip
import hashlib
from collections.abc import Iterator
from typing import Any

from fastapi import Request, Response
from jinja2 import Environment


class Page:
    """One HTML page."""

    def __init__(self, text: str) -> None:
        self.content = text.encode()
        self.compressed = gzip.compress(self.content, 9, mtime=0)
        self.etag = f'"{hashlib.sha256(self.content).hexdigest()[:32]}"'

    def response_to(self, request: Request) -> Response:
        """The page, compressed if the client accepts it; 304 if the client has it already."""
        headers = {"etag": self.etag, "cache-control": "no-cache", "vary": "Accept-Encoding"}
        known = [tag.strip().removeprefix("W/") for tag in _listed(request, "if-none-match")]
        if self.etag in known or "*" in known:
            return Response(status_code=304, headers=headers)
        content = self.content
        if accepts_gzip(request):
            content, headers["content-encoding"] = self.compressed, "gzip"
        return Response(content, headers=headers, media_type="text/html")


def accepts_gzip(request: Request) -> bool:
    """Whether Accept-Encoding has gzip, and not with the weight 0."""
    for accepted in _listed(request, "accept-encoding"):
        name, _, weight = accepted.partition(";")
        if name.strip().lower() in ("gzip", "*"):
            return weight.replace(" ", "").rstrip("0.") != "q="
    return False


def _listed(request: Request, header: str) -> list[str]:
    return request.headers.get(header, "").split(",")


_DOCS = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
    """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ info.title }} {{ info.version }}: HTTP API</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto }
  h2 { margin-top: 2.5rem; font-size: 1.1rem }
  code, pre { font: 14px/1.5 ui-monospace, monospace }
  pre { background: #f4f4f4; color: #111; padding: .75rem; overflow: auto }
  td, th { text-align: left; vertical-align: top; padding: .15rem 1rem .15rem 0 }
</style>
<h1>{{ info.title }} {{ info.version }}</h1>
<p>{{ info.description }} <a href="/openapi.json">openapi.json</a></p>
{% for route in routes %}
<h2 id="{{ route.id }}"><code>{{ route.method }} {{ route.path }}</code></h2>
<p>{{ route.description }}</p>
{% if route.parameters or route.body %}
<table>
{% for parameter in route.parameters %}
<tr><th>{{ parameter.name }}<td>query<td>{{ parameter.schema | string }}
{% endfor %}
{% for kind in route.body %}
<tr><th>body<td colspan="2">{{ kind }}
{% endfor %}
</table>
{% endif %}
{% if route.example %}
<pre>{{ route.example }}</pre>
{% endif %}
<table>
{% for status, text in route.responses %}
<tr><th>{{ status }}<td>{{ text }}
{% endfor %}
</table>
{% endfor %}
"""
)


def docs_page(openapi: dict[str, Any]) -> str:
    """An OpenAPI description as HTML, without scripts."""
    return _DOCS.render(info=openapi["info"], routes=list(_routes(openapi["paths"])))


def _routes(paths: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path, methods in paths.items():
        for method, operation in methods.items():
            body = operation.get("requestBody", {}).get("content", {})
            yield {
                "id": operation["operationId"],
                "method": method.upper(),
                "path": path,
                "description": operation.get("description", ""),
                "parameters": operation.get("parameters", []),
                "body": list(body),
                "example": _example(path, body),
                "responses": [
                    (status, response["description"])
                    for status, response in operation["responses"].items()
                ],
            }


def _example(path: str, body: dict[str, Any]) -> str:
    address = f"http://127.0.0.1:8000{path}"
    if "image/png" in body:
        return f"curl --data-binary @photo.jpg {address}"
    return "" if body else f"curl {address}"
