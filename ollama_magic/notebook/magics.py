"""``%%ollama`` and ``%ollama`` as IPython magics, and loading the extension.

:class:`OllamaMagics` has the settings as traits, opens the displays that fit the shell,
and is the context in which subcommands run. Everything else is imported at first use,
so that ``%load_ext`` stays fast.
"""

from __future__ import annotations

import sys
import threading
from dataclasses import Field, fields
from typing import TYPE_CHECKING, Any

from IPython.core.magic import Magics, line_cell_magic, magics_class, no_var_expand
from traitlets import (
    Bool,
    Dict,
    Enum,
    Float,
    HasTraits,
    Int,
    List,
    TraitError,
    TraitType,
    Unicode,
    Union,
    validate,
)
from traitlets.config.loader import LazyConfigValue

from ollama_magic.generation.options import ChatOptions
from ollama_magic.generation.settings import (
    SETTING_NAMES,
    Settings,
    check_setting,
    merged,
)
from ollama_magic.notebook import completion, input_transforms
from ollama_magic.notebook.compat import (
    ShownInterrupt,
    fails_silently,
    harmless_handler,
    is_terminal,
    is_value_captured,
    is_value_dropped,
    unregister_all,
)
from ollama_magic.notebook.completion import sources as completion_sources
from ollama_magic.notebook.failures import FailingCells
from ollama_magic.notebook.greeting import Greeting
from ollama_magic.notebook.past_cells import RunCells
from ollama_magic.notebook.preload import Preload
from ollama_magic.notebook.running_cell import (
    CellTracker,
    magic_body,
    owns_output,
    shows_itself,
)

if TYPE_CHECKING:
    from ollama_magic.generation.compare import Comparison, ComparisonDisplay
    from ollama_magic.generation.decisions import Decision
    from ollama_magic.generation.front_end import ReplyDisplay
    from ollama_magic.generation.reply import Reply
    from ollama_magic.generation.session import Session
    from ollama_magic.history.turns import Turn
    from ollama_magic.render.output import ProgressLine
    from ollama_magic.widgets.parts import SavedAsTable

_KEY = "ollama_magic"
_SHOW_THEMSELVES = (
    ("ollama_magic.generation.reply", "Reply"),
    ("ollama_magic.generation.compare", "Comparison"),
    ("ollama_magic.generation.decisions", "Decision"),
)
"""Types that a cell shows itself, so that IPython must not show them again."""


def _trait(setting: Field[Any]) -> TraitType[Any, Any]:
    """Return the trait of a setting, by the type of its default."""
    default, facts = getattr(Settings(), setting.name), dict(setting.metadata)
    choices = facts.pop("choices", ())
    if default is None:
        either = [Bool(), Unicode()] if facts.pop("is_text", False) else [Bool()]
        return Union(either, default_value=None, allow_none=True, **facts)
    if choices:
        return Enum(choices, default, **facts)
    if isinstance(default, list):
        return List(Unicode(), **facts)
    kinds: dict[type, type[TraitType[Any, Any]]] = {
        bool: Bool,
        dict: Dict,
        float: Float,
        int: Int,
        str: Unicode,
    }
    return kinds[type(default)](default, **facts)


def _checked_setting(name: str, value: Any) -> object:  # noqa: ANN401
    """Return a value of a setting as it is kept.

    Raises
    ------
    TraitError
        The setting cannot have this value.
    """
    from ollama_magic.client.host import Address
    from ollama_magic.client.redaction import Headers
    from ollama_magic.errors import ConfigError

    # NB: %config OllamaMagics shows the repr of each setting.
    if name == "host":
        return Address(value)
    if name == "insecure_hosts":
        return [Address(host) for host in value]
    try:
        if name == "headers":
            return Headers(value)
        check_setting(name, value)
    except ConfigError as error:
        raise TraitError(str(error)) from error
    return value


