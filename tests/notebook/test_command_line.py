"""The lines of ``%%ollama`` and ``%ollama``: what is valid, and what errors say."""

import contextlib
import re
import shlex
from dataclasses import fields

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from IPython.core.error import UsageError

from ollama_magic.generation.options import CHAT_OPTIONS, ChatOptions, find_option
from ollama_magic.notebook.cli.help import (
    help_text,
    magic_docstring,
    page_asked_for,
)
from ollama_magic.notebook.cli.parser import parse_chat_arguments
from ollama_magic.notebook.commands import COMMANDS, find_command, parse_command
from ollama_magic.notebook.commands.declare import ParsedCommand

ALLOWED = {
    "nothing": ("", {}),
    "model": ("llama3.2", {"model": "llama3.2"}),
    "template": ("a @review -q", {"model": "a", "template": "review", "quiet": True}),
    "cells": ("--cells 3,5-7", {"cells": ((3, 3), (5, 7))}),
    "cells, as the footer writes them": (
        "--cells '3\u20134, 8'",
        {"cells": ((3, 4), (8, 8))},
    ),
    "model with namespace and tag": ("hf.co/a/b:Q4_K_M", {"model": "hf.co/a/b:Q4_K_M"}),
    "model by option": ("-m llama3.2", {"model": "llama3.2"}),
    "model by long option": ("--model=llama3.2", {"model": "llama3.2"}),
    "options after MODEL": ("a -q --raw", {"model": "a", "quiet": True, "raw": True}),
    "options before MODEL": ("-q --raw a", {"model": "a", "quiet": True, "raw": True}),
    "quotes are not part of the value": ('-s "be terse"', {"system": "be terse"}),
    "quotes after =": ('--system="be terse"', {"system": "be terse"}),
    "single quotes": ("-s 'be \"terse\"'", {"system": 'be "terse"'}),
    "a hash is not a comment": ("-s #1", {"system": "#1"}),
    "empty system": ('-s ""', {"system": ""}),
    "value that begins with a dash": ('-s "-- be terse"', {"system": "-- be terse"}),
    "flag as a value after =": ("--system=--new", {"system": "--new"}),
    "no-break space between words": ("a\u00a0-q", {"model": "a", "quiet": True}),
    "chat": ("-c ideas", {"chat": "ideas"}),
    "models to compare": ("--compare a,b:1b", {"compare": ("a", "b:1b")}),
    "models to compare, quoted": ("--compare 'a, b'", {"compare": ("a", "b")}),
    "models to compare, one": ("--compare=a", {"model": "a"}),
    "models by options": ("-m a --model b -m c", {"compare": ("a", "b", "c")}),
    "MODEL and a model by option": ("a -m b", {"compare": ("a", "b")}),
    "new": ("--new", {"new": True}),
    "once": ("--once", {"once": True}),
    "once, short": ("-1", {"once": True}),
    "last": ("--last 3", {"last": 3}),
    "last, none": ("--last 0", {"last": 0}),
    "truncate": ("--truncate error", {"truncate": "error"}),
    "append": ("--append", {"append": True}),
    "extract": ("-x", {"extract": True}),
    "extract, long": ("--extract", {"extract": True}),
    "temperature": ("-t 0.2", {"options": {"temperature": 0.2}}),
    "temperature, joined": ("-t0.2", {"options": {"temperature": 0.2}}),
    "temperature, joined with =": ("-t=0.2", {"options": {"temperature": 0.2}}),
    "temperature without a zero": ("-t .5", {"options": {"temperature": 0.5}}),
    "seed": ("--seed 42", {"options": {"seed": 42}}),
    "negative seed": ("--seed -1", {"options": {"seed": -1}}),
    "option of two words": ("-o num_ctx 8192", {"options": {"num_ctx": 8192}}),
    "option with =": ("-o num_ctx=8192", {"options": {"num_ctx": 8192}}),
    "option, joined": ("-onum_ctx=8192", {"options": {"num_ctx": 8192}}),
    "long option with =": ("--option=num_ctx=8", {"options": {"num_ctx": 8}}),
    "negative option": ("-o num_predict -1", {"options": {"num_predict": -1}}),
    "several options": (
        "-o top_k 4 --option top_p .5 -t 0",
        {"options": {"top_k": 4, "top_p": 0.5, "temperature": 0}},
    ),
    "stop": ("-o stop END", {"options": {"stop": ["END"]}}),
    "stops add up": ("-o stop a -o stop=b=c", {"options": {"stop": ["a", "b=c"]}}),
    "keep alive": ("--keep-alive 10m", {"keep_alive": "10m"}),
    "keep alive, compound": ("--keep-alive 1h30m", {"keep_alive": "1h30m"}),
    "keep alive, fraction": ("--keep-alive 1.5h", {"keep_alive": "1.5h"}),
    "keep alive, seconds": ("--keep-alive 30", {"keep_alive": 30}),
    "keep alive, unload": ("--keep-alive 0", {"keep_alive": 0}),
    "keep alive, stay": ("--keep-alive -1", {"keep_alive": -1}),
    "keep alive, stay, with =": ("--keep-alive=-1", {"keep_alive": -1}),
    "keep alive, stay, unit": ("--keep-alive=-1m", {"keep_alive": "-1m"}),
    "think": ("--think", {"think": True}),
    "think level": ("--think=high", {"think": "high"}),
    "think does not take the next word": (
        "--think llama3.2",
        {"think": True, "model": "llama3.2"},
    ),
    "no think": ("--no-think", {"think": False}),
    "hide thinking": ("--hide-thinking", {"hide_thinking": True}),
    "logprobs": ("--logprobs", {"logprobs": True}),
    "logprobs and alternatives": ("--logprobs=0", {"logprobs": 0}),
    "choose": ("--choose 'a: x; b'", {"choose": "a: x; b"}),
    "format": ("-f json", {"format": "json"}),
    "dry run": ("--dry-run", {"dry_run": True}),
    "dry run as JSON": ("--dry-run=json", {"dry_run": "json"}),
    "no stream": ("--no-stream", {"stream": False}),
    "host": ("--host 10.0.0.2:1234", {"host": "10.0.0.2:1234"}),
    "short switches together": ("-q1", {"quiet": True, "once": True}),
    "short switch and value": ("-qt0", {"quiet": True, "options": {"temperature": 0}}),
    "end of options": ("-q -- llama3.2", {"quiet": True, "model": "llama3.2"}),
    "target": ("answer << llama3.2", {"target": "answer", "model": "llama3.2"}),
    "target without blanks": (
        "answer<<llama3.2",
        {"target": "answer", "model": "llama3.2"},
    ),
    "target alone": ("answer <<", {"target": "answer"}),
    "target and options": ("x << -q", {"target": "x", "quiet": True}),
    "no target in quotes": ('-s "a << b"', {"system": "a << b"}),
    "no target in a value": ("--system=a<<b", {"system": "a<<b"}),
}


