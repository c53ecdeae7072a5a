"""What there is to ask for in the facilitator that is fuzzed: people in every role, jobs in several states."""

import hashlib
import itertools
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import httpx2
import requests
from bittensor_wallet import Keypair

from horde_core.signing import Scope, sign_request

ROLES = ("nobody", "user", "executor", "trusted", "operator")
CLASS = "always_on.test"
X = hashlib.sha256(b"x").hexdigest()
"""The hash of the one input that there is, and of the one artifact."""
SPEC = {
    "executor_class": CLASS,
    "docker_image": "horde-test/busybox:1",
    "args": ["true"],
    "env": {"A": "1"},
    "artifacts_dir": "/out",
    "on_trusted_miner": False,
    "streaming_details": None,
    "volumes": [{"volume_type": "blob", "sha256": X, "size": 1, "relative_path": "x"}],
    "uploads": [],
    "queue_time_limit": None,
}
EVENTS = {"events": [{"kind": "status", "status": "executor_ready", "at_ns": 1}]}
FAILED = {
    "outcome": {
        "kind": "failed", "stage": "execution", "reason": "nonzero_return_code", "message": "", "exit_code": 3
    },
    "events": [], "logs": {}, "artifacts": [],
}  # fmt: skip
CULPRIT = "culprit"
"""The executor that ran the job which has ended: it may be reported, and be taken out for it."""
CLAIMS = 100
VICTIM_S = 1
"""How often those whom the operator's requests removed are let in again, and get back what was taken."""


