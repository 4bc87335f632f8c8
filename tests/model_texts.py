"""Markdown as language models write it, made up from a seed.

Every word has a number of its own, so that a comparison names what went wrong. Math is
written between brackets that ``for_oracle`` turns into one word, since CommonMark knows
no math.
"""

import random
import re

_MATH = re.compile("⟦(.*?)⟧", re.DOTALL)
_FORMULAS = ["a_1 * b_2", "x^2", "\\frac{a}{b}", "P(A \\mid B)", "\\{x_i\\}", "a < b"]
_CJK = [
    "删除旧文件",
    "重要なお知らせ",
    "한국어문장",
    "说明（旧）",
    "「引用」です",
    "第一步",
]
_RTL = ["שלום עולם", "مرحبا بالعالم", "חשוב"]
_CODE = [
    "def f(x):\n    # a comment\n    return x\n\nprint(f(1))",
    "# install\npip install a b\n- x",
    "src/\n  main.py\n> y",
    "| a | b |\n|---|---|",
    '{\n  "key": [1, 2]\n}',
    "$HOME and `ticks` and **stars**",
    "x",
]
_LANGUAGES = ["", "", "python", "bash", "json", "c++", "no-such", 'js title="x"']


def for_reply(text):
    """Return a text as a model writes it."""
    return _MATH.sub(lambda match: match[1], text)


def for_oracle(text):
    """Return a text with a word in place of each formula."""
    return _MATH.sub("formula", text)


def text_of(seed):
    """Return a made-up reply; formulas are in double brackets."""
    return _Writer(random.Random(seed)).document()