@magics_class
class OllamaMagics(Magics):
    """Settings of ollama_magic; set them with %config OllamaMagics.NAME = VALUE."""

    shell: Any  # never None here, which IPython's own annotation allows

    vars().update({one.name: _trait(one).tag(config=True) for one in fields(Settings)})

    holds_secrets = True  # a prompt cannot read it

    @validate(*SETTING_NAMES)
    def _checked(self, proposal: Any) -> object:  # noqa: ANN401
        return _checked_setting(proposal["trait"].name, proposal["value"])

    def __init__(self, shell: Any) -> None:  # noqa: ANN401  (IPython is not typed)
        super().__init__(shell)
        self.cells = CellTracker(shell)
        self.failing_cells = FailingCells(shell)
        self.past_cells = RunCells(shell, self.cells, self.failing_cells)
        self.preload = Preload(shell)
        self._session: Session | None = None
        self._session_lock = threading.Lock()
        self._just_shown: set[int] = set()
        shell.events.register("post_run_cell", self._forget_shown)
        formatter = shell.display_formatter.ipython_display_formatter
        for module, name in _SHOW_THEMSELVES:
            formatter.for_type_by_name(module, name, self._show_value)

    @harmless_handler
    def _forget_shown(self, _result: object) -> None:
        self._just_shown.clear()

    @property
    def is_in_use(self) -> bool:
        """Whether something has used the session already."""
        return self._session is not None

    @line_cell_magic
    @no_var_expand
    def ollama(self, line: str, cell: str | None = None) -> object:
        """Ask a language model through Ollama, or manage chats and models."""
        from ollama_magic.client.background import held, let_through
        from ollama_magic.errors import Interrupted, short_interrupts

        with held(lingers=not self._is_terminal), short_interrupts():
            try:
                with let_through():
                    if cell is None:
                        return self._run_line(line)
                    return self._ask_cell(line, cell)
            except Interrupted as error:
                # Elsewhere the error says that the rest of the cell did not run.
                is_said = error.is_shown and owns_output(self.cells.raw_cell)
                if is_said and fails_silently(self.shell):
                    raise ShownInterrupt(str(error)) from None
                raise
            finally:
                self._show_warnings()

    def _run_line(self, line: str) -> object:
        from ollama_magic.notebook.commands import run_line

        value = run_line(self, line)
        # IPython shows only the value that ends a cell.
        if value is not None and is_value_dropped():
            self.show(value)
        return value

    def _ask_cell(self, line: str, cell: str) -> object:
        from ollama_magic.notebook.cli.parser import parse_chat_arguments

        if line.strip() and not cell.strip():
            from ollama_magic.notebook.cli.help import page_asked_for

            if page := page_asked_for(line):
                return page
        args = parse_chat_arguments(line)
        reply = self.ask(args, magic_body(self.cells.raw_cell, line, cell))
        if args.target:
            self.shell.user_ns[args.target] = reply
        return self.unless_shown(reply)

    def ask(
        self,
        args: ChatOptions,
        text: str,
        notes: tuple[str, ...] = (),
        begun: Turn | None = None,
    ) -> Reply | Comparison | Decision | None:
        """Ask as a cell does; a dry run shows the request and returns None."""
        if args.template is not None:
            from ollama_magic.notebook.templates import applied

            args, text = applied(self.session, args, text)
        if args.dry_run:
            from ollama_magic.render.tables import TextPage

            each = args.for_each_model() or (args,)
            texts = [self._request_text(one, text) for one in each]
            self.show(TextPage("\n\n".join(texts)))
            return None
        reply: Reply | Comparison | Decision
        if args.choose is not None:
            from ollama_magic.generation.decisions import decide

            reply = decide(self.session, args, text, self._display(args))
        elif args.compare:
            from ollama_magic.generation.compare import compare

            reply = compare(self.session, args, text, self._columns(args))
        else:
            from ollama_magic.generation.run import ask

            display = self._display(args)
            reply = ask(self.session, args, text, display, notes=notes, begun=begun)
        self._just_shown.add(id(reply))
        return reply

    def _request_text(self, args: ChatOptions, text: str) -> str:
        """Return the request that ``ask`` would send."""
        if args.choose is not None:
            from ollama_magic.generation.decisions import decision_text

            return decision_text(self.session, args, text)
        from ollama_magic.generation.dry_run import request_text

        return request_text(self.session, args, text)

    def show_reply(self, reply: Reply) -> None:
        """Show a reply, as in the cell that requested it."""
        self._display().finish_reply(reply, reply.metadata)
        self._just_shown.add(id(reply))

    def unless_shown(
        self, reply: Reply | Comparison | Decision | None
    ) -> Reply | Comparison | Decision | None:
        """Return the reply, or None if a cell would have an empty second output.

        That is so in a terminal, and for what ``%%capture`` takes.
        """
        would_show = self._is_terminal or is_value_captured()
        is_shown = would_show and shows_itself(self.cells.raw_cell)
        return None if is_shown else reply

    def _show_value(self, reply: Reply | Comparison | Decision) -> None:
        # The cell that returns the reply may have shown it already.
        if id(reply) in self._just_shown:
            self._just_shown.discard(id(reply))
            return
        data, metadata = reply._repr_mimebundle_()
        self.shell.display_pub.publish(data=data, metadata=metadata)

    def _show_warnings(self) -> None:
        """Show warnings that no reply has shown, such as one about a damaged store."""
        warnings = self._session.take_warnings() if self._session else []
        if warnings:
            from ollama_magic.render.tables import TextPage

            self.show(TextPage("\n".join(warnings)))

    # -- what the front end can do ---------------------------------------------

    def show(self, page: object) -> None:
        """Display a value as one output."""
        from IPython.display import display

        display(page)  # type: ignore[no-untyped-call]

    def progress_line(self) -> ProgressLine:
        """Open a line of progress in the cell or in the terminal."""
        from ollama_magic.render.output import NotebookProgress, TerminalProgress

        if self._is_terminal:
            return TerminalProgress(sys.stdout.write)
        published = self.shell.display_pub
        return NotebookProgress(
            published.publish, published.clear_output, mode=self.cells.claim_output()
        )

    def widget(self, widget: SavedAsTable) -> object:
        """Return the widget; in a terminal, its table and what to type."""
        if not self._is_terminal:
            return widget
        summary = widget.summary(widget.in_terminal)
        widget.close()
        return summary

    def confirm(self, question: str) -> bool | None:
        """Ask the user; return None if no user can answer."""
        from ollama_magic.generation.tool_calls import ask_user

        answer = ask_user(f"{question} [y/N] ")
        return None if answer is None else answer.strip().lower() in {"y", "yes"}

    @property
    def _is_terminal(self) -> bool:
        return is_terminal(self.shell)

    def _display(self, args: ChatOptions | None = None) -> ReplyDisplay:
        if self._is_terminal:
            from ollama_magic.render.terminal import TerminalDisplay

            return TerminalDisplay(sys.stdout.write)
        from ollama_magic.render.streaming import StreamDisplay

        return StreamDisplay(**self._notebook_display(args))

    def _columns(self, args: ChatOptions) -> ComparisonDisplay:
        if self._is_terminal:
            from ollama_magic.render.columns import TerminalColumns

            return TerminalColumns(sys.stdout.write)
        from ollama_magic.render.columns import ColumnsDisplay

        return ColumnsDisplay(**self._notebook_display(args))

    def _notebook_display(self, args: ChatOptions | None) -> dict[str, Any]:
        from ollama_magic.render.compat import publisher_of

        settings = self.session.settings
        return {
            "publish": publisher_of(self.shell),
            "clear_output": self.shell.display_pub.clear_output,
            "view": merged(settings, args or ChatOptions()).format,
            "hz": settings.update_hz,
            "mode": self.cells.claim_output(),
        }

    # -- life cycle ------------------------------------------------------------

    @property
    def session(self) -> Session:
        """The state behind the magics, made at first use, perhaps by Tab completion."""
        with self._session_lock:
            if self._session is None:
                from ollama_magic.generation.session import Session

                self._session = Session(
                    self.shell, self._settings, self.cells, self.past_cells
                )
            return self._session

    def _settings(self) -> Settings:
        return Settings(**{name: getattr(self, name) for name in SETTING_NAMES})

    def close(self) -> None:
        """Close the session and the panels, and unregister everything.

        A server that was started keeps running until ``%ollama serve --stop`` or the
        end of the kernel, because ``%reload_ext`` calls this too.
        """
        if "ollama_magic.widgets.panel" in sys.modules:
            sys.modules["ollama_magic.widgets.panel"].close_panels()
        with self._session_lock:  # Tab completion may be making it
            if self._session is not None:
                self._session.close()
        self.preload.unregister()
        self.cells.unregister()
        self.failing_cells.unregister()
        self.past_cells.unregister()
        unregister_all(self.shell, self)
        formatter = self.shell.display_formatter.ipython_display_formatter
        for module, name in _SHOW_THEMSELVES:
            formatter.pop(f"{module}.{name}", None)


