"""`lambda-dispatch completions SHELL`: a script that completes commands, flags and their values.

The router's flags come from the table of options; those of other commands from what their --help prints.
"""

import contextlib
import io
import re
import sys
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import NamedTuple

from lambda_dispatch.config import OPTIONS, flag_of
from lambda_dispatch.exits import EX_USAGE

HELP = """\
usage: lambda-dispatch completions bash | zsh | fish

Prints a script for the shell. For all users, or for you alone:

  bash  lambda-dispatch completions bash > /usr/share/bash-completion/completions/lambda-dispatch
        source <(lambda-dispatch completions bash)
  zsh   lambda-dispatch completions zsh > /usr/share/zsh/site-functions/_lambda-dispatch
        source <(lambda-dispatch completions zsh)     after compinit
  fish  lambda-dispatch completions fish > ~/.config/fish/completions/lambda-dispatch.fish
"""
FLAG = re.compile(r"(?<![\w-])(--[a-z][a-z0-9-]+)")
# In a --help: flags that take a value, and an argument that has choices.
VALUED = re.compile(r"^  (--[a-z][a-z0-9-]+) (?=[A-Z{])", re.M)
CHOICES = re.compile(r"^  \{([a-z,-]+)\}$", re.M)
# Of the router, beside its options.
ROUTER = {
    "--check": "print what is in effect, look for AWS's credentials, and exit",
    "--print-config": "print what is in effect as a file, and exit",
    "--json": "with --print-config: as JSON",
    "--help": "every option",
}
FILES = ("Config", "CertFile", "KeyFile", "ControlClientCA")


class Flag(NamedTuple):
    name: str
    help: str = ""
    takes: bool = False  # a value, as the next word
    values: tuple[str, ...] = ()
    file: bool = False


class Subcommand(NamedTuple):
    flags: list[Flag]
    values: list[str]  # that its argument may have, where they are known


def commands() -> dict[str, str]:
    """Every command and what it is, as the usage says."""
    from lambda_dispatch.cli import USAGE

    return dict(re.findall(r"^  ([a-z]+) +(\S.*)$", USAGE.split("\n\n", 1)[1].split("\n\n")[0], re.M))


def flags(command: str) -> list[Flag]:
    if command == "router":
        found = [
            Flag(
                flag_of(attribute),
                option.help,
                not option.kind.boolean,
                () if option.kind.boolean else option.kind.choices,
                option.name in FILES,
            )
            for attribute, option in OPTIONS.items()
        ]
        found.append(Flag("--config", OPTIONS["config_file"].help, True, (), True))
        return found + [Flag(name, text) for name, text in ROUTER.items()]
    # The flags of its commands are theirs alone, though its help may name one.
    return [Flag("--help")] if command == "ctl" else flags_in(help_of(command))


def flags_in(text: str) -> list[Flag]:
    """Those of a --help."""
    valued = set(VALUED.findall(text))
    return [Flag(name, takes=name in valued) for name in dict.fromkeys([*FLAG.findall(text), "--help"])]


def subcommands(command: str) -> dict[str, Subcommand]:
    found = {}
    for word in words(command) if command == "ctl" else ():
        text = help_of(command, word)
        choices = CHOICES.search(text)
        found[word] = Subcommand(flags_in(text), choices[1].split(",") if choices else [])
    return found


def words(command: str) -> tuple[str, ...]:
    """What may follow a command, beside flags."""
    if command == "completions":
        return SHELLS
    # As argparse lists subcommands: four blanks, the name, and its help there or on the next line.
    return tuple(re.findall(r"^ {4}([a-z][a-z-]+)(?= {2}|$)", help_of(command), re.M)) if command == "ctl" else ()


@cache
def help_of(command: str, *words: str) -> str:
    from lambda_dispatch.cli import ELSEWHERE

    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        import_module(ELSEWHERE[command]).main([*words, "--help"])
    return said.getvalue()


def bash() -> str:
    lines = [
        "# bash completion of lambda-dispatch; made by `lambda-dispatch completions bash`",
        "_lambda_dispatch() {",
        "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} command=${COMP_WORDS[1]}",
        "    COMPREPLY=()",
        "    if ((COMP_CWORD == 1)); then",
        f"        COMPREPLY=($(compgen -W '{' '.join(commands())} --help --version' -- \"$cur\"))",
        "        return",
        "    fi",
        '    case "$command $prev" in',
    ]
    for command in commands():
        for flag in flags(command):
            if flag.values:
                lines.append(f"    '{command} {flag.name}')")
                lines.append(f"        COMPREPLY=($(compgen -W '{' '.join(flag.values)}' -- \"$cur\")); return ;;")
            elif flag.file:
                lines.append(f"    '{command} {flag.name}') COMPREPLY=($(compgen -f -- \"$cur\")); return ;;")
            elif flag.takes:
                lines.append(f"    '{command} {flag.name}') return ;;")
        takes = {flag.name for each in subcommands(command).values() for flag in each.flags if flag.takes}
        lines += [f"    '{command} {name}') return ;;" for name in sorted(takes)]
    lines += ["    esac", '    ((COMP_CWORD > 2)) && case "$command ${COMP_WORDS[2]}" in']
    for command in commands():
        for word, each in subcommands(command).items():
            every = " ".join([*(flag.name for flag in each.flags), *each.values])
            lines.append(f"    '{command} {word}') COMPREPLY=($(compgen -W '{every}' -- \"$cur\")); return ;;")
    lines += ["    esac", '    case "$command" in']
    for command in commands():
        every = " ".join([*(flag.name for flag in flags(command)), *words(command)])
        lines += [f"    {command})", f"        COMPREPLY=($(compgen -W '{every}' -- \"$cur\")) ;;"]
    lines += ["    esac", "}", "complete -o default -F _lambda_dispatch lambda-dispatch"]
    return "\n".join(lines)


