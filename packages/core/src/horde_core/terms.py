"""The terms that an operator sets for an executor class, and what of them binds an executor.

`cpus`, `memory` and `shm` are the limits of a job's container, and `profile` its capabilities: an executor keeps
to them, or it does not serve the class (`unfit`). `gpus` and `vram` are promises that are shown and that nobody
verifies yet.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from horde_core.price import UNIT

MIB = 1024**2
MAX_CLASSES = 64
"""How many classes there may be, and how many an executor may name."""
MAX_WEIGHT = 1000 * UNIT
MAX_BYTES = 2**60
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Profile(StrEnum):
    """The capabilities of a job's container: those that ordinary images need, or none at all."""

    DEFAULT = "default"
    STRICT = "strict"


class ClassTerms(BaseModel):
    """What an operator says of a class. None promises nothing: the executor decides.

    Attributes:
        weight: what a second costs, in thousandths of an executor-second.
        max_seconds: the highest sum of a job's limits, before the weight.
        cpus: cores of a job; fractions count.
        memory: of a job, in bytes.
        shm: the size of its `/dev/shm` in bytes, a part of its memory.
        gpus: of a job; shown, not verified.
        vram: of each GPU in bytes; shown, not verified.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    description: Annotated[str, Field(max_length=200)] = ""
    weight: Annotated[int, Field(ge=0, le=MAX_WEIGHT)] = UNIT
    max_seconds: Annotated[int, Field(ge=1, le=2**40)] | None = None
    profile: Profile = Profile.DEFAULT
    cpus: Annotated[float, Field(ge=0.01, le=4096, allow_inf_nan=False)] | None = None
    memory: Annotated[int, Field(ge=16 * MIB, le=MAX_BYTES)] | None = None
    shm: Annotated[int, Field(ge=MIB, le=MAX_BYTES)] | None = None
    gpus: Annotated[int, Field(ge=0, le=1024)] = 0
    vram: Annotated[int, Field(ge=MIB, le=MAX_BYTES)] | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.shm is not None and self.memory is not None and self.shm > self.memory:
            raise ValueError("shm: it is a part of the job's memory, so it cannot be larger than memory")
        return self


@dataclass(frozen=True, slots=True)
class Share:
    """What a job gets of an executor at the most: cores, and bytes of memory."""

    cpus: float
    memory: int


def is_class_name(text: str) -> bool:
    """Whether a class may have this name: 1 to 100 letters, digits, ``.``, ``_`` or ``-``, no sign first."""
    return _NAME.fullmatch(text) is not None


def unfit(terms: ClassTerms, share: Share | None) -> str | None:
    """Why an executor with this share must not serve a class with these terms; None if it may.

    `share` None: the executor did not say. Then it may serve what promises nothing.
    """
    if share is None:
        promises = terms.cpus is not None or terms.memory is not None or terms.shm is not None
        return "the executor does not say what a job gets there" if promises else None
    if terms.cpus is not None and share.cpus < terms.cpus:
        return f"a job gets {share.cpus:g} cores there, and the class promises {terms.cpus:g}"
    for least, what in ((terms.memory, "memory"), (terms.shm, "shared memory")):
        if least is not None and share.memory < least:
            given, promised = share.memory // MIB, least / MIB
            return f"a job gets {given} MiB of memory there, and the class promises {promised:.10g} MiB of {what}"
    return None
