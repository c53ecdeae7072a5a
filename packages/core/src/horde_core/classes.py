"""The executor classes that everybody knows. What a class means is up to the operator: see `horde_core.terms`."""

from enum import StrEnum


class ExecutorClass(StrEnum):
    """The five classes that published clients know. Operators may define more."""

    spin_up_4min__gpu_24gb = "spin_up-4min.gpu-24gb"
    always_on__gpu_24gb = "always_on.gpu-24gb"
    always_on__llm__a6000 = "always_on.llm.a6000"
    always_on__test = "always_on.test"
    always_on__cpu__8c__16gb = "always_on.cpu.8c.16gb"


DEFAULT_CLASS = ExecutorClass.spin_up_4min__gpu_24gb
