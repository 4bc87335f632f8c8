"""The cost of a reply is proportional to its length, whatever it contains.

Each of these replies once killed the kernel, and with it all variables of the user, or
kept it busy for half a minute.
"""

import pytest

pytestmark = pytest.mark.slow

MIB = 2**20
PEAK = (
    "import resource\nprint('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
)


def _table(columns, rows):
    return f"|{'a|' * columns}\n|{'-|' * columns}\n" + "|x|\n" * rows


def _formatting(paragraphs):
    opened = "".join(f"<b a{number}>" for number in range(400))
    return f"<p>{opened}x" + "<p>x" * paragraphs


def _references(count):
    defined = "".join(f"[{number}]:http://x.y\n" for number in range(count))
    return defined + "\n" + "".join(f"{number}\n\n" for number in range(count))


REPLIES = {
    "table of 8 kB": ("markdown", _table(1000, 1000)),
    "table of 28 kB": ("markdown", _table(3500, 3500)),
    "table in a quote": ("markdown", "> " + _table(2000, 2000).replace("\n", "\n> ")),
    "10,000 paragraphs": ("html", _formatting(10_000)),
    "80,000 paragraphs": ("html", _formatting(80_000)),
    "a link over paragraphs": (
        "html",
        f"<a href='http://x/{'y' * 10_000}'>" + "<p>x" * 20_000,
    ),
    "12,000 references": ("markdown", _references(12_000)),
    "one long reference": (
        "markdown",
        f"[a]: http://x/{'y' * 1980}\n\n" + "[a]\n\n" * 20_000,
    ),
}


def peak_bytes(kernel):
    """Return the most memory that the kernel has had so far."""
    words = kernel.run(PEAK).streams.split()
    return int(words[words.index("peak") + 1]) * 1024


@pytest.mark.parametrize("reply", REPLIES)
def test_the_cost_of_a_reply_depends_on_its_length(kernel, fake_ollama, reply):
    view, text = REPLIES[reply]
    fake_ollama.reply("warm")
    kernel.run(f"%%ollama --once -f {view}\nHi")
    before = peak_bytes(kernel)
    pieces = [text[start : start + 2000] for start in range(0, len(text), 2000)]
    fake_ollama.reply(pieces)
    ran = kernel.run(f"%%ollama --once -f {view}\nHi")
    assert ran.status == "ok", ran.error
    assert len(ran.html) <= 60_000 + 45 * len(text)
    assert peak_bytes(kernel) - before <= 150 * MIB
