"""The text for a package index: README.md, whose links into this source lead nowhere there, with names of files in their place.

Everything else is in pyproject.toml.
"""

import re
from pathlib import Path

from setuptools import setup

LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:)([^)\s]+)\)")


def for_an_index(text: str) -> str:
    """`text` with links to files named in words, links within the page as plain words, and pictures of files as their caption."""

    def plain(found: re.Match[str]) -> str:
        picture, words, target = found.groups()
        if picture:
            return f"*Picture: {words} (`{target}` in the source).*"
        file = target.partition("#")[0]
        return words if not file or file == words else f"{words} (`{file}`)"

    return LINK.sub(plain, text)


if __name__ == "__main__":
    readme = (Path(__file__).parent / "README.md").read_text(encoding="utf-8")
    setup(long_description=for_an_index(readme), long_description_content_type="text/markdown")
