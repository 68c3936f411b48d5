"""One decoder, seen from the server: a process that answers one message at a time."""

import os
import subprocess
import sys
from contextlib import suppress
from typing import Any

from clearhead.serve.frames import read_frame

# -P: a file in the current folder must not stand in for a module.
COMMAND = (sys.executable, "-P", "-m", "clearhead.serve.decoder")
# There are as many decoders as cores: threads of their own would only take them from each other.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class DecoderProcess:
    """Started, told its settings, and warm; raises `OSError` or `EOFError` if it is not."""

    def __init__(self, setup: bytes) -> None:
        self.process = subprocess.Popen(  # noqa: S603 - our own module
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | ONE_THREAD,
            start_new_session=True,  # Ctrl-C is for the server, which tells its decoders
        )
        try:
            self.ask(setup)
        except BaseException:
            self.kill()
            raise

    def ask(self, message: bytes) -> tuple[dict[str, Any], bytes]:
        """Its answer; raises `OSError` or `EOFError` if it ends before that."""
        if self.process.stdin is None or self.process.stdout is None:  # never: both are pipes
            raise EOFError
        self.process.stdin.write(message)
        self.process.stdin.flush()
        answer = read_frame(self.process.stdout)
        if answer is None:
            raise EOFError(f"process {self.process.pid} is gone")
        return answer

    def kill(self) -> None:
        """End it now, whatever it does."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            with suppress(OSError):  # what was still to be written
                if stream is not None:
                    stream.close()