@pytest.mark.parametrize(("line", "expected"), ALLOWED.values(), ids=ALLOWED)
def test_line_becomes_arguments(line, expected):
    assert parse_chat_arguments(line) == ChatOptions(**expected)


REFUSED = {
    "prompt on the line": (
        "Why is the sky blue?",
        "%%ollama takes one model on its line, not 'Why is the sky blue?'.\n"
        "  why:  the prompt goes on the lines below\n"
        "  next: %ollama ask Why is the sky blue?",
    ),
    "model and prompt on the line": (
        "llama3.2 Why is it?",
        "%%ollama takes one model on its line, not 'llama3.2 Why is it?'.\n"
        "  why:  the prompt goes on the lines below\n"
        "  next: %ollama run llama3.2 Why is it?",
    ),
    "models with a comma": (
        "a:1b,b:2b",
        "A model name cannot contain a comma: 'a:1b,b:2b'.\n"
        "  next: to compare models: %%ollama --compare a:1b,b:2b",
    ),
    "long option with one dash": (
        "-model a:1b",
        "%%ollama has no option -model.\n"
        "  next: long options have two dashes: %%ollama --model",
    ),
    "one word of a prompt": (
        "Why?",
        "%%ollama takes one model on its line, not 'Why?'.\n"
        "  why:  the prompt goes on the lines below\n"
        "  next: %ollama ask Why?",
    ),
    "quoted prompt": (
        "'Why is it'",
        "%%ollama takes one model on its line, not 'Why is it'.\n"
        "  why:  the prompt goes on the lines below\n"
        "  next: %ollama ask Why is it",
    ),
    "unknown option": (
        "--sytem x",
        "%%ollama has no option --sytem.\n"
        "  next: did you mean --system? All options: %ollama help",
    ),
    "abbreviated option": (
        "--sys x",
        "%%ollama has no option --sys.\n"
        "  next: did you mean --system? All options: %ollama help",
    ),
    "unknown short option": (
        "-z",
        "%%ollama has no option -z.\n  next: all options: %ollama help",
    ),
    "unknown option without a similar one": (
        "--foo",
        "%%ollama has no option --foo.\n  next: all options: %ollama help",
    ),
    "an option in the place of a model": (
        "-- --dry-run",
        "A model name cannot begin with a dash: '--dry-run'.\n"
        "  next: if it is an option: %%ollama --dry-run   "
        "Installed models: %ollama list",
    ),
    "a dash before the name of a model": (
        "-m -llama3.2",
        "A model name cannot begin with a dash: '-llama3.2'.\n"
        "  next: if it is an option: %%ollama -llama3.2   "
        "Installed models: %ollama list",
    ),
    "open quote": (
        "what's up",
        "Unbalanced quotes on this line: %%ollama what's up\n"
        "  why:  No closing quotation\n"
        "  next: close the quote, or put \\ before it; "
        "the prompt goes on the lines below",
    ),
    "missing value": (
        "-s",
        "-s needs a value: -s TEXT\n"
        "  why:  the line ends after it\n"
        '  next: %%ollama -s "Answer in one sentence."',
    ),
    "option in place of a value": (
        "-s --new",
        "-s needs a value: -s TEXT\n"
        "  why:  --new is an option\n"
        '  next: %%ollama -s "Answer in one sentence."',
    ),
    "missing second value": (
        "-o num_ctx",
        "-o needs a value: -o KEY VALUE\n"
        "  why:  the line ends after it\n"
        "  next: %%ollama -o num_ctx 8192",
    ),
    "value for a switch": (
        "--new=yes",
        "--new takes no value, but got 'yes'.\n  next: %%ollama --new",
    ),
    "empty value": (
        "-m ''",
        "-m cannot be ''.\n  why:  it cannot be empty\n  next: %%ollama -m llama3.2",
    ),
    "keep alive": (
        "--keep-alive soon",
        "--keep-alive cannot be 'soon'.\n"
        "  why:  it must be a duration (10m, 1h30m) or seconds; "
        "0 unloads, -1 is for ever\n"
        "  next: %%ollama --keep-alive 10m",
    ),
    "format": (
        "-f markdwn",
        "-f cannot be 'markdwn'.\n"
        "  why:  it must be one of markdown, text, html, code, json\n"
        "  next: %%ollama -f markdown",
    ),
    "think level": (
        "'--think=very high'",
        "--think cannot be 'very high'.\n"
        "  why:  it must be true, false, or a level such as low or high\n"
        "  next: %%ollama --think=high",
    ),
    "think level without =": (
        "--think high",
        "'high' was read as the name of a model.\n"
        "  why:  a thinking level is written with =\n"
        "  next: %%ollama --think=high",
    ),
    "cells with blanks between them": (
        "--cells 3-5, 7",
        "'7' was read as the name of a model.\n"
        "  why:  numbers of cells have commas and no blanks between them\n"
        "  next: %%ollama --cells 3-5,7",
    ),
    "value of a dry run": (
        "--dry-run=yaml",
        "--dry-run cannot be 'yaml'.\n"
        "  why:  it must be json\n"
        "  next: %%ollama --dry-run=json",
    ),
    "think level without =, beside a model": (
        "--think high -m a",
        "'high' was read as the name of a model.\n"
        "  why:  a thinking level is written with =\n"
        "  next: %%ollama --think=high",
    ),
    "temperature": (
        "-t hot",
        "The model option 'temperature' cannot be 'hot'.\n"
        "  why:  it takes a number\n"
        "  next: %%ollama -t 0.2",
    ),
    "option value": (
        "-o num_ctx big",
        "The model option 'num_ctx' cannot be 'big'.\n"
        "  why:  it takes a whole number\n"
        "  next: %%ollama -o num_ctx 8192",
    ),
    "a list without its quotes": (
        "-o stop ['a','b']",
        "The model option 'stop' cannot be [a,b].\n"
        "  why:  it looks like a list, but is not JSON\n"
        """  next: %%ollama -o stop '["a", "b"]', or one text: -o stop '"[a,b]"'""",
    ),
    "option name": (
        "-o num_ctxt 1",
        "Unknown model option 'num_ctxt'.\n  next: did you mean 'num_ctx'?",
    ),
    "negative count": (
        "--last -1",
        "--last cannot be '-1'.\n"
        "  why:  it must be a whole number, 0 or more\n"
        "  next: %%ollama --last 2",
    ),
    "twice": ("-c a -c b", "-c is given twice.\n  next: keep only one -c"),
    "twice, by two names": (
        "-c a --chat b",
        "-c and --chat cannot be used together.\n  next: remove -c or --chat",
    ),
    "one model twice": (
        "a -m a",
        "The model 'a' is given twice.\n"
        "  why:  a comparison needs different models\n"
        "  next: %%ollama --compare a,ANOTHER   or one model alone: %%ollama a",
    ),
    "one model by two spellings": (
        "--compare a,A:latest",
        "'a' and 'A:latest' are the same model.\n"
        "  why:  a comparison needs different models\n"
        "  next: %%ollama --compare a,ANOTHER   or one model alone: %%ollama a",
    ),
    "two ways to compare": (
        "-m a --compare b,c",
        "-m and --compare cannot be used together.\n"
        "  why:  --compare lists all models to ask\n"
        "  next: %%ollama --compare a,b,c",
    ),
    "a comparison with a blank": (
        "--compare a, b",
        "--compare cannot be 'a,'.\n"
        "  why:  it must be model names, separated by commas without spaces\n"
        "  next: %%ollama --compare llama3.2,qwen3",
    ),
    "a comparison and an added turn": (
        "-m a -m b --append",
        "-m and --append cannot be used together.\n"
        "  why:  a comparison adds no turn; %ollama keep MODEL does it afterwards\n"
        "  next: remove -m or --append",
    ),
    "temperature twice": (
        "-t 0 -o temperature 1",
        "-t and -o temperature cannot be used together.\n"
        "  next: remove -t or -o temperature",
    ),
    "think and no think": (
        "--think --no-think",
        "--think and --no-think cannot be used together.\n"
        "  next: remove --think or --no-think",
    ),
    "once and a chat": (
        "-1 -c ideas",
        "-1 and -c cannot be used together.\n"
        "  why:  --once neither reads nor changes the chat\n"
        "  next: remove -1 or -c",
    ),
    "new and last": (
        "--new --last 2",
        "--new and --last cannot be used together.\n"
        "  why:  --new sends no earlier turns\n"
        "  next: remove --new or --last",
    ),
    "keyword as target": (
        "class << llama3.2",
        "A reply cannot be assigned to 'class'.\n"
        "  why:  a Python name must come before <<\n"
        "  next: %%ollama answer << llama3.2",
    ),
    "target that is not a name": (
        "a.b << c",
        "A reply cannot be assigned to 'a.b'.\n"
        "  why:  a Python name must come before <<\n"
        "  next: %%ollama answer << c",
    ),
    "target in the middle": (
        "llama3.2 x << -q",
        "NAME << must come first on the line: 'llama3.2 x <<'.\n"
        "  next: %%ollama answer << [MODEL] [options]",
    ),
}


