"""HTML pages that are one file: autoescaped templates, and a policy that allows no request."""

from base64 import b64encode
from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from importlib import resources

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

HERE = "clearhead.explanation"


def render_page(
    template: str,
    *,
    package: str = HERE,
    styles: Sequence[str] = ("base.css",),
    scripts: Sequence[str] = (),
    webassembly: bool = False,
    **values: object,
) -> str:
    """Render a template as an HTML page that loads nothing from outside the file.

    The template extends `base.html` and may import the macros of `tables.html`; both belong to
    this package. All values are escaped. The content security policy allows exactly the page's own
    style and script, images inside the page (`data_uri`), and no connection.

    Args:
        template: Name of a file in the `templates` folder of `package`.
        package: The package with the template; names that it lacks are looked up in this package.
        styles: Names of CSS files in the `assets` folders of the two packages.
        scripts: Names of JavaScript files there.
        webassembly: Whether the scripts may compile WebAssembly; code from strings stays forbidden.
        **values: The template's variables. `base.html` needs `title`.

    Returns:
        The text of the page.
    """
    style = "".join(_asset(name, package) for name in styles)
    script = "".join(_asset(name, package) for name in scripts)
    return render(
        template,
        package=package,
        policy=_policy(style, script, webassembly=webassembly),
        style=Markup(style),  # noqa: S704, the package's own files
        script=Markup(script),  # noqa: S704
        **values,
    )


def render(template: str, *, package: str = HERE, **values: object) -> str:
    """Render a template of `package`, or else of this one; all values are escaped."""
    return _environment(package).get_template(template).render(**values)


def data_uri(content: bytes, media_type: str) -> str:
    """Encode a file's content as a `data:` URI, for images and downloads inside a page.

    Args:
        content: The bytes of the file.
        media_type: Its type, such as "image/png".

    Returns:
        The URI.
    """
    return f"data:{media_type};base64,{b64encode(content).decode('ascii')}"


@cache
def _environment(package: str) -> Environment:
    loaders = [PackageLoader(name) for name in dict.fromkeys((package, HERE))]
    environment = Environment(
        loader=ChoiceLoader(loaders),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {
        "ensure_ascii": False,
        "allow_nan": False,
        "separators": (",", ":"),
    }
    return environment


def _asset(name: str, package: str) -> str:
    files = [resources.files(owner) / "assets" / name for owner in (package, HERE)]
    found = next((file for file in files if file.is_file()), files[-1])
    return found.read_text(encoding="utf-8")


def _policy(style: str, script: str, *, webassembly: bool) -> str:
    scripts = f"'{_digest(script)}'" if script else "'none'"
    if webassembly:
        scripts += " 'wasm-unsafe-eval'"
    return (
        "default-src 'none'; connect-src 'none'; img-src data:; worker-src blob:; "
        f"style-src '{_digest(style)}'; script-src {scripts}; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode('ascii')}"
