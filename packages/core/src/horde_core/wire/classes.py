"""Executor classes: for users and operators what there is, for operators also what is to be.

Weights are thousandths of an executor-second, sizes bytes. Reading replies is tolerant, as in the client API; what
an operator sets is read strictly (`horde_core.terms.ClassTerms`).

| request | answer |
|---|---|
| GET    /api/v1/classes/             | 200 `Classes` |
| PUT    /operator/v1/classes/{name}  | 204; body `ClassTerms`, the whole of them |
| DELETE /operator/v1/classes/{name}  | 204; 400 jobs of it wait or run; 404 there is none |
"""

from pydantic import BaseModel, ConfigDict

from horde_core.terms import ClassTerms
from horde_core.wire.operator import PREFIX

CLASSES_PATH = "/api/v1/classes/"
OPERATOR_CLASSES_PATH = PREFIX + "/classes"


class ClassEntry(ClassTerms):
    """A class with its terms. `executors`: how many serve it now."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=False)

    name: str
    executors: int = 0


class Classes(BaseModel):
    """The classes that jobs may ask for, by name."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    classes: list[ClassEntry]
