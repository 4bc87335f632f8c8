"""How far replies agree with CommonMark: ``python -m benchmarks.commonmark``.

Prints the share of the specification's examples, by section, and of made-up replies
whose words all stand under the same elements as markdown-it-py puts them. With ``-v``
it also prints the texts that differ; ``--texts N`` sets how many replies are made up.
"""

import argparse
import sys
from collections import Counter

from benchmarks.server import ROOT

sys.path.insert(0, str(ROOT / "tests"))

from markdown_oracle import EXAMPLES, expected, has_raw_html, shown
from model_texts import for_oracle, for_reply, text_of

from ollama_magic.render.safe_html import markdown_html


def agrees(text: str) -> bool:
    """Return whether a reply has the structure of its text."""
    mine = shown_words(for_reply(text))
    return mine == expected(for_oracle(text))


def shown_words(text: str):
    return shown(markdown_html(text))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("-v", "--verbose", action="store_true")
    parser.add_argument("--texts", type=int, default=2000)
    asked = parser.parse_args()
    examples = [one for one in EXAMPLES if not has_raw_html(one["markdown"])]
    wrong = [one for one in examples if not agrees(one["markdown"])]
    wrong_in = Counter(one["section"] for one in wrong)
    for section, count in Counter(one["section"] for one in examples).items():
        print(f"{count - wrong_in[section]:4} of {count:4}  {section}")
    _print_share(len(examples), len(wrong), "examples of the specification")
    seeds = [seed for seed in range(asked.texts) if not agrees(text_of(seed))]
    _print_share(asked.texts, len(seeds), "replies")
    if asked.verbose:
        for text in [*(one["markdown"] for one in wrong), *map(text_of, seeds[:30])]:
            _show(text)


def _print_share(count: int, wrong: int, what: str) -> None:
    right = count - wrong
    print(f"{right:4} of {count:4}  ({right / max(count, 1):.1%}) of the {what}")


def _show(text: str) -> None:
    print("=" * 80, for_reply(text), sep="\n")
    mine, right = shown_words(for_reply(text)), expected(for_oracle(text))
    for ours, theirs in zip([*mine, *[None] * 9], [*right, *[None] * 9], strict=False):
        if ours != theirs:
            print("  ours:", ours, "\n  right:", theirs)
            break


if __name__ == "__main__":
    main()
