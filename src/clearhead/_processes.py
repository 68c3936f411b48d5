"""Worker processes that end with the process that started them."""

import multiprocessing
import os
import signal
import threading
import time


def exit_with_parent() -> None:
    """In a worker process: end with its parent, even if that is killed, and leave Ctrl-C to it."""
    parent = multiprocessing.parent_process()
    if parent is None or "clearhead-parent" in {thread.name for thread in threading.enumerate()}:
        return
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent.pid:  # not so from the start if the parent is dead already
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, name="clearhead-parent", daemon=True).start()