@pytest.mark.parametrize(("line", "message"), REFUSED.values(), ids=REFUSED)
def test_an_error_has_what_why_and_next(line, message):
    """IPython shows only its own UsageError, and no subclass, without a traceback."""
    with pytest.raises(UsageError) as caught:
        parse_chat_arguments(line)
    assert str(caught.value) == message
    assert type(caught.value) is UsageError


@pytest.mark.parametrize("other", ["-c a", "--new", "--append", "--last 1"])
def test_once_excludes_the_options_of_a_chat(other):
    with pytest.raises(UsageError, match="cannot be used together"):
        parse_chat_arguments(f"--once {other}")


@pytest.mark.parametrize(
    "duration",
    ["10", "-1", "0", "2.5", "300ms", "1h30m5s", "-1m", "+5m", ".5s", "5.s", "1µs"],
)
def test_a_go_duration_is_sent_as_typed(duration):
    """Source: Go's time.ParseDuration; a bare number must be sent as a number."""
    value = parse_chat_arguments(f"--keep-alive={duration}").keep_alive
    assert value == (float(duration) if duration[-1].isdigit() else duration)


@pytest.mark.parametrize(
    "duration",
    ["", "m", "5x", "5 m", "1h 30m", "١0m", "1e99", ".s", "10mm", "-", "forever"],
)
def test_other_durations_are_errors(duration):
    with pytest.raises(UsageError, match="--keep-alive cannot be"):
        parse_chat_arguments(f"--keep-alive={shlex.quote(duration)}")


