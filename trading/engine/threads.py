"""The hands of a real process: a thread for every errand."""

from threading import Thread

from trading.ports import Errand, Job


def in_a_thread(name: str, job: Job) -> Errand:
    """Begin *job* in a thread that dies with the process."""
    thread = Thread(target=job, name=name, daemon=True)
    thread.start()
    return thread