def zsh() -> str:
    lines = [
        "#compdef lambda-dispatch",
        "# zsh completion of lambda-dispatch; made by `lambda-dispatch completions zsh`",
        "_lambda_dispatch() {",
        "    local -a commands",
        "    if ((CURRENT == 2)); then",
        "        commands=(",
        *(f"            {_quoted(f'{name}:{text}')}" for name, text in commands().items()),
        "        )",
        "        _describe command commands",
        "        return",
        "    fi",
        "    local command=$words[2]",
        "    shift words",
        "    ((CURRENT--))",
        "    case $command in",
    ]
    for command in commands():
        lines += [f"    {command})"]
        if found := subcommands(command):
            lines += ["        if ((CURRENT > 2)); then", "            local word=$words[2]", "            shift words"]
            lines += ["            ((CURRENT--))", "            case $word in"]
            for word, each in found.items():
                lines += [f"            {word})", *_arguments(each.flags, each.values), "            ;;"]
            lines += ["            esac", "            return", "        fi"]
        lines += [*_arguments(flags(command), words(command)), "            ;;"]
    lines += [
        "    esac",
        "}",
        'if [ "$funcstack[1]" = "_lambda-dispatch" ]; then _lambda_dispatch "$@"; '
        "else compdef _lambda_dispatch lambda-dispatch; fi",
    ]
    return "\n".join(lines)


def _arguments(flags: Sequence[Flag], values: Sequence[str]) -> list[str]:
    """zsh's _arguments for these."""
    lines = ["        _arguments \\"]
    for flag in flags:
        value = ""
        if flag.values:
            value = f":value:({' '.join(flag.values)})"
        elif flag.file:
            value = ":file:_files"
        elif flag.takes:
            value = ":value: "
        text = re.sub(r"[\[\]:]", " ", flag.help)
        lines.append(f"            {_quoted(flag.name + (f'[{text}]' if text else '') + value)} \\")
    return [*lines, f"            {_quoted(f'1:word:({chr(32).join(values)})')} \\"] if values else lines


def fish() -> str:
    lines = ["# fish completion of lambda-dispatch; made by `lambda-dispatch completions fish`"]
    lines.append("complete -c lambda-dispatch -f")
    for name, text in commands().items():
        lines.append(f"complete -c lambda-dispatch -n __fish_use_subcommand -a {name} -d {_quoted(text)}")
    for command in commands():
        where = f"complete -c lambda-dispatch -n '__fish_seen_subcommand_from {command}'"
        for word, each in subcommands(command).items():
            both = f"{where[:-1]}; and __fish_seen_subcommand_from {word}'"
            lines += [f"{both} -l {flag.name[2:]}{' -x' if flag.takes else ''}" for flag in each.flags]
            lines += [f"{both} -a {value}" for value in each.values]
        for flag in flags(command):
            value = ""
            if flag.file:
                value = " -r -F"
            elif flag.values:
                value = f" -x -a {_quoted(' '.join(flag.values))}"
            elif flag.takes:
                value = " -x"
            text = f" -d {_quoted(flag.help)}" if flag.help else ""
            lines.append(f"{where} -l {flag.name[2:]}{value}{text}")
        before = f"{where[:-1]}; and not __fish_seen_subcommand_from {' '.join(words(command))}'"
        lines += [f"{before} -a {word}" for word in words(command)]
    return "\n".join(lines)


def _quoted(text: str) -> str:
    """For all three shells: in single quotes, which no text of ours contains but as an apostrophe."""
    return "'" + text.replace("'", "’") + "'"


MAKERS = {"bash": bash, "zsh": zsh, "fish": fish}
SHELLS = tuple(MAKERS)


def main(arguments: Sequence[str]) -> int:
    if list(arguments) in (["--help"], ["-h"]):
        print(HELP, end="")
        return 0
    if len(arguments) != 1 or arguments[0] not in MAKERS:
        given = " ".join(arguments) or "nothing"
        print(f"lambda-dispatch completions: {given!r} is no shell; name one of {', '.join(SHELLS)}", file=sys.stderr)
        return EX_USAGE
    print(MAKERS[arguments[0]]())
    return 0
