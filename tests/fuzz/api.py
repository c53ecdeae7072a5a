"""Random requests to everything that the API's own description lists, in every role.

usage: scripts/fuzz api [--minutes M] [--seed N]

A facilitator is started for it. Every answer must be one that the description knows: its status, its content type,
its schema; it must come within 5 s; and none may be a 5xx. Half of the requests are as the description wants them,
half are not; where a path or a body names a job, an attempt or a hotkey, it is often one that exists, and requests
that have to be signed are signed, so that what lies behind the first check is reached. Ends with 1 if something
was found, or if there is an operation that nobody ever got an answer of 2xx from.
"""

import argparse
import contextlib
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import (
    content_type_conformance,
    not_a_server_error,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from schemathesis.core.failures import Failure, FailureGroup

from fuzz.world import ROLES, World, X
from horde_core.signing import Scope, sign_request
from horde_core.wire.client import CREATE_PATH, EVENTS_PATH, JOBS_PATH
from processes import Command, running

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]
SIGNED = {CREATE_PATH: Scope.SIGNED_FIELDS, "/api/v1/cheated-job/": Scope.FULL_REQUEST}
STREAMS = (EVENTS_PATH, JOBS_PATH + "{uuid}/logs/")
"""They go on for as long as the client listens, so they are listened to for a moment and tried less often."""
NOT_THE_APIS = {"transfer-encoding", "content-length", "connection", "host", "expect", "upgrade", "te", "trailer"}
"""Made-up headers of these names break the request as HTTP; what answers then is the server below the API."""
STREAM_S = 0.5
PATIENCE_S = 30
LONGEST_S = 5
"""After which published clients give up."""
FIRST_BATCH, BATCH, STREAM_BATCH, REFUSED_BATCH = 5, 25, 1, 2
"""Requests at a time; fewer at first, so that a short run has tried everything, and where a role is refused."""
NEVER_GRANTED = {"GET /ca.pem"}
"""There is no authority where plain HTTP is spoken."""
ROUNDS = 1
"""After so many rounds an operation that was never granted is a finding, too."""
FACILITATOR = """
import asyncio, json, logging, sys
from pathlib import Path
from horde_facilitator.serve import serve
from horde_facilitator.settings import Settings
logging.basicConfig(level=logging.ERROR)
admit = {role: frozenset(names) for role, names in json.loads(sys.argv[2]).items()}
settings = Settings(Path(sys.argv[1]), port=0, admit=admit, long_poll_s=0.2, keep_alive_s=0.1)
asyncio.run(serve(settings, ready=lambda url: print(f"ready {url}", flush=True)))
"""
"""With short polls, or most of the time would go by with waiting."""


@dataclass(frozen=True)
class Plan:
    """One operation in one role, with the strategies that make requests to it: well-formed ones, and any."""

    role: str
    operation: Any
    good: st.SearchStrategy[Any]
    cases: st.SearchStrategy[Any]


@dataclass
class Report:
    """What was asked and what came back. `findings` are texts by what they are about, the first of each."""

    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)
    accepted: Counter[str] = field(default_factory=Counter)
    asked: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0
    slowest: str = ""
    rounds: int = 0
    findings: dict[str, str] = field(default_factory=dict)

    def print(self) -> None:
        asked = f"{sum(self.statuses.values())} requests, {len(self.asked)} operations, {self.rounds} rounds"
        print(f"{asked}; statuses by role:")
        for role in ROLES:
            counts = sorted((status, n) for (r, status), n in self.statuses.items() if r == role)
            print(f"  {role:9} " + "  ".join(f"{status}: {n}" for status, n in counts))
        print(f"slowest answer: {self.slowest_s:.2f} s, {self.slowest}")
        for about, text in self.findings.items():
            print(f"\nFOUND {about}\n{text}")
        print(f"\n{len(self.findings)} findings")


def fuzz(seconds: float, chosen: int) -> Report:
    """Ask for so long."""
    report = Report()
    with tempfile.TemporaryDirectory(prefix="horde-fuzz-") as directory, World.made() as world:
        program = [sys.executable, "-c", FACILITATOR]
        served = Command(f"{directory}/data", world.admitted, program=program)
        with running(served):
            world.enter(served.wait_for_line("ready "))
            _ask(world, report, time.monotonic() + seconds, random.Random(chosen))
        for line in served.lines:
            if line.startswith("ERROR"):
                report.findings.setdefault("the facilitator's log", served.text)
    never = sorted(set(report.asked) - set(report.accepted) - NEVER_GRANTED)
    if never and report.rounds >= ROUNDS:
        report.findings["operations that were never granted"] = "\n".join(never)
    return report


