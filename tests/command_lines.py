"""Command lines that are made from others: an option given twice is refused."""

from __future__ import annotations


def without(line: list[str], flag: str) -> list[str]:
    """The line without this option and its value.

    >>> without(["--lr", "0.1", "--json", "--seeds", "2", "--lr", "1"], "--lr")
    ['--json', '--seeds', '2']
    """
    if flag not in line:
        return line
    i = line.index(flag)
    value = i + 1 < len(line) and not line[i + 1].startswith("--")
    return without(line[:i] + line[i + 1 + value :], flag)


def changed(line: list[str], *words: str, several: tuple[str, ...] = ()) -> list[str]:
    """The line with these words in place of options that they have too; those of `several` are given beside each other.

    >>> changed(["find", "--lr", "0.1", "--seeds", "2"], "--lr", "0.2", "--seeds", "3", several=("--lr",))
    ['find', '--lr', '0.1', '--lr', '0.2', '--seeds', '3']
    """
    for word in words:
        if word.startswith("--") and word not in several:
            line = without(line, word)
    return [*line, *words]
