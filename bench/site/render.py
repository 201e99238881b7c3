"""Templates of the page: they escape every value, fail on one that is missing, and embed JSON that ends nothing."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

CAPTION = (
    "Mean ± standard deviation over seeds, below it the 95 % interval of the mean (two seeds or more; cut at the limits of "
    "the metric). Headings sort."
)


def package() -> Any:
    """The folder of templates and assets."""
    return files("seqdis.bench.site") / "page"


def environment() -> Any:
    """Templates that escape every value, and fail on one that is missing."""
    import jinja2
    from markupsafe import Markup, escape

    def code_spans(text: str) -> Markup:
        pieces = text.split("`")
        return Markup("").join(
            Markup("<code>{}</code>").format(piece) if index % 2 and len(pieces) % 2 else escape(piece)
            for index, piece in enumerate(pieces)
        )

    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(str(package())),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters["json_script"] = lambda value: Markup(safe_json(value))
    made.filters["code_spans"] = code_spans
    return made


def safe_json(value: Any) -> str:
    """JSON that can end no script element and open no comment, whatever its strings hold."""
    written = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return written.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def json_text(value: Any, **options: Any) -> str:
    """JSON for people; half a surrogate pair, which no file can hold, stays the escape that JSON has for it."""
    return json.dumps(value, ensure_ascii=False, **options).encode("utf-8", "backslashreplace").decode()
