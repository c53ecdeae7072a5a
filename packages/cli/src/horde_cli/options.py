"""The options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Config = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="A client.toml.", rich_help_panel="Connection"),
]
Facilitator = Annotated[
    str | None,
    typer.Option("--facilitator", metavar="URL", help="Where the horde is.", rich_help_panel="Connection"),
]
Hotkey = Annotated[
    Path | None,
    typer.Option("--hotkey", metavar="FILE", help="The hotkey to log in with.", rich_help_panel="Connection"),
]
ExecutorHotkey = Annotated[
    Path | None,
    typer.Option("--hotkey", metavar="FILE", help="Its hotkey; made in --data if there is none."),
]
Token = Annotated[
    str | None,
    typer.Option("--token", metavar="TOKEN", help="Of `horde executor enroll`; needed at the first start."),
]
Count = Annotated[int, typer.Option("--count", min=1, help="How many may come in with it.")]
Expires = Annotated[str, typer.Option("--expires", metavar="TIME", help="Until when: 30m, 12h, 7d.")]
Url = Annotated[str | None, typer.Option("--url", metavar="URL", help="Where others reach the facilitator.")]
Why = Annotated[str, typer.Option("--why", metavar="TEXT", help="Shown to whoever wonders.")]
Named = Annotated[str, typer.Argument(metavar="HOTKEY", help="The executor, or the beginning of its address.")]
Job = Annotated[str, typer.Argument(metavar="UUID", help="The job, or the first characters of it (4 or more).")]

Data = Annotated[Path | None, typer.Option("--data", metavar="DIR", help="Where everything is kept.")]
Host = Annotated[str, typer.Option("--host", help="The address to listen on.")]
Port = Annotated[int, typer.Option("--port", min=0, max=65535, help="The port; 0 takes a free one.")]
Admit = Annotated[
    list[str] | None,
    typer.Option("--admit", metavar="ROLE=SS58", help="Let a hotkey in: `user`, `executor`, … Repeatable."),
]
CheatOut = Annotated[
    str | None,
    typer.Option("--cheat-out", metavar="TIME", help="How long a cheat takes an executor out: 30m, 4h (default)."),
]
Slots = Annotated[int, typer.Option("--slots", min=1, help="How many jobs may run at once.")]
Classes = Annotated[
    list[str] | None,
    typer.Option("--class", metavar="CLASS", help="A class to serve. Repeatable; default: all there are."),
]
AllowEgress = Annotated[
    list[str] | None,
    typer.Option("--allow-egress", metavar="HOST:PORT", help="A private address that inputs may use. Repeatable."),
]

ImageBytes = Annotated[
    str | None,
    typer.Option("--image-bytes", metavar="SIZE", help="Room for pulled images, like 50GB; default: a share."),
]

Image = Annotated[str, typer.Argument(metavar="IMAGE", help="The image, as `docker run` takes it.")]
Args = Annotated[
    list[str] | None, typer.Argument(metavar="ARGS", help="Everything that follows goes to the container.")
]
Class = Annotated[str, typer.Option("--class", metavar="CLASS", help="The kind of machine.")]
Input = Annotated[
    list[str] | None,
    typer.Option("--input", metavar="/volume/PATH=SOURCE", help="A file, directory or URL. Repeatable."),
]
Artifacts = Annotated[
    Path | None, typer.Option("--artifacts", metavar="DIR", help="Save the job's artifacts here.")
]
ArtifactsDir = Annotated[
    str, typer.Option("--artifacts-dir", metavar="PATH", help="Where the container writes them.")
]
Env = Annotated[
    list[str] | None,
    typer.Option("--env", "-e", metavar="NAME[=VALUE]", help="A variable; alone, as it is here. Repeatable."),
]
SecretEnv = Annotated[
    list[str] | None,
    typer.Option(
        "--secret-env",
        metavar="NAME[=VALUE]",
        help="One that nobody is shown; best as NAME alone. Repeatable.",
    ),
]
Namespace = Annotated[str, typer.Option("--namespace", help="Where the job comes from, like SN123.0.")]
Priority = Annotated[
    int, typer.Option("--priority", min=-10, max=10, help="Among your own jobs: the greater first.")
]
Limit = Annotated[
    list[str] | None,
    typer.Option("--limit", metavar="STAGE=TIME,…", help="For download, execution and upload: 90, 10m, 2h."),
]
Detach = Annotated[bool, typer.Option("--detach", "-d", help="Print the UUID and leave the job.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show nothing but the job's output.")]