class World:
    """The people, and what they have made. `victims` are those whom an operator's requests may name."""

    def __init__(self, http: httpx2.Client, session: requests.Session) -> None:
        self.http = http
        self.session = session
        self.url = ""
        self.hotkeys = {role: Keypair.create_from_uri(f"//{role}") for role in (*ROLES, CULPRIT)}
        self.victims = [Keypair.create_from_uri(f"//victim{number}").ss58_address for number in range(2)]
        self._tokens: dict[str, str] = {}
        self._jobs: list[str] = []
        self._ended = ""
        self._held: dict[str, tuple[str, int]] = {}
        self._claims = itertools.count()
        self._let_in = 0.0

    @classmethod
    @contextmanager
    def made(cls) -> Iterator["World"]:
        """A world whose people have met no facilitator yet."""
        with httpx2.Client(trust_env=False, timeout=30) as http, requests.Session() as session:
            session.trust_env = False
            yield cls(http, session)

    @property
    def admitted(self) -> str:
        """Who may come in, as the facilitator is told at its start: JSON of addresses by role."""
        people = {role: [self.hotkeys[role].ss58_address] for role in ROLES if role != "nobody"}
        people["executor"] += [self.hotkeys[CULPRIT].ss58_address, *self.victims]
        return json.dumps(people)

    def enter(self, url: str) -> None:
        """Log everybody in; let a job have ended, and be reported; let two others be held."""
        self.url, self.http.base_url = url, url
        for role in (*ROLES[1:], CULPRIT):
            answer = self.http.post("/auth/login", json=self._login(role))
            answer.raise_for_status()
            self._tokens[role] = answer.json()["token"]
        blob = f"/api/v1/blobs/{X}/0"
        self._send("user", "PUT", blob, params={"size": 1}, content=b"x").raise_for_status()
        self._ended = self._finish()
        self._post_signed("/api/v1/cheated-job/", {"job_uuid": self._ended}, Scope.FULL_REQUEST)
        self.refresh()

    def refresh(self) -> None:
        """See to it that each kind of executor holds an attempt, and that the victims are in."""
        for role in ("executor", "trusted"):
            held = self._held.get(role)
            if held is None or self._send(role, "POST", _path(*held, "lease"), json={}).status_code != 200:
                self._held[role] = self._claim(role)
        if time.monotonic() > self._let_in + VICTIM_S:
            self._let_in = time.monotonic()
            put: list[tuple[str, Any]] = [("classes/fuzzed", {})]
            for address in self.victims:
                put += [(f"hotkeys/{address}/{role}", None) for role in ("user", "executor")]
                put += [(f"allowances/{address}/{CLASS}", {"cap": 1})]
            for what, body in put:
                self._send("operator", "PUT", f"/operator/v1/{what}", json=body).raise_for_status()

    def headers(self, role: str) -> dict[str, str]:
        """What a request in this role carries."""
        token = self._tokens.get(role)
        return {"Authorization": f"Bearer {token}"} if token else {}

    def known(self, role: str) -> Mapping[str, Sequence[Any]]:
        """Values that parameters of paths can have, by their names."""
        job, number = self._held.get(role) or self._held["executor"]
        return {
            "uuid": [self._ended, *self._jobs],
            "job": [job],
            "number": [number],
            "seq": [0, 1],
            "offset": [0],
            "stream": ["stdout", "stderr"],
            "path": ["out/x"],
            "claim": [f"claim-{next(self._claims)}"],
            "hotkey": self.victims,
            "role": ["user", "executor"],
            "executor_class": [CLASS],
            "name": ["fuzzed"],
            "sha256": [X],
            "size": [1],
        }

    def body(self, label: str) -> dict[str, Any]:
        """What a body can say so that it means something here, by the operation's label."""
        bodies: dict[str, Callable[[], dict[str, Any]]] = {
            "POST /api/v1/job-docker/": lambda: SPEC,
            "POST /api/v1/events/": lambda: {"jobs": dict.fromkeys(self._jobs[-3:], 0)},
            "PUT /executor/v1/claims/{claim}": lambda: {"classes": [CLASS]},
            "PUT /executor/v1/attempts/{job}/{number}/events/{seq}": lambda: EVENTS,
            "PUT /executor/v1/attempts/{job}/{number}/outcome": lambda: FAILED,
            "PUT /operator/v1/allowances/{hotkey}/{executor_class}": lambda: {"cap": 1, "refill_per_hour": 1},
            "POST /operator/v1/allowances/{hotkey}/{executor_class}/grant": lambda: {"amount": 1},
            "POST /api/v1/cheated-job/": lambda: {
                "job_uuid": self._ended,
                "trusted_job_uuid": None,
                "details": None,
            },
            "PUT /operator/v1/cheats/{uuid}": lambda: {"state": "dismissed", "why": ""},
            "POST /auth/login": lambda: self._login("user"),
            "POST /auth/redeem": lambda: {**self._login("user"), "invitation": self._invitation()},
            "POST /operator/v1/invitations": lambda: {"classes": None},
        }
        return bodies.get(label, dict[str, Any])()

    def _send(self, role: str, method: str, path: str, **kwargs: Any) -> httpx2.Response:
        headers = {**self.headers(role), **kwargs.pop("headers", {})}
        return self.http.request(method, path, headers=headers, **kwargs)

    def _login(self, role: str) -> dict[str, str]:
        nonce = self.http.get("/auth/nonce").json()["nonce"]
        hotkey = self.hotkeys[role]
        return {"hotkey": hotkey.ss58_address, "signature": hotkey.sign(nonce.encode()).hex(), "nonce": nonce}

    def _invitation(self) -> str:
        return self._send("operator", "POST", "/operator/v1/invitations", json={}).json()["token"]

    def _post_signed(self, path: str, body: Mapping[str, Any], scope: Scope) -> httpx2.Response:
        signed = sign_request(body, scope, self.hotkeys["user"], time.time_ns()).headers()
        return self._send("user", "POST", path, json=body, headers=signed).raise_for_status()

    def _create(self) -> None:
        answer = self._post_signed("/api/v1/job-docker/", SPEC, Scope.SIGNED_FIELDS)
        self._jobs = [*self._jobs[-20:], answer.json()["uuid"]]

    def _claim(self, role: str) -> tuple[str, int]:
        for _ in range(CLAIMS):
            body = {"classes": [CLASS], "slots": 1, "version": "1"}
            path = f"/executor/v1/claims/world-{next(self._claims)}"
            answer = self._send(role, "PUT", path, json=body)
            answer.raise_for_status()
            if answer.status_code == 200:
                held = answer.json()["job"], answer.json()["attempt"]
                if self._send(role, "POST", _path(*held, "lease"), json={}).status_code == 200:
                    return held
            else:
                self._create()
        raise AssertionError(f"{role} cannot get any job: {CLAIMS} claims brought none")

    def _finish(self) -> str:
        job, number = self._claim(CULPRIT)
        events = [
            {"kind": "status", "status": status, "at_ns": time.time_ns()}
            for status in ("executor_ready", "volumes_ready", "execution_done")
        ]
        entry = {"path": "/out/x", "size": 1, "sha256": X}
        outcome = {"kind": "succeeded", "exit_code": 0}
        report = {"outcome": outcome, "logs": {"stdout": {"size": 1}}, "artifacts": [entry]}
        put = [
            ("events/0", {"json": {"events": events}}),
            ("logs/stdout/0", {"content": b"x"}),
            ("artifacts/out/x", {"content": b"x", "headers": {"X-SHA256": X}}),
            ("outcome", {"json": {**report, "first_seq": 3, "events": []}}),
        ]
        for what, request in put:
            self._send(CULPRIT, "PUT", _path(job, number, what), **request).raise_for_status()
        return job


def _path(job: str, number: int, what: str) -> str:
    return f"/executor/v1/attempts/{job}/{number}/{what}"
