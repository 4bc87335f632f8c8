"""What a model is asked about code."""

from ollama_magic.notebook.code_questions import (
    PastCell,
    question_to_explain,
    question_to_fix,
)
from ollama_magic.notebook.failures import FailingCell


def test_a_fix_is_asked_with_source_error_line_and_types():
    cell = FailingCell(
        7,
        "total / count",
        "Cell In[7], line 1, in <module>\n    total / count\nZeroDivisionError: x",
        "total / count",
        ("total: int", "count: int"),
    )
    asked = question_to_fix(cell)
    assert asked.about == "about In[7]"
    assert "In[7]:\n\n```python\ntotal / count\n```" in asked.prompt
    assert "```\nCell In[7], line 1, in <module>\n" in asked.prompt
    assert "- total: int\n- count: int" in asked.prompt
    assert "the cause in a sentence or two" in asked.prompt
    assert "as one Python code block" in asked.prompt


def test_what_is_not_known_is_not_spoken_of():
    prompt = question_to_fix(FailingCell(1, "x", "NameError: x", "")).prompt
    assert "The line that failed" not in prompt
    assert "names" not in prompt


def test_a_fence_in_the_source_does_not_end_the_fence_around_it():
    source = 'text = """\n```python\n1\n```\n"""'
    prompt = question_to_explain([PastCell("In[2]", source)]).prompt
    assert f"````python\n{source}\n````" in prompt


def test_several_cells_are_each_named():
    cells = [PastCell(f"In[{n}]", f"x{n}") for n in range(2, 7)]
    asked = question_to_explain(cells)
    assert all(f"In[{n}]:\n\n```python\nx{n}\n" in asked.prompt for n in range(2, 7))
    assert asked.about == "about In[2] to In[6] (5 cells)"
    assert question_to_explain(cells[:2]).about == "about In[2], In[3]"
