"""Paths that somebody means harm with: mount keys, relative paths, artifact directories, and sets of them."""

from typing import Any

LONG = "n" * 256

# Paths below /volume or /output, and words of the refusal.
RELATIVE: list[tuple[str, str]] = [
    ("..", "'..'"),
    ("../a", "'..'"),
    ("a/../../b", "'..'"),
    ("a/..", "'..'"),
    ("a/../", "'..'"),
    ("./a", "'.'"),
    ("a/./b", "'.'"),
    (".", "'.'"),
    ("/a", "must not start"),
    ("//a", "must not start"),
    ("/volume/a", "must not start"),
    ("/etc/passwd", "must not start"),
    ("a//b", "empty components"),
    ("a//", "empty components"),
    ("..\\a", "backslash"),
    ("C:\\a", "backslash"),
    ("a\0b", "control"),
    ("a\nb", "control"),
    ("a\r\nb", "control"),
    ("\x1b[2J", "control"),
    ("a\x9bb", "control"),
    ("a\x7f", "control"),
    ("a\u202eb", "invisible"),
    ("a\u200bb", "invisible"),
    ("\ufeffa", "invisible"),
    ("a\u2028b", "invisible"),
    ("a\ue000", "invisible"),
    ("a\ud800", "Unicode"),
    ("e\u0301", "NFC"),
    ("\u212b", "NFC"),
    ("\u2126/a", "NFC"),
    (LONG, "255 bytes"),
    ("\u017c" * 128, "255 bytes"),
    ("/".join(["d"] * 33), "deeper"),
    ("/".join(["n" * 200] * 6), "limit is 1024"),
    ("n" * 100_000, "limit is 1024"),
]

# Directories inside the container, and words of the refusal; `RELATIVE` below any directory is refused as well.
DIRECTORIES: list[tuple[str, str]] = [
    ("", "absolute"),
    ("artifacts", "absolute"),
    ("../artifacts", "absolute"),
    ("~/artifacts", "absolute"),
    ("/", "directory below"),
    ("//", "must not start with '/'"),
    ("//etc", "must not start with '/'"),
    ("/..", "'..'"),
    ("/.", "'.'"),
    ("/bin", "system"),
    ("/dev/shm", "system"),
    ("/etc", "system"),
    ("/etc/passwd", "system"),
    ("/etc/", "system"),
    ("/lib64/x", "system"),
    ("/proc", "system"),
    ("/proc/self", "system"),
    ("/proc/sys/kernel", "system"),
    ("/run/docker.sock", "system"),
    ("/sys/fs/cgroup", "system"),
    ("/usr/", "system"),
    ("/usr/local/bin", "system"),
    ("/var/run/docker.sock", "system"),
    ("/.horde", "system"),
    ("/.horde/init", "system"),
    ("/.horde/line", "system"),
    ("/.dockerenv", "system"),
]


def inline(path: str | None) -> dict[str, Any]:
    return {"volume_type": "inline", "contents": "cGxhaW4=", "relative_path": path}


def single(path: str | None) -> dict[str, Any]:
    return {"volume_type": "single_file", "url": "https://example.com/x", "relative_path": path}


def put(path: str | None) -> dict[str, Any]:
    return {"output_upload_type": "single_file_put", "url": "https://example.com/x", "relative_path": path}


# Volumes that cannot be there together, and words of the refusal.
TOGETHER: list[tuple[list[dict[str, Any]], str]] = [
    ([inline(None)], "becomes a file"),
    ([inline("")], "becomes a file"),
    ([single(None)], "string"),
    ([single("")], "file name"),
    ([single("dir/")], "file name"),
    ([inline("a"), inline("a/b")], "lies inside /volume/a, which is a file"),
    ([inline("a/b"), inline("a")], "lies inside /volume/a, which is a file"),
    ([single("a/b/c"), single("a/b")], "lies inside /volume/a/b, which is a file"),
    ([inline("a"), single("a/b/c/d")], "lies inside /volume/a, which is a file"),
    ([inline("a"), {"volume_type": "zip_url", "contents": "https://example.com/x", "relative_path": "a/b"}],
     "lies inside /volume/a, which is a file"),
]  # fmt: skip
