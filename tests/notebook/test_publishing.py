"""Outputs that are sent without IPython's display hooks."""

SHOW = """
from ollama_magic.render.compat import publisher_of
publish = publisher_of(get_ipython())
place = {"display_id": "here"}
publish({"text/html": "<b>one</b>"}, {}, transient=place)
last = {"of": {"ours": 1}}
publish({"text/html": "<b>zwölf</b>"}, last, transient=place, update=True)
"""
HOOKED = """
seen = []
def hook(message):
    seen.append(message["msg_type"])
    return message
get_ipython().display_pub.register_hook(hook)
"""
UNHOOKED = "get_ipython().display_pub.unregister_hook(hook); print(seen)"

SLOWLY = """
pub = get_ipython().display_pub
slow, publish = [], pub.publish
def record(*args, update=False, **more):
    slow.append(update)
    publish(*args, update=update, **more)
pub.publish = record
"""
PRINT_SLOW = "del pub.publish; print(slow)"


def test_an_update_is_published_as_display_would_publish_it(kernel):
    ran = kernel.run(SHOW)
    shown = ["display_data", "update_display_data"]
    assert [kind for kind in ran.messages if kind in shown] == shown
    (output,) = ran.outputs
    assert output["data"] == {"text/html": "<b>zwölf</b>"}
    assert output["metadata"] == {"of": {"ours": 1}}


def test_hooks_see_every_message(kernel):
    """Other tools use the hooks to capture outputs."""
    ran = kernel.run(HOOKED + SHOW + UNHOOKED)
    assert ran.streams.strip() == "['display_data', 'update_display_data']"


def test_a_hook_of_our_own_does_not_slow_replies_down(kernel, fake_ollama):
    """``--above`` knows displays of other cells from a hook."""
    fake_ollama.reply(["one", " two"])
    kernel.run(SLOWLY)
    ran = kernel.run("%%ollama --once\nHi")
    assert "update_display_data" in ran.messages
    assert kernel.run(PRINT_SLOW).streams.strip() == "[False, False]"


def test_capture_gets_every_output(kernel):
    """``%%capture`` replaces the publisher of the kernel."""
    ran = kernel.run(f"%%capture found\n{SHOW}")
    assert not ran.outputs, ran
    ran = kernel.run("print([one.data for one in found.outputs])")
    assert ran.streams.count("zwölf") == 1
