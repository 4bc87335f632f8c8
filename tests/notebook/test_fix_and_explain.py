"""``%ollama fix`` and ``%ollama explain`` through a real kernel."""

import threading
from dataclasses import replace

import pytest
from fake_ollama import Answer, Wait
from kernel import Kernel

from ollama_magic.generation.notebook_cells import NotebookCell
from ollama_magic.notebook.commands.prompts import (
    prompt_to_explain,
    prompt_to_fix,
    title_of,
)
from ollama_magic.notebook.failures import FailingCell


def run_until_it_fails(kernel, code):
    """Run a cell that fails; return its number."""
    ran = kernel.run(code)
    assert ran.status == "error", ran
    return ran.number


def asked(fake_ollama):
    return fake_ollama.bodies("/api/chat")[-1]["messages"][-1]["content"]


def test_fix_sends_source_traceback_and_types_of_the_last_failing_cell(
    kernel, fake_ollama
):
    kernel.run("rows = ['secret'] * 3\nlimits = {'secret': 1}")
    number = run_until_it_fails(kernel, "n = 0\nrows / limits  # {{ rows }} {n}")
    ran = kernel.run("%ollama fix")
    assert ran.status == "ok", ran.error
    prompt = asked(fake_ollama)
    assert (
        f"In[{number}]:\n\n```python\nn = 0\nrows / limits  # {{{{ rows }}}} {{n}}\n```"
        in prompt
    )
    assert f"Cell In[{number}], line 2, in <module>\n    rows / limits" in prompt
    assert "TypeError: unsupported operand type(s)" in prompt
    assert "- rows: list, 3 items\n- limits: dict, 1 item" in prompt
    assert "secret" not in prompt
    assert "ipykernel" not in prompt
    assert f"about In[{number}]" in ran.html


def test_fix_finds_earlier_failing_cells_by_number(kernel, fake_ollama):
    first = run_until_it_fails(kernel, "first_wrong")
    second = run_until_it_fails(kernel, "def second_wrong(:")
    ran = kernel.run(f"%ollama fix {first}")
    assert f"about In[{first}]" in ran.html
    assert "NameError: name 'first_wrong' is not defined" in asked(fake_ollama)
    kernel.run("%ollama fix")
    assert "def second_wrong(:" in asked(fake_ollama)
    assert f"  Cell In[{second}], line 1\n" in asked(fake_ollama)
    assert "SyntaxError: invalid syntax" in asked(fake_ollama)


def test_fix_is_a_turn_that_can_be_followed_up(kernel, fake_ollama):
    run_until_it_fails(kernel, "1 / 0")
    fake_ollama.reply("Division by zero.\n\n```python\n1 / 1\n```\n")
    kernel.answers = []
    ran = kernel.run("%ollama fix -x -s 'Be terse.'", "a")
    assert ran.place == "turn 1 of main"
    assert "code in the cell below" in ran.html
    kernel.run("%%ollama\nWhy?", "b")
    messages = fake_ollama.bodies("/api/chat")[-1]["messages"]
    roles = [message["role"] for message in messages]
    assert roles == ["system", "user", "assistant", "user"]
    assert "ZeroDivisionError" in messages[1]["content"]


def test_options_may_surround_the_number(kernel, fake_ollama):
    number = run_until_it_fails(kernel, "1 / 0")
    ran = kernel.run(f"%ollama fix --dry-run {number} -t 0")
    assert "ZeroDivisionError" in ran.text
    assert '"temperature": 0' in ran.text
    assert fake_ollama.bodies("/api/chat") == []
    kernel.run(f"reply = %ollama fix {number} -1\nprint(reply.text)")
    assert "ZeroDivisionError" in fake_ollama.bodies("/api/generate")[-1]["prompt"]


def test_fix_without_a_failing_cell_is_an_error(kernel, fake_ollama):
    ran = kernel.run("%ollama fix")
    assert ran.status == "error"
    assert "No cell has failed since ollama_magic was loaded." in ran.error
    number = run_until_it_fails(kernel, "1 / 0")
    ran = kernel.run("%ollama fix 100000")
    assert "No error in In[100000] is recorded." in ran.error
    assert f"these cells have failed: In[{number}]" in ran.error
    assert "not 'it'" in kernel.run("%ollama fix it").error
    assert (
        "%ollama fix takes [n], but 2 were given"
        in kernel.run("%ollama fix 1 2").streams
    )
    assert fake_ollama.bodies("/api/chat") == []


