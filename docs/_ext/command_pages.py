"""The command line as MyST Markdown, from the typer application: without Sphinx, so that a test can ask."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import typer

from sde_momentum.commands import main


def commands() -> Iterator[tuple[str, Any]]:
    """(name, command) of all commands, those of groups after their group: "validate", "validate matrix-sensing"."""
    main._add_commands()
    for name, command in typer.main.get_command(main.app).commands.items():
        yield name, command
        for inner, subcommand in getattr(command, "commands", {}).items():
            yield f"{name} {inner}", subcommand


def example(command: Any) -> str | None:
    """The call that the command's help gives."""
    found = re.search(r"^Example: (sde-momentum .+)$", command.help or "", flags=re.MULTILINE)
    return found[1] if found else None


def command_lines() -> list[str]:
    """A section for each command: what it does, its example, its options."""
    lines: list[str] = []
    for name, command in commands():
        level = "###" if " " in name else "##"
        about = re.sub(r"^Example: .*\n?", "", command.help or "", flags=re.MULTILINE).strip()
        lines += [f"({name.replace(' ', '-')}-command)=", f"{level} `{name}`", "", about.replace("<", "&lt;"), ""]
        lines += ["```sh", example(command) or "", "```", ""]
        if not hasattr(command, "commands"):
            lines += _options(command)
    return lines


def _options(command: Any) -> list[str]:
    groups: dict[str, list[str]] = {}
    for option in command.params:
        if "--help" in option.opts:
            continue
        flag = ", ".join(f"`{name}`" for name in option.opts) if option.opts[0].startswith("-") else f"`{option.name.upper()}`"
        text = (getattr(option, "help", "") or "").replace("|", "\\|").replace("<", "&lt;")
        text = re.sub(r"(?<![`\w])(--[a-z][\w-]*)", r"`\1`", text)
        groups.setdefault(getattr(option, "rich_help_panel", None) or "Options", []).append(f"| {flag} | {text} |")
    lines: list[str] = []
    for group, rows in groups.items():
        lines += [f"| {group} | |", "| --- | --- |", *rows, ""]
    return lines
