"""Executor classes and the hardware that each promises."""

from dataclasses import dataclass
from enum import StrEnum


class ExecutorClass(StrEnum):
    """The five classes that published clients know. Operators may define more."""

    spin_up_4min__gpu_24gb = "spin_up-4min.gpu-24gb"
    always_on__gpu_24gb = "always_on.gpu-24gb"
    always_on__llm__a6000 = "always_on.llm.a6000"
    always_on__test = "always_on.test"
    always_on__cpu__8c__16gb = "always_on.cpu.8c.16gb"


DEFAULT_CLASS = ExecutorClass.spin_up_4min__gpu_24gb

GIB = 1024**3


@dataclass(frozen=True, slots=True)
class ClassPromise:
    """What a machine of a class offers to one job. Sizes in bytes; None: no promise, the machine decides."""

    description: str
    gpus: int = 0
    vram: int | None = None
    cpus: int | None = None
    memory: int | None = None


BUILT_IN: dict[str, ClassPromise] = {
    ExecutorClass.spin_up_4min__gpu_24gb: ClassPromise("a GPU with 24 GB, on demand", 1, 24 * GIB),
    ExecutorClass.always_on__gpu_24gb: ClassPromise("a GPU with 24 GB", 1, 24 * GIB),
    ExecutorClass.always_on__llm__a6000: ClassPromise("an RTX A6000 with 48 GB", 1, 48 * GIB),
    ExecutorClass.always_on__test: ClassPromise("any machine, for tests"),
    ExecutorClass.always_on__cpu__8c__16gb: ClassPromise("8 cores and 16 GB", 0, None, 8, 16 * GIB),
}
