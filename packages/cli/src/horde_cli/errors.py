"""What a command can fail with. Each is told in one line: what is wrong, and what to do about it.

CommandError                exit code 1
├── BadUsage                2: the command line is wrong
├── NotConfigured           2: no facilitator or hotkey is known
├── HotkeyError             a key file cannot be read or written
├── StartError              a part of the horde did not start
├── NoSuchJob               no job, or more than one, has that UUID
├── NotFound                what an operator named does not exist
├── Untrusted               what answers does not prove to be the facilitator
└── ServiceError            the facilitator could not be reached, or could not do it
"""


class CommandError(Exception):
    """A command cannot do what it was asked for.

    `message` says what is wrong and `remedy` what to do; `exit_code` is what the shell sees.
    """

    exit_code = 1

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        """One line: the message, then the remedy."""
        text = f"{self.message}; {self.remedy}" if self.remedy else self.message
        return " ".join(text.split())


class BadUsage(CommandError):  # noqa: N818 - errors of this tree say what is wrong, like those of the shell
    """The command line is wrong."""

    exit_code = 2


class NotConfigured(CommandError):  # noqa: N818 - see BadUsage
    """No facilitator or hotkey is known."""

    exit_code = 2


class HotkeyError(CommandError):
    """A key file cannot be read or written."""


class StartError(CommandError):
    """A part of the horde did not start."""


class NoSuchJob(CommandError):  # noqa: N818 - see BadUsage
    """No job, or more than one, has that UUID."""


class NotFound(CommandError):  # noqa: N818 - see BadUsage
    """What an operator named does not exist."""


class Untrusted(CommandError):  # noqa: N818 - see BadUsage
    """What answers does not prove to be the facilitator."""


class ServiceError(CommandError):
    """The facilitator could not be reached, or could not do what it was asked for."""
