"""The prompts of ``%ollama fix`` and ``explain``."""

from ollama_magic.generation.notebook_cells import NotebookCell
from ollama_magic.notebook.commands.prompts import (
    prompt_to_explain,
    prompt_to_fix,
)
from ollama_magic.notebook.failures import FailingCell


def test_the_prompt_to_fix_has_source_error_line_and_types():
    cell = FailingCell(
        7,
        "total / count",
        "Cell In[7], line 1, in <module>\n    total / count\nZeroDivisionError: x",
        "total / count",
        ("total: int", "count: int"),
    )
    prompt = prompt_to_fix(cell)
    assert prompt.note == "about In[7]"
    assert "In[7]:\n\n```python\ntotal / count\n```" in prompt.text
    assert "```\nCell In[7], line 1, in <module>\n" in prompt.text
    assert "- total: int\n- count: int" in prompt.text
    assert "the cause in a sentence or two" in prompt.text
    assert "the whole corrected cell as one code block" in prompt.text


def test_unknown_facts_are_left_out():
    prompt = prompt_to_fix(FailingCell(1, "x", "NameError: x", "")).text
    assert "The line that failed" not in prompt
    assert "The types" not in prompt


def test_a_fence_in_the_source_does_not_end_the_fence_around_it():
    source = 'text = """\n```python\n1\n```\n"""'
    prompt = prompt_to_explain([NotebookCell("In[2]", source)]).text
    assert f"````python\n{source}\n````" in prompt


def test_each_of_several_cells_has_its_name():
    cells = [NotebookCell(f"In[{n}]", f"x{n}") for n in range(2, 7)]
    prompt = prompt_to_explain(cells)
    assert all(f"In[{n}]:\n\n```python\nx{n}\n" in prompt.text for n in range(2, 7))
    assert prompt.note == "about In[2] to In[6] (5 cells)"
    assert prompt_to_explain(cells[:2]).note == "about In[2], In[3]"
