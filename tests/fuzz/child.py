"""The process of one target: what it calls is imported under atheris, which then sees every branch."""

import importlib
import sys
from pathlib import Path

import atheris

from fuzz.guided import INSTRUMENTED, start

module, name, room, *arguments = sys.argv[1:]
for loaded in [loaded for loaded in sys.modules if loaded.partition(".")[0] in INSTRUMENTED]:
    del sys.modules[loaded]  # so that it is read again, and seen
with atheris.instrument_imports(include=list(INSTRUMENTED), enable_loader_override=False):
    targets = importlib.import_module(f"fuzz.{module}").TARGETS
start(targets[name], Path(room), arguments)
