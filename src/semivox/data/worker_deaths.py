"""Why worker processes died, in one line with what to do about it."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from multiprocessing import connection
from multiprocessing.process import BaseProcess

from semivox.errors import ResourceError

REAP_S = 1.0
"""How long after a failure a worker may take to be seen dead."""
LIKELY_CAUSES = {
    signal.SIGKILL: "most likely memory ran out: use fewer workers (0 reads without any) or a smaller patch or batch",
    signal.SIGBUS: "most likely /dev/shm is full or a file of the store was cut off: use 0 workers, or prepare again",
}


def explain_deaths(workers: Sequence[BaseProcess]) -> ResourceError | None:
    """Describe the workers that died, or return None when all are alive and the trouble is another."""
    ended = connection.wait([process.sentinel for process in workers], timeout=REAP_S)
    for process in workers:
        if process.sentinel in ended:
            process.join(REAP_S)
    dead = {process.pid: process.exitcode for process in workers if process.exitcode}
    if not dead:
        return None
    endings = ", ".join(f"process {pid} {_ending(exitcode)}" for pid, exitcode in dead.items())
    problem = f"{len(dead)} of {len(workers)} worker processes died: {endings}"
    causes = [LIKELY_CAUSES[signal.Signals(-code)] for code in dead.values() if -code in LIKELY_CAUSES]
    fix = causes[0] if causes else "see its last words above"
    return ResourceError("T6", "data workers", problem, f"{fix}; then use `semivox resume`")


def _ending(exitcode: int) -> str:
    return f"was killed by {signal.Signals(-exitcode).name}" if exitcode < 0 else f"exited with code {exitcode}"
