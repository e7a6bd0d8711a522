"""Sphinx's configuration: `make docs` builds the site; warnings are errors, and nothing is fetched."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))
sys.path.insert(0, str(HERE.parent))

from sde_momentum import __version__  # noqa: E402

project = "sde-momentum"
author = "sde-momentum developers"
copyright = author
release = version = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_design",
    "sphinx_copybutton",
    "sphinxcontrib.katex",
    "typeset",  # docs/_ext: formulas in plain text, typeset
    "proofs",  # a page for each derivation
    "docstrings",
    "reference",  # the interface and the command line, from the code
    "sphinx_gallery.gen_gallery",
    "pictures",  # what a script in docs/_ext draws
]

exclude_patterns = ["_build", "_ext", "_static", "gallery", "tutorials"]
suppress_warnings = ["config.cache", "ref.python"]
nitpicky = False

# -- pages ---------------------------------------------------------------------------------------------
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist", "attrs_inline"]
myst_heading_anchors = 4  # GitHub's anchors, which links of the pages use
myst_dmath_double_inline = True
myst_links_external_new_tab = False

# -- interface -----------------------------------------------------------------------------------------
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_type_aliases = {name: name for name in ("ArrayLike", "Array", "Floats", "Field", "Function", "Functions")}
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
autodoc_mock_imports = [name for name in ("lightning", "transformers", "torch") if find_spec(name) is None]
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_attr_annotations = False

# -- mathematics: what sphinxcontrib-katex brings, with the style and fonts of the same version in _static/katex ------------
katex_css_path = "katex/katex.min.css"
katex_options = "throwOnError: false, strict: false"

# -- examples with pictures ----------------------------------------------------------------------------
os.environ.setdefault("MPLBACKEND", "agg")
sphinx_gallery_conf = {
    "examples_dirs": ["tutorials", "gallery"],
    "gallery_dirs": ["tutorials_run", "examples"],
    "filename_pattern": r"\.py$",
    "abort_on_example_error": True,
    "within_subsection_order": "FileNameSortKey",  # from a first line to the theory
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_memory": False,
    "min_reported_time": 10_000,
    "plot_gallery": not os.environ.get("SITE_WITHOUT_EXAMPLES"),  # text alone, in a minute
}

# -- look ----------------------------------------------------------------------------------------------
html_theme = "furo"
html_title = "sde-momentum"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {
    "light_css_variables": {
        "color-brand-primary": "#0b5f8a",
        "color-brand-content": "#0b5f8a",
        "font-stack": 'system-ui, "Segoe UI", "DejaVu Sans", sans-serif',
    },
    "dark_css_variables": {"color-brand-primary": "#7cc4ee", "color-brand-content": "#7cc4ee"},
}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


def _within_the_site(app: object, docname: str, source: list[str]) -> None:
    """Links that work in the repository too: CONTRIBUTING.md is a page of the site. What is for the formatter is not shown."""
    source[0] = source[0].replace("](../CONTRIBUTING.md", "](/contributing.md")
    if docname.startswith(("examples/", "tutorials_run/")):
        source[0] = source[0].replace("  # fmt: skip", "")


def setup(app: object) -> None:
    app.connect("source-read", _within_the_site)  # type: ignore[attr-defined]
