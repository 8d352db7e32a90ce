"""Prepares docstrings for Sphinx, which reads them as reStructuredText.

The project documents a field where it stands: by a comment at the end of its line, or by the meaning that a setting
states. Sphinx reads neither, so this extension adds both to the docstring of the class, as an ``Attributes`` section.
It also keeps the lines of the diagrams in the docstrings of modules, which Sphinx would run together.
"""

import ast
import dataclasses
import inspect
import io
import textwrap
import tokenize
from typing import Any


def field_lines(source: str) -> dict[str, str]:
    """Returns the comments at the ends of the lines of a class's fields, by field.

    Args:
        source: the text of one class.
    """
    comments = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    body = ast.parse(source).body[0].body  # type: ignore[attr-defined]
    fields = [item for item in body if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)]
    return {item.target.id: comments.get(item.end_lineno, "") for item in fields}  # type: ignore[union-attr, arg-type]


def meanings(owner: type) -> dict[str, str]:
    """Returns the meanings that the settings of a settings dataclass state, by setting."""
    if not dataclasses.is_dataclass(owner):
        return {}
    return {field.name: field.metadata["meaning"] for field in dataclasses.fields(owner) if "meaning" in field.metadata}


def escaped(text: str) -> str:
    """Returns a text whose characters mean nothing to reStructuredText."""
    return "".join("\\" + char if char in "*|_\\`" else char for char in text)


def add_fields(app: Any, kind: str, name: str, owner: Any, options: Any, lines: list[str]) -> None:
    """Adds the fields of a class to its docstring ``lines``, unless it lists them itself."""
    has_fields = kind == "class" and (dataclasses.is_dataclass(owner) or hasattr(owner, "_fields"))
    if not has_fields or any(line.strip() == "Attributes:" for line in lines):
        return
    found = {**field_lines(textwrap.dedent(inspect.getsource(owner))), **meanings(owner)}
    lines += ["", "Attributes:", *(f"    {field}: {escaped(text)}" for field, text in found.items() if text), ""]


def keep_diagrams(app: Any, kind: str, name: str, owner: Any, options: Any, lines: list[str]) -> None:
    """Marks the indented blocks in the docstring ``lines`` of a module as text to be shown as it is."""
    if kind != "module":
        return
    for index in range(len(lines) - 1, 0, -1):
        if lines[index].startswith("    ") and not lines[index - 1].strip():
            lines[index:index] = [".. code-block:: text", ""]


def skip_fields(app: Any, kind: str, name: str, member: Any, skip: bool, options: Any) -> bool | None:
    """Leaves out the fields of named tuples: Python gives each a docstring that says nothing."""
    return True if (getattr(member, "__doc__", None) or "").startswith("Alias for field") else None


def setup(app: Any) -> dict[str, bool]:
    """Registers the extension with Sphinx."""
    app.connect("autodoc-process-docstring", add_fields, priority=400)  # before napoleon, which reads the section
    app.connect("autodoc-process-docstring", keep_diagrams)
    app.connect("autodoc-skip-member", skip_fields)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