@given(st.text())
@example("it's")
@example('a "b" \\ c')
@example("--new")
def test_quoted_text_reaches_the_option_unchanged(text):
    assert parse_chat_arguments(f"--system={shlex.quote(text)}").system == text


@given(st.text(min_size=1))
@example("what's up -- don't")
@example("'tis \"so\\")
@example("-5 plus 3")
def test_free_text_is_passed_on_exactly_as_typed(text):
    command = parse_command(f"ask -q -- .{text}.")
    assert command.text == f".{text}."
    assert command.chat_arguments == ChatOptions(quiet=True)


@given(st.text())
def test_any_line_parses_or_is_a_usage_error(line):
    for parse in (parse_chat_arguments, parse_command):
        with contextlib.suppress(UsageError):
            parse(line)


@pytest.mark.parametrize("option", CHAT_OPTIONS, ids=lambda option: option.flags[-1])
def test_every_option_reaches_its_own_field(option):
    """An accepted option that sets no field fails here."""
    value = option.choices[0] if option.choices else option.example
    joint = "=" if option.kind == "optional" else " "
    for flag in option.flags:
        needed = {"yes": "-T add ", "outputs": "--above "}.get(option.field, "")
        line = f"{needed}{flag}{joint if value else ''}{value}"
        plain, args = parse_chat_arguments(needed), parse_chat_arguments(line)
        changed = {
            field.name
            for field in fields(ChatOptions)
            if getattr(args, field.name) != getattr(plain, field.name)
        }
        assert changed == {"options" if option.is_model_option else option.field}