OURS = [
    "%%ollama nosuch:1b\nHi",
    "%ollama show nosuch:1b",
    "%ollama fx",
    "from ollama_magic import OllamaClient\nOllamaClient('127.0.0.1:9').version()",
    "x = 1\n%ollama ask -m nosuch:1b hi",
]


def asked_of_installed_models(fake_ollama):
    bodies = fake_ollama.bodies("/api/chat")
    return [body for body in bodies if body["model"] != "nosuch:1b"]


@pytest.mark.parametrize("cell", OURS)
def test_neither_an_error_of_ours_nor_an_older_one_is_explained(
    kernel, fake_ollama, cell
):
    older = run_until_it_fails(kernel, "older")
    kernel.run(cell)
    ran = kernel.run("%ollama fix")
    assert "the last failure." in ran.error
    assert "says what to type next" in ran.error
    assert f"%ollama fix {older}   asks about the failure before it" in ran.error
    assert asked_of_installed_models(fake_ollama) == []
    assert f"about In[{older}]" in kernel.run(f"%ollama fix {older}").html


def test_a_reply_that_was_stopped_is_not_explained(kernel, fake_ollama):
    fake_ollama.on("POST /api/chat", Answer([Wait(threading.Event())]))
    cell = kernel.send("%%ollama\nhi", "cell-1")
    fake_ollama.wait_for("/api/chat")
    kernel.manager.interrupt_kernel()
    kernel.collect(cell)
    ran = kernel.run("%ollama fix")
    assert "the last failure." in ran.error
    assert "you stopped it" in ran.error


def test_a_fix_that_failed_can_be_repeated(kernel):
    number = run_until_it_fails(kernel, "older")
    assert "ModelNotFoundError" in kernel.run("%ollama fix -m nosuch:1b").error
    assert f"about In[{number}]" in kernel.run("%ollama fix").html


@pytest.mark.parametrize("cell", ["import sys\nsys.exit(0)", "print('fine')"])
def test_code_that_exits_normally_has_not_failed(kernel, cell):
    kernel.run(cell)
    assert "No cell has failed" in kernel.run("%ollama fix").error


FAILING = {
    "%%time": ("%%time\na = 0\n1 / a", ["1 / a", "ZeroDivisionError", "- a: int"]),
    "%%time of one expression": ("%%time\n1 / 0", ["ZeroDivisionError", "\n1 / 0\n"]),
    "%time": ("%time 1 / 0", ["ZeroDivisionError"]),
    "%%timeit": ("%%timeit -n 1 -r 1\n1 / 0", ["ZeroDivisionError"]),
    "%%capture": ("%%capture out\na = 0\n1 / a", ["1 / a", "- a: int"]),
    "run_cell": ("get_ipython().run_cell('1 / 0')", ["ZeroDivisionError", "run_cell"]),
    "run_cell that continues": (
        "get_ipython().run_cell('1 / 0')\nfor n in 1, 2:\n    pass",
        ["ZeroDivisionError"],
    ),
    "a page that fails": (
        "class Odd:\n    def _repr_html_(self):\n        return 1 / 0\nOdd()",
        ["return 1 / 0", "ZeroDivisionError"],
    ),
    "%%bash": (
        "%%bash\necho ok\nexit 3",
        ["```\n%%bash\necho ok\nexit 3\n```", "exit status 3", "is not known"],
    ),
    "!command": ("!exit 3", ["exit code 3", "\n!exit 3\n", "is not known"]),
    "an unknown magic": ("%nosuchmagic", ["UsageError", "%nosuchmagic"]),
    "sys.exit": ("import sys\nsys.exit('no input')", ["SystemExit: no input"]),
    "interrupt": (
        "for n in range(3):\n    raise KeyboardInterrupt",
        ["I stopped a cell", "raise KeyboardInterrupt", "KeyboardInterrupt\n```"],
    ),
    "await": ("import asyncio\nawait asyncio.sleep('x')", ["asyncio.sleep('x')"]),
}


@pytest.mark.parametrize("name", FAILING)
def test_fix_explains_the_last_failure_of_any_kind(kernel, fake_ollama, name):
    cell, told = FAILING[name]
    run_until_it_fails(kernel, "older")
    number = kernel.run(cell).number
    ran = kernel.run("%ollama fix")
    assert ran.status == "ok", ran.error
    assert f"about In[{number}]" in ran.html
    prompt = asked(fake_ollama)
    for text in told:
        assert text in prompt
    assert "older" not in prompt
    assert "get_ipython: " not in prompt
    assert "ipykernel" not in prompt


