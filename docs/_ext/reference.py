"""The reference, from the code: `{interface}` documents public names, `{commands}` the command line.

A public name that is left out is an error.

A page of docs/reference/ has blocks such as

    ```{interface} sde_momentum.problems
    Valley
    MatrixSensing
    ```
"""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from importlib.util import resolve_name
from pathlib import Path

from docstrings import prose, restructured
from docutils import nodes
from docutils.statemachine import StringList
from public_names import missing
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.docutils import SphinxDirective


class Interface(SphinxDirective):
    """Documentation of the names of one module, from their docstrings."""

    has_content = True
    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        module = self.arguments[0]
        names = [name for line in self.content for name in line.split()]
        entries = [entry(module, name) for name in names]
        lines = ["```{eval-rst}", f".. currentmodule:: {module}", ""]
        if len(names) > 2:
            lines += [
                f"- :py:obj:`{name} <{module}.{name}>`: {summary}" for name, (summary, _) in zip(names, entries, strict=True)
            ]
            lines.append("")
        for _, documentation in entries:
            lines += documentation
        parent = nodes.container()
        self.state.nested_parse(StringList([*lines, "```"], source=self.env.docname), self.content_offset, parent)
        return parent.children


def entry(module: str, name: str) -> tuple[str, list[str]]:
    """(first line of its docstring, what makes autodoc write it) of a public name."""
    try:
        value = getattr(import_module(module), name)
    except ModuleNotFoundError:  # of an extra that is not installed: autodoc reads it with a stand-in
        kind = "autoclass" if name[0].isupper() else "autofunction"
        return prose("needs another package"), [f".. {kind}:: {name}", ""]
    if inspect.isclass(value):
        documentation = [f".. autoclass:: {name}", "   :members:", ""]
    elif inspect.isroutine(value) or hasattr(value, "__wrapped__") or hasattr(value, "py_func"):
        documentation = [f".. autofunction:: {name}", ""]
    else:  # a constant: what stands below it in its module
        text = _attribute(module, name)
        return prose(text[0]), [f".. py:data:: {name}", "", *(f"   {line}" for line in restructured(text)), ""]
    return prose((inspect.getdoc(value) or "").partition("\n")[0]), documentation


def _attribute(module: str, name: str) -> list[str]:
    """The text below a constant, in the module that it comes from."""
    file = Path(str(import_module(module).__file__))
    for path in (file.with_suffix(".pyi"), file):
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        if match := re.search(rf"^from (\.[\w.]*) import .*\b{name}\b", text, re.MULTILINE):
            package = module if file.stem == "__init__" else module.rpartition(".")[0]
            return _attribute(resolve_name(match[1], package), name)
    return list(ModuleAnalyzer.for_module(module).find_attr_docs().get(("", name), [name]))


class Commands(SphinxDirective):
    """Every command with its options, as `--help` has them."""

    def run(self) -> list[nodes.Node]:
        from command_pages import command_lines

        parent = nodes.section()
        parent.document = self.state.document
        self.state.nested_parse(StringList(command_lines(), source=self.env.docname), 0, parent, match_titles=True)
        return parent.children


def _complete(app: Sphinx) -> None:
    left_out = missing()
    if left_out:
        raise ExtensionError("public names on no page of docs/reference/: " + ", ".join(left_out))


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("interface", Interface)
    app.add_directive("commands", Commands)
    app.connect("builder-inited", _complete)
    return {"parallel_read_safe": True}