def load(shell: Any) -> None:  # noqa: ANN401  (IPython is not typed)
    """Register the magics with a shell; a second call replaces the first."""
    unload(shell)
    # NB: IPython asks for the docstring with `getdoc`, so the help loads at first use.
    OllamaMagics.ollama.getdoc = _magic_docstring  # type: ignore[union-attr]
    _drop_unusable_settings(shell.config)
    magics = OllamaMagics(shell)
    shell.register_magics(magics)
    input_transforms.install(shell)
    sources = completion_sources.Sources(
        shell, lambda: magics.session, lambda: magics._session, magics._settings
    )
    # NB: the shell outlives a reload of this module.
    shell.meta[_KEY] = magics
    Greeting(magics, completion.install(shell, sources)).register()


def _magic_docstring() -> str:
    from ollama_magic.notebook.cli.help import magic_docstring

    return magic_docstring()


def _drop_unusable_settings(config: Any) -> None:  # noqa: ANN401  (untyped mapping)
    """Drop values that ``%config`` has rejected, and say so.

    Traitlets keeps a rejected value, and would then not load the extension at all.
    """
    section: Any = config.OllamaMagics
    traits: dict[str, Any] = OllamaMagics.class_traits(config=True)
    for name, value in list(section.items()):
        if name not in traits or isinstance(value, LazyConfigValue):
            continue
        try:
            _checked_setting(name, traits[name].validate(HasTraits(), value))
        except TraitError:
            del section[name]
            sys.stderr.write(
                f"OllamaMagics.{name} cannot be {value!r}; the default is used.\n"
                f"  next: %config OllamaMagics   shows the allowed values\n"
            )


def unload(shell: Any) -> None:  # noqa: ANN401  (IPython is not typed)
    """Unregister everything; does nothing if nothing is registered."""
    magics = shell.meta.pop(_KEY, None)
    if magics is None:
        return
    magics.close()
    completion.uninstall(shell)
    input_transforms.uninstall(shell)
    for kind in shell.magics_manager.magics.values():
        kind.pop("ollama", None)
    if magics in shell.configurables:
        shell.configurables.remove(magics)