def test_every_field_except_the_target_has_an_option():
    reached = {
        "options" if option.is_model_option else option.field for option in CHAT_OPTIONS
    }
    assert reached == {field.name for field in fields(ChatOptions)} - {
        "target",
        "template",
        "template_use",
    }


COMMAND_LINES = {
    "empty": ("", ParsedCommand("status")),
    "blanks": ("  ", ParsedCommand("status")),
    "list": ("list", ParsedCommand("list")),
    "list with a filter": ("list qwen", ParsedCommand("list", ("qwen",))),
    "alias ls": ("ls", ParsedCommand("list")),
    "alias copy": ("copy a b", ParsedCommand("cp", ("a", "b"))),
    "alias delete": ("delete a", ParsedCommand("rm", ("a",))),
    "alias reset": ("reset", ParsedCommand("new")),
    "several models": ("pull a b:7b", ParsedCommand("pull", ("a", "b:7b"))),
    "switch after": ("rm a -y", ParsedCommand("rm", ("a",), {"yes": True})),
    "switch before": ("rm --yes a b", ParsedCommand("rm", ("a", "b"), {"yes": True})),
    "part of show": (
        "show a --system",
        ParsedCommand("show", ("a",), {"system": True}),
    ),
    "quoted name": ("chat 'my ideas'", ParsedCommand("chat", ("my ideas",))),
    "last": ("last --json", ParsedCommand("last", values={"json": True})),
    "serve": ("serve --stop", ParsedCommand("serve", values={"stop": True})),
    "help": ("help", ParsedCommand("help")),
    "help of an alias": ("help ls", ParsedCommand("help", ("list",))),
    "help as an option": ("--help", ParsedCommand("help")),
    "question mark": ("?", ParsedCommand("help")),
    "question mark after a word": ("pull?", ParsedCommand("help", ("pull",))),
    "two question marks": ("pull??", ParsedCommand("help", ("pull",))),
    "question mark after more": ("rm a ?", ParsedCommand("help", ("rm",))),
    "question mark after ask": ("ask?", ParsedCommand("help", ("ask",))),
    "ask": ("ask what is this?", ParsedCommand("ask", text="what is this?")),
    "ask, apostrophes and dashes": (
        "ask what's up -- don't -t",
        ParsedCommand("ask", text="what's up -- don't -t"),
    ),
    "ask, blanks and quotes": (
        'ask   what  is   "this"',
        ParsedCommand("ask", text='what  is   "this"'),
    ),
    "ask, a list item": ("ask - item", ParsedCommand("ask", text="- item")),
    "ask, options": (
        "ask -m a -t0 -s 'be terse' what's up",
        ParsedCommand(
            "ask",
            text="what's up",
            chat_arguments=ChatOptions(
                model="a", system="be terse", options={"temperature": 0}
            ),
        ),
    ),
    "fix": ("fix", ParsedCommand("fix")),
    "fix, options around the number": (
        "fix -x 7 -m a",
        ParsedCommand(
            "fix", text="7", chat_arguments=ChatOptions(model="a", extract=True)
        ),
    ),
    "question mark after fix": ("fix ?", ParsedCommand("help", ("fix",))),
    "explain, ranges": (
        "explain -1 3-5 ~1/2",
        ParsedCommand(
            "explain", text="3-5 ~1/2", chat_arguments=ChatOptions(once=True)
        ),
    ),
    "ask, text after --": (
        "ask -q -- -5 plus 3",
        ParsedCommand("ask", text="-5 plus 3", chat_arguments=ChatOptions(quiet=True)),
    ),
}


