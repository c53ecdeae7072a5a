"""The process of one target: what it calls is imported under atheris, which then sees every branch."""

import importlib
import sys
from pathlib import Path

import atheris

from fuzz.guided import INSTRUMENTED, start

module, name, room, *arguments = sys.argv[1:]
sys.modules.pop("zipfile", None)  # so that it is read again, and seen
with atheris.instrument_imports(include=[*INSTRUMENTED, f"fuzz.{module}"], enable_loader_override=False):
    targets = importlib.import_module(f"fuzz.{module}").TARGETS
start(targets[name], Path(room), arguments)
