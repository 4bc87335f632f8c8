"""Puts a kernel back as it was, for the next test; this runs in the kernel.

Whatever a test has changed outside its own cells would decide, in some order of the
tests, how a later one ends.
"""

import builtins
import copy
import gc
import importlib
import os
import pkgutil
import re
import sys
import warnings

import ollama_magic

EXTENSION = "ollama_magic"
CHANGE = {"_", "__", "___", "_i", "_ii", "_iii"}  # with each cell


class Before:
    """What a kernel has before the extension is loaded for the first time."""

    def __init__(self, shell):
        self.shell = shell
        self.cwd, self.path = os.getcwd(), list(sys.path)
        self.environ, self.config = dict(os.environ), copy.deepcopy(shell.config)
        self.names = {n: v for n, v in shell.user_ns.items() if n not in CHANGE}
        del self.names["restore"]
        self.builtins = dict(vars(builtins))
        self.filters, self.streams = list(warnings.filters), (sys.stdout, sys.stderr)
        self.lists = [(one, list(one)) for one in self._lists()]
        self.traits = {
            (owner, name): value
            for owner in (shell, shell.displayhook, shell.display_formatter)
            for name, value in owner.trait_values(config=True).items()
            if isinstance(value, bool | int | str)
        }
        for module in pkgutil.walk_packages(ollama_magic.__path__, f"{EXTENSION}."):
            if "embedded" not in module.name:  # it runs in processes of its own
                importlib.import_module(module.name)
        self.modules = {
            module: dict(vars(module))
            for name, module in sys.modules.items()
            if name.startswith(EXTENSION)
        }

        gc.collect()
        gc.freeze()  # so that a collection by a test takes little time

    def _lists(self):
        shell = self.shell
        yield from shell.events.callbacks.values()
        yield shell.ast_transformers
        yield shell.input_transformers_cleanup
        yield shell.input_transformers_post

    def load(self, settings):
        """Load the extension with these settings, into a kernel as it was."""
        shell = self.shell
        shell.extension_manager.unload_extension(EXTENSION)
        self._restore_process()
        self._restore_shell()
        shell.config.OllamaMagics.update(settings)
        shell.extension_manager.load_extension(EXTENSION)

    def _restore_process(self):
        os.chdir(self.cwd)
        sys.path[:] = self.path
        if os.environ != self.environ:
            os.environ.clear()
            os.environ.update(self.environ)
        warnings.filters[:] = self.filters
        sys.stdout, sys.stderr = self.streams
        vars(builtins).update(self.builtins)
        for module, names in self.modules.items():
            for name, value in names.items():
                # What was None may be something that was opened at first use.
                if value is not None and vars(module).get(name) is not value:
                    setattr(module, name, value)
        if "matplotlib" in sys.modules:
            self._restore_plots(sys.modules["matplotlib"])

    def _restore_plots(self, matplotlib):
        matplotlib.rcdefaults()
        if "matplotlib.pyplot" in sys.modules:
            sys.modules["matplotlib.pyplot"].close("all")
            self.shell.run_line_magic("matplotlib", "inline")
        else:
            matplotlib.use("module://matplotlib_inline.backend_inline")

    def _restore_history(self):
        """Renumber the cells as IPython counts them: it does not store each one.

        It leaves out lines of magics with the word ``paste``.
        """
        history, names = self.shell.history_manager, self.shell.user_ns
        number = max(int(name[2:]) for name in names if re.fullmatch(r"_i\d+", name))
        for sources in (history.input_hist_raw, history.input_hist_parsed):
            sources[-1:-1] = [""] * (number - len(sources) + 1)

    def _restore_shell(self):
        self._restore_history()
        shell = self.shell
        shell.config.clear()
        shell.config.update(copy.deepcopy(self.config))
        for one, items in self.lists:
            one[:] = items
        for (owner, name), value in self.traits.items():
            if getattr(owner, name) != value:
                setattr(owner, name, value)
        shell.set_custom_exc((), None)
        shell.InteractiveTB.set_mode(shell.xmode)
        names = shell.user_ns
        names["_oh"].clear()
        for name in names.keys() - self.names.keys() - CHANGE:
            del names[name]
        names.update(self.names)