class _Writer:
    def __init__(self, chance):
        self._chance = chance
        self._count = 0

    def document(self):
        blocks = []
        for _ in range(self._chance.randint(2, 6)):
            blocks.append(self._block(0))
        notes = self._notes() if self._chance.random() < 0.3 else []
        if notes:
            marks = (f"{self._words()}[^{n}]" for n in range(1, len(notes) + 1))
            blocks.append(" ".join(marks) + self._pick([".", "", f" {self._words()}"]))
        text = "\n\n".join(blocks)
        for label in dict.fromkeys(re.findall(r"\]\[(s\d+)\]", text)):
            text += f"\n\n[{label}]: https://{label}.example/x"
        return "\n\n".join([text, self._pick(["\n", "\n\n"]).join(notes)]).rstrip()

    def _notes(self):
        notes = []
        for number in range(1, self._chance.randint(2, 4)):
            note = f"[^{number}]: {self._sentence()}"
            if self._chance.random() < 0.3:
                block = self._pick([self._paragraph, self._fence, self._list])(3)
                note += "\n\n    " + block.replace("\n", "\n    ") + "\n"
            notes.append(note)
        return notes

    # -- text ------------------------------------------------------------------

    def _word(self):
        self._count += 1
        return f"w{self._count}"

    def _words(self, most=5):
        return " ".join(self._word() for _ in range(self._chance.randint(1, most)))

    def _sentence(self, *, depth=0):
        parts = [self._inline(depth) for _ in range(self._chance.randint(1, 4))]
        return f"{self._words()} " + " ".join(parts) + self._pick([".", ":", "", "!"])

    def _pick(self, items):
        return self._chance.choice(items)

    def _inline(self, depth):
        kinds = [self._plain, self._plain, self._strong, self._emphasis, self._code]
        kinds += [self._link, self._struck, self._math, self._money, self._foreign]
        kinds += [self._name, self._address, self._reference, self._escape, self._tag]
        return self._pick(kinds)(depth)

    def _plain(self, _):
        return self._words()

    def _inner(self, depth):
        return (
            self._words(3)
            if depth > 1
            else self._pick(
                [
                    self._words(3),
                    f"{self._words(2)} {self._inline(depth + 2)} {self._word()}",
                ]
            )
        )

    def _strong(self, depth):
        mark = self._pick(["**", "**", "**", "__", "***"])
        return f"{mark}{self._inner(depth)}{mark}" + self._pick(["", ":", "", ","])

    def _emphasis(self, depth):
        mark = self._pick(["*", "_"])
        return f"{mark}{self._inner(depth)}{mark}"

    def _struck(self, depth):
        return f"~~{self._inner(depth)}~~"

    def _code(self, _):
        code = self._pick(["x", "a_b_c", "**kw", "ls -la | grep x", "$HOME", "<b>"])
        if self._chance.random() < 0.1:
            return f"`` {self._word()} ` {code} ``"
        return f"`{self._word()} {code}`"

    def _link(self, depth):
        title = self._pick(["", "", ' "Title"'])
        url = self._pick(
            ["https://a.example/x_y_z", "http://b.example/p?q=1&r=(2)", "docs/a.md"]
        )
        return f"[{self._inner(2)}]({url}{title})"

    def _reference(self, _):
        return f"[{self._word()}][s{self._chance.randint(1, 4)}]"

    def _address(self, _):
        # A colon at the end of a bare address is a part of it for linkify alone.
        return self._pick(["https://a.example/x_y w0", "<https://b.example/z>"])

    def _math(self, _):
        formula = self._pick(_FORMULAS)
        return "⟦" + self._pick(["${}$", "\\({}\\)"]).format(formula) + "⟧"

    def _money(self, _):
        return f"${self._chance.randint(2, 99)}"

    def _foreign(self, depth):
        text = self._pick(_CJK[:1] + _RTL if depth else _CJK + _RTL)
        mark = self._pick(["", "**", "*", "**"])
        around = self._pick(["", "", self._pick(_CJK[:3])])
        if mark and (text[-1] in "）" or text[0] in "「"):
            around = ""  # CommonMark sees no emphasis there, and we do
        return f"{around}{mark}{text}{mark}{around}"

    def _name(self, _):
        return self._pick(["snake_case_name", "__init__", "2 * 3 * 4", "a*b*c", "#tag"])

    def _escape(self, _):
        return self._pick(["\\*not\\*", "&amp;", "\\_x\\_", "a & b", "5 < 6", "\\# x"])

    def _tag(self, _):
        return self._pick(["a <b>x</b>", "List<int>", "<path>"])

    # -- blocks ----------------------------------------------------------------

    def _block(self, depth):
        kinds = [self._paragraph, self._paragraph, self._fence, self._list, self._list]
        kinds += [self._quote, self._table, self._heading, self._display, self._tasks]
        kinds += [self._rule, self._tight_start]
        if depth:
            kinds = [self._paragraph, self._fence, self._list, self._quote]
            kinds += [self._table, self._display]
        if depth > 2:
            kinds = [self._paragraph, self._fence]
        return self._pick(kinds)(depth)

    def _paragraph(self, depth):
        lines = [self._sentence() for _ in range(self._chance.randint(1, 3))]
        return self._pick(["\n", "\n", "  \n", "\\\n"]).join(lines)

    def _heading(self, _):
        marks = "#" * self._chance.randint(1, 4)
        below = self._pick(["", "", f"\n{self._sentence()}"])
        return f"{marks} {self._sentence()}{self._pick(['', '', ' ##'])}{below}"

    def _rule(self, _):
        return self._pick(["---", "***", "- - -"])

    def _tight_start(self, depth):
        """Return a sentence with a list, a quote or a fence directly below it."""
        below = self._pick([self._list, self._quote, self._fence])
        return f"{self._words()}:\n{below(depth)}"

    def _fence(self, _):
        marks = self._pick(["```", "```", "```", "~~~", "````"])
        info = self._pick(_LANGUAGES) if marks == "```" else ""
        code = self._pick(_CODE)
        if marks == "````" and self._chance.random() < 0.5:
            code = f"```\n{code}\n```"
        return f"{marks}{info}\n{code}\n{marks}"

    def _display(self, _):
        formula = self._pick(_FORMULAS)
        marks = self._pick([("$$", "$$"), ("\\[", "\\]")])
        lines = self._pick(["\n", "\n", ""])
        return f"⟦{marks[0]}{lines}{formula}{lines}{marks[1]}⟧"

    def _quote(self, depth):
        blocks = [self._block(depth + 1) for _ in range(self._chance.randint(1, 2))]
        mark = self._pick(["> ", "> ", ">"]) if depth == 0 else "> "
        text = "\n\n".join(blocks)
        if mark == ">" and re.search(r"(?m)^ ", text):
            mark = "> "
        return "\n".join(f"{mark}{line}".rstrip() for line in text.split("\n"))

    def _table(self, _):
        columns = self._chance.randint(2, 4)
        sides = ["---", ":--", "--:", ":-:"]
        rows = [
            [self._word() for _ in range(columns)],
            [self._pick(sides) for _ in range(columns)],
        ]
        for _ in range(self._chance.randint(1, 3)):
            rows.append([self._cell() for _ in range(columns)])
        if self._chance.random() < 0.2:
            return "\n".join(" | ".join(row) for row in rows)
        return "\n".join("| " + " | ".join(row) + " |" for row in rows)

    def _cell(self):
        kinds = [self._plain, self._strong, self._emphasis, self._math, self._money]
        if self._chance.random() < 0.3:
            return self._pick([f"`{self._word()} \\| x`", f"{self._word()} \\| y"])
        return self._pick(kinds)(2)

    def _tasks(self, _):
        lines = [
            f"- [{self._pick(' x')}] {self._sentence()}"
            for _ in range(self._chance.randint(1, 4))
        ]
        return "\n".join(lines)

    def _list(self, depth):
        is_ordered = self._chance.random() < 0.5
        end = self._pick([".", ".", ")"])
        bullet = self._pick("-*+")
        start = self._pick([1, 1, 1, 3])
        is_loose = self._chance.random() < 0.3
        items = []
        for number in range(self._chance.randint(1, 4)):
            marker = f"{start + number}{end}" if is_ordered else bullet
            gap = self._pick([" ", " ", " ", "   "]) if not is_ordered else " "
            items.append(self._item(depth, f"{marker}{gap}", is_loose=is_loose))
        return ("\n\n" if is_loose else "\n").join(items)

    def _item(self, depth, marker, *, is_loose):
        parts = [self._sentence()]
        while depth < 3 and self._chance.random() < 0.35:
            parts.append(self._block(depth + 1))
        text = parts[0]
        for part in parts[1:]:
            is_apart = is_loose or self._chance.random() < 0.4
            is_apart = is_apart or not re.match(r"[-*+>`~]|1[.)] ", part)
            text += ("\n\n" if is_apart else "\n") + part
        indent = self._chance.choice([len(marker), len(marker), len(marker)])
        if len(marker) <= 3 and self._chance.random() < 0.25:
            indent = self._pick([3, 4])
        indent = max(indent, len(marker))
        return marker + text.replace("\n", "\n" + " " * indent).replace(
            "\n" + " " * indent + "\n", "\n\n"
        )
