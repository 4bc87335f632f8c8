"""When interrupts are raised, inside and outside a block that holds them."""

# ruff: noqa: PT012  (an interrupt comes between statements, so there are several)

import signal
import threading

import pytest

from ollama_magic.client import background
from ollama_magic.client.background import (
    check_interrupt,
    defer_interrupt,
    held,
    let_through,
    run_in_background,
)


@pytest.fixture(autouse=True)
def handler():
    """Python's own handler, as a kernel sets it for each cell."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)


def press():
    signal.raise_signal(signal.SIGINT)


def test_a_held_interrupt_is_raised_once_by_the_next_check():
    done = []
    with held():
        press()
        done.append("went on")
        with pytest.raises(KeyboardInterrupt):
            check_interrupt()
        check_interrupt()
        done.append("to the end")
    assert done == ["went on", "to the end"]


def test_an_unchecked_interrupt_is_raised_at_the_end_of_the_block():
    done = []
    with pytest.raises(KeyboardInterrupt), held():
        press()
        done.append("all")
    assert done == ["all"]


def test_an_interrupt_does_not_hide_an_error():
    with pytest.raises(ValueError, match="the error"), held():
        press()
        raise ValueError("the error")


def test_user_code_is_interrupted_at_once_and_only_once():
    with held():
        with pytest.raises(KeyboardInterrupt), let_through():
            try:
                press()
            finally:
                press()  # during the clean-up
        with pytest.raises(KeyboardInterrupt):
            check_interrupt()


def test_an_earlier_interrupt_is_raised_before_user_code_runs():
    with held():
        press()
        with pytest.raises(KeyboardInterrupt), let_through():
            pytest.fail("this ran")


def test_a_nested_block_holds_interrupts_inside_user_code():
    done = []
    with held():
        with pytest.raises(KeyboardInterrupt), let_through():
            with held():
                press()
                done.append("the inner one")
            done.append("not reached")
        with pytest.raises(ZeroDivisionError), let_through(), held():
            _ = 1 / 0
    assert done == ["the inner one"]


def test_an_interrupt_that_was_raised_too_early_is_deferred():
    with held():
        press()
        try:
            check_interrupt()
        except KeyboardInterrupt:
            defer_interrupt()
        with pytest.raises(KeyboardInterrupt):
            check_interrupt()


def test_deferring_outside_a_block_raises_again():
    with pytest.raises(KeyboardInterrupt):
        try:
            press()
        except KeyboardInterrupt:
            defer_interrupt()


def test_a_second_press_after_a_while_interrupts_at_once(monkeypatch):
    monkeypatch.setattr(background, "_STUCK_S", 0.0)
    with held():
        press()
        with pytest.raises(KeyboardInterrupt):
            while True:  # until the clock has advanced
                press()


def test_a_second_press_within_a_second_is_ignored_in_a_kernel(monkeypatch):
    """Until the kernel restores its handler, or a second has passed."""
    with pytest.raises(KeyboardInterrupt), held(lingers=True):
        press()
    press()
    with held(lingers=True):
        pass
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    monkeypatch.setattr(background, "_LINGERING_S", -1.0)
    with pytest.raises(KeyboardInterrupt), held(lingers=True):
        press()
    with pytest.raises(KeyboardInterrupt):
        press()


def test_other_threads_and_ignored_signals_are_left_alone():
    def elsewhere():
        with held(), let_through():
            check_interrupt()

    with held():
        press()
        run_in_background(elsewhere, on_tick=lambda: None, tick_s=60)
        with pytest.raises(KeyboardInterrupt):
            check_interrupt()
    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with held():
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    signal.signal(signal.SIGINT, signal.default_int_handler)