@pytest.mark.parametrize(
    ("line", "expected"), COMMAND_LINES.values(), ids=COMMAND_LINES
)
def test_line_becomes_a_command(line, expected):
    assert parse_command(line) == expected


def misspellings(word):
    """Return misspellings of a word: a letter missing, doubled, or the end cut off."""
    bare = word.lstrip("-")
    dashes = word[: len(word) - len(bare)]
    cuts = {bare[:i] + bare[i + 1 :] for i in range(len(bare))}
    cuts |= {bare[:i] + bare[i] + bare[i:] for i in range(len(bare))}
    cuts |= {bare[:n] for n in range(1, len(bare))}
    return [f"{dashes}{cut}" for cut in sorted(cuts - {"", bare})]


DISCARDING = {"rm", "delete", "remove", "drop", "prune", "undo", "new", "reset"}
DISCARDING |= {"signout", "logout"}
WORDS = sorted({name for each in COMMANDS for name in (each.name, *each.aliases)})


def test_every_subcommand_is_letters():
    """A cell whose first word has a digit or a sign names a model."""
    assert [word for word in WORDS if not word.strip("-").isalpha()] == []


def test_subcommands_and_options_that_discard_are_marked():
    assert {w for w in WORDS if find_command(w).discards} == DISCARDING
    flags = {f for o in CHAT_OPTIONS if o.discards for f in o.flags}
    assert flags == {"--new", "--yes"}


