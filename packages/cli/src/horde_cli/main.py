"""The entry point: runs a command and tells an error in one line, with what to do about it."""

import os
import sys
import traceback

import typer
from typer.exceptions import TyperException

from horde_cli.commands import app
from horde_cli.errors import CommandError

DEBUG_VARIABLE = "COMPUTE_HORDE_DEBUG"
INTERRUPTED = 130
READER_GONE = 141
UNEXPECTED = 70  # sysexits.h: an internal software error


def main() -> int:
    """Run the command line of this process; returns the exit code."""
    try:
        code = app(standalone_mode=False)
        sys.stdout.flush()
    except CommandError as error:
        return _told(str(error), error.exit_code)
    except TyperException as error:
        text = error.format_message()
        # Without a text the help was just shown in its place, for a command that wants more words.
        return _told(f"{text} See: {_command(error)} --help", error.exit_code) if text else error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has seen enough; the interpreter must not try to flush it once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return READER_GONE
    except Exception as error:  # noqa: BLE001 - a person gets a line, not a traceback
        return _told(f"unexpected {type(error).__name__}: {error}; {DEBUG_VARIABLE}=1 shows where", UNEXPECTED)
    return code if isinstance(code, int) else 0


def _told(text: str, code: int) -> int:
    if os.environ.get(DEBUG_VARIABLE):
        traceback.print_exc()
    print(f"horde: {' '.join(text.split())}", file=sys.stderr)
    return code


def _command(error: TyperException) -> str:
    context = getattr(error, "ctx", None)
    return getattr(context, "command_path", "horde")
