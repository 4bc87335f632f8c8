"""``{{ }}``: what is filled in, what is an error, and what stays unchanged."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_magic.errors import PromptError
from ollama_magic.generation.prompt import fill, find_value
from ollama_magic.generation.values import MAX_CHARACTERS, value_text


class Thing:
    colour = "red"
    _hidden = "no"

    def __init__(self):
        self.parts = [{"name": "wheel"}, {"name": "bell"}]

    @property
    def broken(self):
        raise ZeroDivisionError("a property of the user's")

    def __getitem__(self, key):
        return f"item {key!r}"


NAMESPACE = {
    "text": "hello",
    "n": 3,
    "rows": [10, 20, 30, 40],
    "table": {"a": {"b": "deep"}, 3: "three", -1: "minus one"},
    "thing": Thing(),
    "In": ["", "x = 1"],
    "Out": {1: 42},
    "_": "the last result",
}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("text", "hello"),
        ("  text  ", "hello"),
        ("n", "3"),
        ("thing.colour", "red"),
        ("thing.parts[1]['name']", "bell"),
        ('table["a"]["b"]', "deep"),
        ("table[3]", "three"),
        ("table[-1]", "minus one"),
        ("rows[-1]", "40"),
        ("rows[1:3]", "[20, 30]"),
        ("rows[::-2]", "[40, 20]"),
        ("text[:-2]", "hel"),
        ("thing[0, 'a', 1:2]", "item (0, 'a', slice(1, 2, None))"),
        ("thing[...]", "item Ellipsis"),
        ("In[1]", "x = 1"),
        ("Out[1]", "42"),
        ("_", "the last result"),
    ],
)
def test_a_name_with_attributes_items_and_slices_is_filled(expression, expected):
    text, filled, _ = fill(f"a {{{{{expression}}}}} b", NAMESPACE)
    assert text == f"a {expected} b"
    assert filled == (expression.strip(),)


@pytest.mark.parametrize(
    "expression",
    [
        "text.upper()",
        "open('/etc/passwd')",
        "n + 1",
        "-n",
        "not n",
        "(n)(n)",
        "[n]",
        "n if n else n",
        "rows[n]",
        "rows[n:]",
        "rows[-n]",
        "rows[0 + 1]",
        "(m := 3)",
        "[x for x in rows]",
        "lambda: n",
        "f'x' + text",
        "thing._hidden",
        "thing.__class__",
        "thing.colour.__class__.__mro__",
        "text!r",
        "n:>10",
        "text | upper",
        "user name",
        "if n",
        "True",
        "n" + ".a" * 400,
    ],
)
def test_an_expression_outside_the_grammar_is_an_error_with_advice(expression):
    with pytest.raises(PromptError) as caught:
        fill(f"{{{{ {expression} }}}}", NAMESPACE)
    assert "compute it in a cell above" in caught.value.next_step
    assert "--raw" in caught.value.next_step


@pytest.mark.parametrize(
    "text",
    [
        '{"a": {"b": [1, 2]}}',
        '{{"a": 1}}',
        '{{"a": {"b": 1}}}',
        "{{}}",
        "{{ }}",
        "{{1}}",
        "{{ 'text' }}",
        "{{#each items}} {{/each}}",
        "{{> partial}}",
        r"\frac{a}{b} \left\{ x \right\} {{\bf x}}",
        'f"{n:>{width}} {{literal {text} braces}}"',
        "{n} {text!r} %s $text ${text}",
        "{{ text",
        "text }}",
        "{{\n  text\n}}",
        "{ { text } }",
        "{{" * 50 + "}}" * 50,
        "{{" + "(" * 400 + "}}",
        "{{" + "\0" + "}}",
    ],
)
def test_other_double_braces_stay_unchanged(text):
    assert fill(text, NAMESPACE) == (text, (), ())


@given(st.text())
def test_text_without_double_braces_is_never_changed(text):
    text = text.replace("{{", "{ ")
    assert fill(text, NAMESPACE)[0] == text


@given(st.text(alphabet="{}ab.[]'0(): _n-", max_size=40))
def test_any_text_is_filled_or_raises_a_prompt_error(text):
    with suppress(PromptError):
        fill(text, {"a": "A", "b": ["B"], "n": 1})


def test_values_are_never_scanned_again():
    """A value that looks like a placeholder, or like formatting, is only text."""
    namespace = {"a": "{{ b }} {b} %s {0.__class__}", "b": "secret"}
    assert fill("{{ a }}{{ a }}", namespace)[0] == namespace["a"] * 2


def test_three_braces_are_a_placeholder_in_braces():
    assert fill("{{{n}}}", NAMESPACE)[0] == "{3}"


def test_a_prompt_without_placeholders_touches_no_value():
    class Tripwire:
        def __getattr__(self, name):
            raise AssertionError(name)

        def __format__(self, spec):
            raise AssertionError(spec)

    prompt = "{x} {x.y} {x!r} {0} %(x)s $x"
    assert fill(prompt, {"x": Tripwire()})[0] == prompt


def test_each_filled_expression_is_listed_once_in_order():
    _, filled, _ = fill("{{ n }} {{ text }} {{n}}", NAMESPACE)
    assert filled == ("n", "text")


def test_an_unknown_name_is_an_error_with_the_nearest_one():
    with pytest.raises(PromptError) as caught:
        fill("{{ tabel['a'] }}", NAMESPACE)
    assert caught.value.lines() == [
        "There is no variable 'tabel' for {{ tabel['a'] }}.",
        "  why:  name 'tabel' is not defined in this notebook",
        "  next: did you mean {{ table }}? If not: define it in a cell above; "
        "--raw sends braces unchanged",
    ]


@pytest.mark.parametrize(
    ("expression", "lines"),
    [
        (
            "tabel",
            [
                "There is no variable 'tabel'.",
                "  why:  name 'tabel' is not defined in this notebook",
                "  next: did you mean table? If not: define it in a cell above",
            ],
        ),
        (
            "tabel.a",
            [
                "There is no variable 'tabel' for tabel.a.",
                "  why:  name 'tabel' is not defined in this notebook",
                "  next: did you mean table? If not: define it in a cell above",
            ],
        ),
        (
            "text.upper()",
            [
                "text.upper() can't be used here.",
                "  why:  function calls are not allowed",
                "  next: compute it in a cell above and use its name",
            ],
        ),
        (
            "thing.broken",
            [
                "thing.broken cannot be read.",
                "  why:  ZeroDivisionError: a property of the user's",
                "  next: display it in a cell above to see the error",
            ],
        ),
    ],
)
def test_an_error_about_a_name_on_the_line_has_no_braces(expression, lines):
    """``--raw`` does not help there, so it is not suggested."""
    with pytest.raises(PromptError) as caught:
        find_value(expression, NAMESPACE)
    assert caught.value.lines() == lines


@pytest.mark.parametrize("expression", ["'text'", "2", "(thing.broken)()", "a b"])
def test_text_on_the_line_that_is_not_a_name_is_an_error(expression):
    with pytest.raises(PromptError, match="can't be used here"):
        find_value(expression, NAMESPACE)


def test_names_of_ipython_are_not_suggested():
    """IPython adds names to the namespace; they are filled in, but not suggested."""
    ours = dict.fromkeys(["In", "Out", "exit", "get_ipython", "open", "quit", "_n"])
    for typed in ("nope", "on", "Outt", "exi", "qit", "_m", "get_ipythn"):
        with pytest.raises(PromptError) as caught:
            fill(f"{{{{ {typed} }}}}", ours)
        assert "did you mean" not in caught.value.next_step


def test_builtins_are_not_in_the_namespace():
    with pytest.raises(PromptError, match="There is no variable"):
        fill("{{ open }}", NAMESPACE)


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("table['x']", "KeyError: 'x'"),
        ("rows[9]", "IndexError: list index out of range"),
        ("thing.weight", "AttributeError"),
        ("thing.broken", "ZeroDivisionError: a property of the user's"),
        ("n[0]", "TypeError"),
    ],
)
def test_a_failed_look_up_says_why(expression, reason):
    with pytest.raises(PromptError) as caught:
        fill(f"{{{{ {expression} }}}}", NAMESPACE)
    assert caught.value.why.startswith(reason)
    assert caught.value.__cause__ is not None


def test_a_value_that_cannot_be_shown_says_why():
    class Mute:
        def __str__(self):
            raise RuntimeError("no words")

    with pytest.raises(PromptError) as caught:
        fill("{{ mute }}", {"mute": Mute()})
    assert caught.value.why == "RuntimeError: no words"


def test_an_interrupt_in_user_code_is_not_caught():
    class Slow:
        @property
        def answer(self):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill("{{ slow.answer }}", {"slow": Slow()})


CIRCLE = []
CIRCLE.append(CIRCLE)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("as it is\n", "as it is\n"),
        (3, "3"),
        (2.5, "2.5"),
        (True, "True"),
        (None, "None"),
        ([1, "é", None], '[1, "é", null]'),
        ((1, 2), "[1, 2]"),
        ({"a": {"b": True}}, '{"a": {"b": true}}'),
        ([{1}], "[{1}]"),
        (CIRCLE, "[[...]]"),
        ({1}, "{1}"),
        (b"raw", "b'raw'"),
    ],
)
def test_values_become_text_for_a_model(value, text):
    assert value_text(value).text == text


def test_a_long_value_is_cut_and_the_footer_says_so():
    text, filled, _ = fill("{{ long }}", {"long": "x" * (MAX_CHARACTERS + 1)})
    assert text == "x" * MAX_CHARACTERS + "\n[cut: 50,000 of 50,001 characters]"
    assert filled == ("long (cut)",)
