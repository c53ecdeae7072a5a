"""Which of the classes that an executor offers it serves, and why not the others. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from horde_core.terms import ClassTerms, Share, unfit


@dataclass(frozen=True, slots=True)
class Service:
    """What an executor serves. `refused`: what it offered and does not serve, with the reasons."""

    served: frozenset[str] = frozenset()
    refused: Mapping[str, str] = field(default_factory=dict[str, str])


def judge(
    offered: Collection[str] | None,
    bound: frozenset[str] | None,
    vocabulary: Mapping[str, ClassTerms],
    share: Share | None,
) -> Service:
    """What an executor with this share serves.

    Args:
        offered: the classes that it names; None: whatever it may serve.
        bound: the only ones that its hotkey may serve; None: all.
        vocabulary: those that there are.
        share: the most that a job gets there; None: it does not say.
    """
    if offered is None:
        offered = vocabulary if bound is None else bound
    reasons = {name: _why_not(name, bound, vocabulary, share) for name in offered}
    return Service(
        served=frozenset(name for name, why in reasons.items() if why is None),
        refused={name: why for name, why in reasons.items() if why is not None},
    )


def _why_not(
    name: str, bound: frozenset[str] | None, vocabulary: Mapping[str, ClassTerms], share: Share | None
) -> str | None:
    if bound is not None and name not in bound:
        return f"its hotkey was let in for {', '.join(sorted(bound))} only"
    terms = vocabulary.get(name)
    return unfit(terms, share) if terms is not None else "nobody has defined such a class"