@pytest.mark.parametrize("word", [*WORDS, "forget", "purge", "run!", "runs", "erase"])
def test_no_suggested_subcommand_discards_anything(word):
    slips = [word, *misspellings(word)]
    twice = sorted({two for one in slips[1:] for two in misspellings(one)})
    for slip in [*slips, *twice[:: len(twice) // 25 + 1]]:
        if find_command(slip) is not None:
            continue
        for line in (slip, f"{slip} llama3.2 hello", f"{slip}?", f"help {slip}"):
            with pytest.raises(UsageError) as refused:
                parse_command(line)
            told = re.search(r"did you mean: %ollama (.*)", str(refused.value))
            typed = told[1].split() if told else []
            guesses = [find_command(guess) for guess in typed[:1]]
            guesses += [find_command(one) for one in typed[1:] if typed[0] == "help"]
            assert not any(guess.discards for guess in guesses if guess), line


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_no_suggested_option_discards_anything(command):
    for flag in [flag for option in command.options for flag in option.flags]:
        for slip in misspellings(flag):
            if slip.count("-") == len(slip) or not slip.startswith("--"):
                continue
            with contextlib.suppress(UsageError):
                parse_command(f"{command.name} {slip} x y")
                continue
            if find_option(command.options, slip):
                continue
            with pytest.raises(UsageError) as refused:
                parse_command(f"{command.name} {slip} x y")
            told = re.search(r"did you mean (--?[\w-]+)", str(refused.value))
            assert not told or not find_option(command.options, told[1]).discards


def test_a_harmless_typing_error_gets_a_suggestion():
    for line, likely in [("lis", "list"), ("sho m", "show m"), ("mdels", "models")]:
        with pytest.raises(UsageError, match=f"did you mean: %ollama {likely}"):
            parse_command(line)
    with pytest.raises(UsageError, match="did you mean --system"):
        parse_command("ask --sytem x y")


@pytest.mark.parametrize(
    ("line", "name", "arguments"),
    [
        ("models qw", "list", ("qw",)),
        ("info qwen3:4b", "show", ("qwen3:4b",)),
        ("remove qwen3:4b", "rm", ("qwen3:4b",)),
        ("rm\tqwen3:4b", "rm", ("qwen3:4b",)),
        ("show\N{NO-BREAK SPACE}qwen3:4b", "show", ("qwen3:4b",)),
    ],
)
def test_aliases_from_other_tools_work(line, name, arguments):
    command = parse_command(line)
    assert (command.name, command.arguments) == (name, arguments)


REFUSED_COMMANDS = {
    "typo": (
        "lsit",
        "%ollama has no subcommand 'lsit'.\n  next: did you mean: %ollama list",
    ),
    "an option in the place of a model": (
        "rm -- --yes",
        "A model name cannot begin with a dash: '--yes'.\n"
        "  next: if it is an option: %ollama rm --yes   "
        "Installed models: %ollama list",
    ),
    "the opposite of load": (
        "unload llama3.2",
        "%ollama has no subcommand 'unload'.\n"
        "  next: did you mean: %ollama stop llama3.2",
    ),
    "a cell magic below Python": (
        "%%ollama",
        "%%ollama must be on the first line of its cell.\n"
        "  why:  other lines are above it\n"
        "  next: move it to a new cell, with the prompt below it   "
        "In one line: %ollama ask TEXT",
    ),
    "typo before arguments": (
        "pul llama3.2",
        "%ollama has no subcommand 'pul'.\n  next: did you mean: %ollama pull llama3.2",
    ),
    "a prompt": (
        "Why is the sky blue",
        "%ollama has no subcommand 'Why'.\n"
        "  next: to ask a model: %ollama ask Why is the sky blue   "
        "All subcommands: %ollama help",
    ),
    "a prompt that ends in ?": (
        "Why is it so?",
        "%ollama has no subcommand 'Why'.\n"
        "  next: to ask a model: %ollama ask Why is it so?   "
        "All subcommands: %ollama help",
    ),
    "too few": (
        "cp a",
        "%ollama cp takes SRC DST, but 1 was given.\n  next: %ollama cp SRC DST [-y]",
    ),
    "none": (
        "rm",
        "%ollama rm takes MODEL…, but nothing was given.\n"
        "  next: %ollama rm MODEL… [-y]",
    ),
    "too many": (
        "ps a b",
        "%ollama ps takes no arguments, but 2 were given.\n  next: %ollama ps",
    ),
    "no text": (
        "ask -q",
        "%ollama ask takes TEXT, but nothing was given.\n"
        "  next: %ollama ask [options] TEXT",
    ),
    "option of another": (
        "rm a --force",
        "%ollama rm has no option --force.\n  next: all options: %ollama help rm",
    ),
    "text that begins with a dash": (
        "ask -5 plus 3",
        "%ollama ask has no option -5.\n"
        "  next: all options: %ollama help ask   "
        "Text that begins with a dash: %ollama ask -- TEXT",
    ),
    "two parts": (
        "show a --system --template",
        "%ollama show takes only one of --system and --template.\n"
        "  next: %ollama show --system",
    ),
    "open quote": (
        "pull 'a",
        "Unbalanced quotes on this line: %ollama pull 'a\n"
        "  why:  No closing quotation\n"
        "  next: close the quote, or put \\ before it",
    ),
    "help of nothing": (
        "help xyzzy",
        "%ollama has no subcommand 'xyzzy'.\n  next: %ollama help",
    ),
    "options of ask are checked": (
        "ask -f md hello",
        "-f cannot be 'md'.\n"
        "  why:  it must be one of markdown, text, html, code, json\n"
        "  next: %ollama ask -f markdown",
    ),
}


@pytest.mark.parametrize(
    ("line", "message"), REFUSED_COMMANDS.values(), ids=REFUSED_COMMANDS
)
def test_an_error_of_a_subcommand_says_what_to_type(line, message):
    with pytest.raises(UsageError) as caught:
        parse_command(line)
    assert str(caught.value) == message


@pytest.mark.parametrize("option", CHAT_OPTIONS, ids=lambda option: option.flags[-1])
def test_every_option_has_a_row_in_the_help(option):
    row = f"\n  {option.label}"
    assert row in help_text()
    assert row in help_text("ask")
    assert row in magic_docstring()


@pytest.mark.parametrize(
    ("line", "begins"),
    [
        ("--schema?", "%%ollama --schema SPEC\n"),
        ("qwen3:4b -T ?", "%%ollama -T, --tool NAME\n"),
        ("pull?", "%ollama pull "),
        ("help rm", "%ollama rm MODEL… [-y]\n"),
        ("help --seed", "%%ollama --seed N\n"),
        ("help", "%%ollama [MODEL] [options]"),
        ("help?", "%ollama help [WORD]\n"),
        ("?", "%%ollama [MODEL] [options]"),
    ],
)
def test_a_cell_without_a_prompt_can_ask_for_help(line, begins):
    assert page_asked_for(line).text.startswith(begins)


@pytest.mark.parametrize("line", ["", "qwen3:4b", "qwen3:4b?", "helper", "-s help"])
def test_other_lines_ask_for_no_help(line):
    assert page_asked_for(line) is None


def test_the_first_line_of_the_docstring_is_a_sentence():
    first, blank, *_ = magic_docstring().split("\n")
    assert first.endswith(".")
    assert blank == ""
