"""A desktop program: events come to the window's own thread by ``deliver``. Without a display it writes to the console."""

import os
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from queue import SimpleQueue
from typing import Any

from cti_framework import BlockingCtiModel, CallEvent, CallFinished, CtiProviderInitializer, Event, open_session


class Telephone:
    """What the program does, whatever it is shown on. Its methods are called in the window's thread."""

    def __init__(self, session: BlockingCtiModel, worker: ThreadPoolExecutor, show: Callable[[str], object]) -> None:
        self.worker = worker
        self.show = show
        self.is_over = False
        self.inbox: SimpleQueue[Callable[[], object]] = SimpleQueue()
        # To put something into a queue waits for nobody: the session never waits for the window.
        session.on_event(self.on_event, deliver=self.inbox.put)

    def on_event(self, event: Event) -> None:
        if isinstance(event, CallEvent):
            self.show(f"{type(event).__name__}: {event.call.other.number}")
        if isinstance(event, CallFinished):
            self.is_over = True

    def do(self, verb: Callable[..., object], *arguments: object) -> None:
        """Have a verb called in another thread: it may take seconds, and a window that stands still looks broken."""
        done = self.worker.submit(verb, *arguments)
        done.add_done_callback(lambda done: self.inbox.put(partial(self.on_done, done)))

    def on_done(self, done: Future[Any]) -> None:
        if done.exception() is not None:
            self.show(str(done.exception()))

    def take(self) -> None:
        """Do what has come in. The window calls this again and again."""
        while not self.inbox.empty():
            self.inbox.get()()


def in_window(session: BlockingCtiModel, worker: ThreadPoolExecutor) -> None:
    import tkinter

    window = tkinter.Tk()
    line = tkinter.StringVar(window, "ready")
    telephone = Telephone(session, worker, line.set)
    tkinter.Label(window, textvariable=line, width=40).pack()
    tkinter.Button(window, text="Call", command=lambda: telephone.do(session.make_call, "0501234567")).pack()
    tkinter.Button(window, text="Hang up", command=lambda: telephone.do(session.drop_call)).pack()

    def turn() -> None:
        telephone.take()
        window.after(50, turn)

    turn()
    window.mainloop()


def on_console(session: BlockingCtiModel, worker: ThreadPoolExecutor) -> None:
    def show(text: str) -> None:
        print(text)
        if text.startswith("CallConnected"):
            telephone.do(session.drop_call)

    telephone = Telephone(session, worker, show)
    telephone.do(session.make_call, "0501234567")
    while not telephone.is_over:
        telephone.inbox.get()()


def main() -> None:
    has_display = sys.platform in ("darwin", "win32") or "DISPLAY" in os.environ
    initializer = CtiProviderInitializer({"cti.provider": "dummy"})
    with ThreadPoolExecutor(max_workers=1) as worker, open_session(initializer, "100") as session:
        (in_window if has_display else on_console)(session, worker)


if __name__ == "__main__":
    main()
