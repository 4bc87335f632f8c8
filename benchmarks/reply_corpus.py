"""Synthetic replies of any length, as a model would stream them; no block repeats.

Headings, paragraphs with emphasis, code and math, nested lists, code, tables, quotes
and display math, about 3.5 characters per token. The same seed gives the same reply.
"""

import random
import re
from collections.abc import Callable, Iterator

_TEXT = """
the model of data with error rate and loss value over each step when training batch
size is larger than memory gradient vector small noise kernel we can see that result
depends on scale order sample mean variance test bound random index matrix learns
slowly because signal weak features most useful before after linear cost grows while
cache keeps recent pages under load so throughput falls again
"""
_WORDS = _TEXT.split()
_TOKEN = re.compile(r" ?[A-Za-z]{1,6}| ?\d{1,3}|\n+|[ \t]+| ?[^\sA-Za-z\d]{1,3}")


def tokens(count: int, seed: int = 1) -> list[str]:
    """Return the first so many tokens of a reply."""
    made: list[str] = []
    for block in _blocks(random.Random(seed)):
        made += _TOKEN.findall(block + "\n")
        if len(made) >= count:
            return made[:count]
    raise AssertionError


def _blocks(source: random.Random) -> Iterator[str]:
    makers: list[Callable[[random.Random], str]] = [_list, _code, _table, _quote, _math]
    while True:
        yield f"## {_words(source, 4).title()}\n"
        yield _paragraph(source)
        yield source.choice(makers)(source)
        yield _paragraph(source)
        if source.random() < 0.5:
            yield _code(source)


def _words(source: random.Random, count: int) -> str:
    return " ".join(source.choice(_WORDS) for _ in range(count))


def _name(source: random.Random) -> str:
    return f"{source.choice(_WORDS)}_{source.choice(_WORDS)}"


def _sentence(source: random.Random) -> str:
    words = _words(source, source.randrange(8, 22)).split()
    place = source.randrange(len(words))
    dress = source.choice(["**{}**", "*{}*", "`{}`", "{}", "{}", "$x_{{{}}}$", "{} 🙂"])
    words[place] = dress.format(words[place])
    return " ".join(words).capitalize() + "."


def _paragraph(source: random.Random) -> str:
    sentences = [_sentence(source) for _ in range(source.randrange(2, 5))]
    if source.random() < 0.3:
        sentences.append(
            f"See [{_words(source, 2)}](https://example.org/{_name(source)})."
        )
    return " ".join(sentences) + "\n"


def _list(source: random.Random) -> str:
    lines = []
    for number in range(1, source.randrange(4, 7)):
        lines.append(f"{number}. **{_words(source, 2)}**: {_sentence(source)}")
        if source.random() < 0.4:
            lines += [f"   - {_words(source, 5)}", f"   - {_words(source, 6)}"]
    return "\n".join(lines) + "\n"


def _code(source: random.Random) -> str:
    first, second = _name(source), _name(source)
    return (
        f"```python\nimport {source.choice(_WORDS)} as m\n\n"
        f"def {first}({second}, count={source.randrange(100)}):\n"
        f'    """{_words(source, 6)}"""\n'
        f"    total = m.sum({second}[:count]) / {source.random():.3f}\n"
        f"    for index in range(count):  # {_words(source, 4)}\n"
        f'        print(index, total, "{_words(source, 3)}")\n'
        f"    return total\n```\n"
    )


def _table(source: random.Random) -> str:
    rows = [
        f"| {_name(source)} | {source.random() * 99:.1f} | {_words(source, 4)} |"
        for _ in range(source.randrange(3, 6))
    ]
    head = "| name | value | notes |\n|:-----|------:|:------|"
    return "\n".join([head, *rows]) + "\n"


def _quote(source: random.Random) -> str:
    return f"> **Note** {_sentence(source)}\n> {_sentence(source)}\n"


def _math(source: random.Random) -> str:
    a, b = source.choices("abxyznm", k=2)
    low = source.randrange(1, 9)
    return (
        f"$$\n{a} = \\sum_{{i={low}}}^{{n}} \\frac{{e^{{{b}_i}}}}{{{low} + {b}}}\n$$\n"
    )