def test_fix_sends_the_script_that_failed_in_run(kernel, fake_ollama, tmp_path):
    script = tmp_path / "scr.py"
    script.write_text(
        "row = {'a': 1}\n\ndef total():\n    return row['b']\n\ntotal()\n"
    )
    run_until_it_fails(kernel, "older")
    number = kernel.run(f"%run {script}").number
    ran = kernel.run("%ollama fix")
    assert f"about In[{number}]" in ran.html
    prompt = asked(fake_ollama)
    assert f"It runs scr.py:\n\n```python\n{script.read_text().rstrip()}\n```" in prompt
    assert "File scr.py, line 4, in total\n    return row['b']" in prompt
    assert "KeyError: 'b'" in prompt
    assert "- row: dict, 1 item" in prompt
    assert "write the whole corrected scr.py" in prompt
    assert "IPython" not in prompt


CALLBACK = """
import ipywidgets
def ask(_):
    rows = []
    {code}
button = ipywidgets.Button()
button.on_click(ask)
print(button.comm.comm_id, end="")
"""


def test_fix_explains_an_error_in_a_callback(kernel, fake_ollama):
    ran = kernel.run(CALLBACK.replace("{code}", "rows[1]"))
    run_until_it_fails(kernel, "older")
    kernel.click(ran.streams)
    shown = kernel.run("%ollama fix")
    assert f"about a callback of In[{ran.number}]" in shown.html
    prompt = asked(fake_ollama)
    assert "fails when it is called after its cell has ended" in prompt
    assert "rows[1]" in prompt
    assert "IndexError: list index out of range" in prompt
    assert "- rows: list, 0 items" in prompt
    kernel.run("print(1)")
    kernel.run("%ollama fix")
    assert "IndexError" in asked(fake_ollama)


def test_an_error_of_ours_in_a_callback_is_not_explained(kernel, fake_ollama):
    code = "get_ipython().run_line_magic('ollama', 'ask -m nosuch:1b hi')"
    comm_id = kernel.run(CALLBACK.replace("{code}", code)).streams
    run_until_it_fails(kernel, "older")
    kernel.click(comm_id)
    assert "the last failure." in kernel.run("%ollama fix").error
    assert asked_of_installed_models(fake_ollama) == []


def test_code_that_a_front_end_runs_silently_is_not_explained(kernel, fake_ollama):
    number = run_until_it_fails(kernel, "older")
    kernel.client.execute("1 / 0", silent=True, reply=True, timeout=60)
    assert f"about In[{number}]" in kernel.run("%ollama fix").html


def test_the_exit_code_of_an_earlier_command_is_not_that_of_a_cell(kernel):
    number = kernel.run("!exit 3").number
    kernel.run("%%ollama -1\n! wow")
    kernel.run("%%html\n! wow")
    kernel.run("'!' != 1")
    assert f"about In[{number}]" in kernel.run("%ollama fix").html


def test_a_failure_that_was_explained_is_not_found_again(kernel):
    """IPython keeps the last error that it showed; later cells did not raise it."""
    number = run_until_it_fails(kernel, "1 / 0")
    kernel.run("%%capture\nprint('fine')")
    kernel.run("get_ipython().run_cell('2')")
    assert f"about In[{number}]" in kernel.run("%ollama fix").html


def test_objects_that_raise_when_inspected_do_no_harm(kernel, fake_ollama):
    ran = kernel.run(
        "class Odd:\n"
        "    def _(self, *_):\n"
        "        raise RuntimeError('looked at')\n"
        "    __repr__ = __str__ = __len__ = __eq__ = __hash__ = __bool__ = _\n"
        "    shape = dtype = columns = property(_)\n"
        "odd = Odd()\n"
        "odd.missing"
    )
    assert "Error in callback" not in ran.streams
    kernel.run("%ollama fix")
    assert "- odd: Odd\n" in asked(fake_ollama)


def test_objects_of_a_failing_cell_are_freed(kernel):
    """IPython keeps only the last error; we must not keep it longer."""
    look = "import gc; gc.collect(); print(gone() is None)"
    kernel.run(
        "import sys, weakref\n"
        "class Big: pass\n"
        "def fail():\n"
        "    global gone\n"
        "    big = Big()\n"
        "    gone = weakref.ref(big)\n"
        "    return big + 1\n"
    )
    run_until_it_fails(kernel, "fail()")
    assert kernel.run(look).streams == "False\n"
    kernel.run(
        "sys.last_value = sys.last_traceback = sys.last_exc = None\n"
        "get_ipython().InteractiveTB.tb = None"
    )
    assert kernel.run(look).streams == "True\n"


