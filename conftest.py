"""What holds for all tests of the repository."""

import signal


def pytest_configure() -> None:
    """Being asked to end is like Ctrl-C: fixtures still stop what they started."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
