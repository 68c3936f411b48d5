"""HTML pages: compressed once, revalidated by ETag, and without resources from other hosts."""

import gzip
import hashlib
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
{% for path, operations in paths.items() %}
{% for method, operation in operations.items() %}
{% set body = operation.requestBody.content if operation.requestBody else {} %}
<h2 id="{{ operation.operationId }}"><code>{{ method | upper }} {{ path }}</code></h2>
<p>{{ operation.description }}</p>
{% if operation.parameters or body %}
<table>
{% for parameter in operation.parameters %}
<tr><th>{{ parameter.name }}<td>query<td>{{ parameter.schema | string }}
{% endfor %}
{% for kind in body %}
<tr><th>body<td colspan="2">{{ kind }}
{% endfor %}
</table>
{% endif %}
{% if not body or "image/png" in body %}
<pre>curl {{ "--data-binary @photo.jpg " if body }}http://127.0.0.1:8000{{ path }}</pre>
{% endif %}
<table>
{% for status, response in operation.responses.items() %}
<tr><th>{{ status }}<td>{{ response.description }}
{% endfor %}
</table>
{% endfor %}
{% endfor %}
"""
)


def docs_page(openapi: dict[str, Any]) -> str:
    """An OpenAPI description as HTML, without scripts."""
    return _DOCS.render(openapi)