def test_twenty_failures_are_kept(kernel):
    first = run_until_it_fails(kernel, "wrong")
    kernel.run("shell = get_ipython()")
    for _ in range(20):
        kernel.run("wrong")
    assert "No error in In[" in kernel.run(f"%ollama fix {first}").error


def test_unloading_unregisters_the_event_handler(kernel):
    ran = kernel.run(
        "%unload_ext ollama_magic\n"
        "names = [str(c) for c in get_ipython().events.callbacks['post_run_cell']]\n"
        "print([name for name in names if 'ollama_magic' in name])\n"
        "%load_ext ollama_magic"
    )
    assert ran.streams == "[]\n"


def test_explain_sends_the_cell_before_this_one(kernel, fake_ollama):
    kernel.run("total = sum(range(10))")
    ran = kernel.run("%ollama explain")
    assert "```python\ntotal = sum(range(10))\n```" in asked(fake_ollama)
    assert "about In[" in ran.html
    kernel.run("%ollama explain -t 0")
    assert "total = sum(range(10))" in asked(fake_ollama)


def test_explain_takes_the_ranges_of_ipython(kernel, fake_ollama):
    kernel.run("a = '{{ braces }} {x}'")
    start = int(kernel.run("print(len(_ih) - 2)").streams)
    kernel.run("%time c = 3")
    ran = kernel.run(f"%ollama explain {start} {start + 2}-{start + 3}")
    prompt = asked(fake_ollama)
    assert "a = '{{ braces }} {x}'" in prompt
    assert f"In[{start + 2}]:\n\n```python\n%time c = 3\n```" in prompt
    assert "%ollama explain" not in prompt
    assert f"about In[{start}], In[{start + 2}]" in ran.html


def test_explain_sends_outputs_too(kernel, fake_ollama):
    number = kernel.run("6 * 7").number
    ran = kernel.run("%ollama explain --outputs")
    assert ran.status == "ok", ran.error
    prompt = asked(fake_ollama)
    assert f"In[{number}]:\n\n```python\n6 * 7\n```" in prompt
    assert f"Output of In[{number}]:\n\n```\n42\n```" in prompt
    assert prompt.endswith("Say what the outputs show.")
    assert f"with cell {number} and 1 output" in ran.html
    ran = kernel.run("%ollama fix --outputs")
    assert "--outputs has no effect without" in ran.streams


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("100000", "There is no code in '100000'."),
        ("5-3", "There is no code in '5-3'."),
        ("five", "'five' is not a range of cells."),
        ("1 five", "'five' is not a range of cells."),
        ("~0/-~3/", "is not a range of cells."),
    ],
)
def test_a_range_without_code_is_an_error(kernel, fake_ollama, text, says):
    ran = kernel.run(f"%ollama explain {text}")
    assert ran.status == "error"
    assert says in ran.error
    assert "%history -n" in ran.error
    assert fake_ollama.bodies("/api/chat") == []


def test_explain_in_the_first_cell_is_an_error(fake_ollama):
    kernel = Kernel()
    try:
        ran = kernel.run(
            "get_ipython().extension_manager.load_extension('ollama_magic')\n"
            "get_ipython().run_line_magic('ollama', 'explain')"
        )
        assert "There is no code to explain." in ran.error
    finally:
        kernel.close()


@pytest.mark.parametrize("name", ["fix", "explain"])
def test_a_question_mark_asks_for_help(kernel, fake_ollama, name):
    for line in (f"%ollama {name} ?", f"%ollama {name}?"):
        assert f"%ollama {name} [options] [" in kernel.run(line).text
    assert fake_ollama.requests == []


def test_the_history_names_prompts_about_cells_by_cell_and_error():
    traceback = "Traceback:\n\nKeyError: 'revenues'"
    cell = FailingCell(13, "sales['revenues']", traceback, "")
    assert title_of(prompt_to_fix(cell).text) == "fix In[13]: KeyError: 'revenues'"
    in_callback = replace(cell, number=None, source="", how="callback")
    title = title_of(prompt_to_fix(in_callback).text)
    assert title == "fix a callback: KeyError: 'revenues'"
    cells = [NotebookCell(f"In[{n}]", "x = 1") for n in (3, 5)]
    assert title_of(prompt_to_explain(cells).text) == "explain In[3] to In[5]"
    assert title_of(prompt_to_explain(cells[:1]).text) == "explain In[3]"
    assert title_of("Explain In[3]:") == title_of("A cell fails.") == ""
