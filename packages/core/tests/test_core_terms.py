"""Terms of executor classes: strict as an operator sets them, and clear about who may not serve."""

import json
from collections.abc import Mapping

import pytest
from pydantic import ValidationError

from horde_core.classes import ExecutorClass
from horde_core.spec import field_errors
from horde_core.terms import MIB, ClassTerms, Profile, Share, is_class_name, unfit

GIB = 1024 * MIB


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"disk": 10}, "disk"),
        ({"runtime": "runsc"}, "runtime"),
        ({"weight": -1}, "weight"),
        ({"weight": 2.5}, "weight"),
        ({"max_seconds": 0}, "max_seconds"),
        ({"profile": "none"}, "profile"),
        ({"cpus": "8"}, "cpus"),
        ({"cpus": 0}, "cpus"),
        ({"memory": 1024}, "memory"),
        ({"shm": 2 * GIB, "memory": GIB}, "shm"),
        ({"gpus": -1}, "gpus"),
        ({"description": "x" * 201}, "description"),
    ],
)
def test_terms_that_cannot_be_kept_name_their_field(wrong: Mapping[str, object], field: str) -> None:
    """What does not act is not accepted, nothing is coerced."""
    with pytest.raises(ValidationError) as refused:
        ClassTerms.model_validate_json(json.dumps(wrong))
    assert set(field_errors(refused.value)) == {field}


def test_a_class_promises_nothing_by_default() -> None:
    """So any executor may serve it, whatever it has."""
    assert unfit(ClassTerms(), None) is None
    assert unfit(ClassTerms(gpus=8, vram=80 * GIB, profile=Profile.STRICT), Share(0.1, 0)) is None


@pytest.mark.parametrize(
    ("terms", "why"),
    [
        (ClassTerms(cpus=2, memory=2 * GIB, shm=GIB), None),
        (ClassTerms(cpus=2.5), "a job gets 2 cores there, and the class promises 2.5"),
        (
            ClassTerms(memory=3 * GIB),
            "a job gets 2048 MiB of memory there, and the class promises 3072 MiB of memory",
        ),
        (
            ClassTerms(shm=3 * GIB),
            "a job gets 2048 MiB of memory there, and the class promises 3072 MiB of shared",
        ),
    ],
)
def test_an_executor_whose_share_is_smaller_than_the_promise_must_not_serve(
    terms: ClassTerms, why: str | None
) -> None:
    """It is told in numbers; one that says nothing of its share serves no class that promises something."""
    found = unfit(terms, Share(cpus=2, memory=2 * GIB))
    assert found == why if why is None else found and found.startswith(why)
    assert unfit(terms, None) == "the executor does not say what a job gets there"


def test_names_of_classes_fit_into_a_path() -> None:
    """Those of the published clients do."""
    assert all(is_class_name(name) for name in [*ExecutorClass, "a", "Lab.big_2", "x" * 100])
    assert not any(is_class_name(name) for name in ["", ".", "-a", "a/b", "a b", "ż", "x" * 101, "a\n"])