def _ask(world: World, report: Report, until: float, chance: random.Random) -> None:
    document = world.http.get("/api/openapi.json").json()
    schema = schemathesis.openapi.from_dict(document)
    operations = [(found.ok(), *_cases(found.ok())) for found in schema.get_all_operations()]
    plans = [Plan(role, *each) for role in ROLES for each in operations]
    while True:
        chance.shuffle(plans)
        for plan in plans:
            if time.monotonic() > until:
                return
            world.refresh()
            _batch(world, report, plan, chance.getrandbits(64))
        report.rounds += 1


def _cases(operation: Any) -> tuple[st.SearchStrategy[Any], st.SearchStrategy[Any]]:
    good, bad = (
        operation.as_strategy(generation_mode=mode) for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    )
    return good, good | bad


def _batch(world: World, report: Report, plan: Plan, chosen: int) -> None:
    """A few requests to one operation in one role; the first of them is as good as can be."""
    label = plan.operation.label
    report.asked[label] += 1
    count = STREAM_BATCH if plan.operation.path in STREAMS else BATCH if report.rounds else FIRST_BATCH
    before = report.accepted[label]

    def ask(data: st.DataObject, cases: st.SearchStrategy[Any], chances: st.SearchStrategy[bool]) -> None:
        case = data.draw(cases)
        headers = dict(world.headers(plan.role))
        for name in [name for name in case.headers or {} if name.lower() in NOT_THE_APIS]:
            del case.headers[name]
        if headers:  # whoever came in has a token of its own
            (case.headers or {}).pop("Authorization", None)
        if data.draw(chances):
            known = world.known(plan.role)
            for parameters in (case.path_parameters or {}, case.query or {}):
                for name in sorted(parameters.keys() & known.keys()):
                    parameters[name] = data.draw(st.sampled_from(known[name]))
        if isinstance(case.body, dict) and data.draw(chances):
            case.body |= world.body(label)
        if case.media_type == "application/octet-stream" and data.draw(chances):
            case.body = b"x"
            if "X-SHA256" in (case.headers or {}):
                case.headers["X-SHA256"] = X
        if case.path in SIGNED and isinstance(case.body, dict) and data.draw(chances):
            headers |= _signature(case.body, SIGNED[case.path], world, plan.role)
        _check(case, headers, world, report, plan.role)

    _run(partial(ask, cases=plan.good, chances=st.just(True)), 1, chosen)
    if report.accepted[label] == before:
        count = min(count, REFUSED_BATCH)
    with contextlib.suppress(Unsatisfiable):  # there is no wrong way to ask for something without any parameter
        _run(partial(ask, cases=plan.cases, chances=st.sampled_from([True, True, False])), count, chosen)


def _run(ask: Callable[[st.DataObject], None], count: int, chosen: int) -> None:
    @seed(chosen)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def run(data: st.DataObject) -> None:
        ask(data)

    run()


def _signature(body: Mapping[str, Any], scope: Scope, world: World, role: str) -> dict[str, str]:
    try:
        return sign_request(body, scope, world.hotkeys[role], time.time_ns()).headers()
    except (TypeError, ValueError):  # it cannot be printed as JSON, as the facilitator will find out, too
        return {}


def _check(case: Any, headers: dict[str, str], world: World, report: Report, role: str) -> None:
    label = case.operation.label
    stream = case.operation.path in STREAMS
    began = time.monotonic()
    try:
        answer = case.call(
            base_url=world.url,
            session=world.session,
            headers=headers,
            timeout=(PATIENCE_S, STREAM_S if stream else PATIENCE_S),
            allow_redirects=False,
        )
    except requests.RequestException as error:
        report.findings.setdefault(f"{label}: {type(error).__name__}", f"{error}\n{_shown(case, headers)}")
        return
    took = time.monotonic() - began
    report.statuses[role, answer.status_code] += 1
    if 200 <= answer.status_code < 300:
        report.accepted[label] += 1
    if took > report.slowest_s and not stream:
        report.slowest_s, report.slowest = took, label
    if took > LONGEST_S:
        report.findings.setdefault(f"{label}: slow", f"{took:.1f} s\n{_shown(case, headers)}")
    try:
        case.validate_response(answer, checks=CHECKS)
    except FailureGroup as group:
        for failure in group.exceptions:
            about = f"{label}: {getattr(failure, 'title', type(failure).__name__)} ({answer.status_code})"
            report.findings.setdefault(about, f"{failure}\n{_shown(case, headers)}")
    except Failure as failure:
        report.findings.setdefault(f"{label}: {failure.title}", f"{failure}\n{_shown(case, headers)}")


def _shown(case: Any, headers: dict[str, str]) -> str:
    return case.as_curl_command(headers=headers)[:2000]


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--minutes", type=float, default=1)
    options.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    given = options.parse_args()
    print(f"seed {given.seed}")
    report = fuzz(given.minutes * 60, given.seed)
    report.print()
    return 1 if report.findings else 0


if __name__ == "__main__":
    sys.exit(main())
