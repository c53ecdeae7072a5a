"""Paths and image names: one normal form, everything else is refused with words."""

import posixpath
import re
import string

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from horde_core import paths
from horde_core.images import MAX_LENGTH, parse_image, parse_registry

DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("path", "normal"),
    [
        ("/artifacts", "/artifacts"),
        ("/artifacts/", "/artifacts"),
        ("/output/results", "/output/results"),
        ("/volume", "/volume"),
        ("/data/ż ó/x=y,z", "/data/ż ó/x=y,z"),
        ("/etcetera", "/etcetera"),
        ("/var/lib/data", "/var/lib/data"),
        ("/home/user/.cache", "/home/user/.cache"),
    ],
)
def test_a_directory_of_the_users_has_one_normal_form(path: str, normal: str) -> None:
    """Only a slash at the end is dropped."""
    assert paths.absolute(path) == normal


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("", "absolute"),
        ("artifacts", "absolute"),
        ("/", "directory below"),
        ("//", "must not start with '/'"),
        ("/a//b", "empty components"),
        ("/a/./b", "'.'"),
        ("/a/../b", "'..'"),
        ("/..", "'..'"),
        ("/etc", "system"),
        ("/etc/passwd", "system"),
        ("/proc/self", "system"),
        ("/var/run/docker.sock", "system"),
        ("/usr/", "system"),
        ("/a\x00b", "control"),
        ("/a\nb", "control"),
        ("/a\\b", "backslash"),
        ("/a\u202eb", "invisible"),
        ("/a\ud800", "Unicode"),
        ("/e\u0301", "NFC"),
        ("/" + "x" * 256, "255 bytes"),
        ("/" + "ż" * 128, "255 bytes"),
        ("/" + "/".join(["ab"] * 33), "deeper"),
        ("/" + "/".join(["x" * 200] * 6), "limit is 1024"),
    ],
)
def test_an_odd_directory_is_refused_with_the_cause(path: str, why: str) -> None:
    """Nothing is repaired by guessing."""
    with pytest.raises(ValueError, match=re.escape(why)):
        paths.absolute(path)


@given(st.text(max_size=40) | st.lists(st.sampled_from(["..", ".", "", "a", "b/", "\\", "\0"])).map("/".join))
def test_a_path_that_is_accepted_stays_below_its_root(text: str) -> None:
    """Joined to any root and normalised, an accepted path never leaves the root and comes back unchanged."""
    try:
        parts = paths.components(text)
    except ValueError:
        assume(text != "")
        return
    joined = posixpath.normpath(posixpath.join("/root", *parts))
    assert joined == "/".join(["/root", *parts])
    assert paths.components("/".join(parts)) == parts


@pytest.mark.parametrize(
    ("name", "engine_name"),
    [
        ("busybox", "busybox:latest"),
        ("python:3.11-slim", "python:3.11-slim"),
        ("user/image:tag", "user/image:tag"),
        ("a/b/c__d/e-f--g.h:V1.2_3-x", "a/b/c__d/e-f--g.h:V1.2_3-x"),
        ("host:5000/name", "host:5000/name:latest"),
        ("host:5000/name:1", "host:5000/name:1"),
        ("host:5000/a/b", "host:5000/a/b:latest"),
        ("host:5000/5000", "host:5000/5000:latest"),
        ("localhost:5000/name", "localhost:5000/name:latest"),
        ("[::1]:5000/name", "[::1]:5000/name:latest"),
        (f"host:5000/name@{DIGEST}", f"host:5000/name@{DIGEST}"),
        (f"host:5000/name:1@{DIGEST}", f"host:5000/name@{DIGEST}"),
        ("name:5000", "name:5000"),
        ("localhost/name:1", "localhost/name:1"),
        ("registry.example.com/team/image", "registry.example.com/team/image:latest"),
        ("[::1]:5000/x:1", "[::1]:5000/x:1"),
        ("docker.io/library/busybox:1", "library/busybox:1"),
        (f"user/image@{DIGEST}", f"user/image@{DIGEST}"),
        (f"user/image:tag@{DIGEST}", f"user/image@{DIGEST}"),
    ],
)
def test_an_image_name_is_read_as_the_engine_reads_it(name: str, engine_name: str) -> None:
    """A port is no tag, a missing tag is `latest`, a digest decides."""
    assert str(parse_image(name)) == engine_name


@pytest.mark.parametrize(
    ("name", "home", "key"),
    [
        ("busybox", ("docker.io", "busybox"), "docker.io/busybox:latest"),
        ("index.docker.io/library/busybox", ("docker.io", "busybox"), "docker.io/busybox:latest"),
        ("registry-1.docker.io/library/busybox:1", ("docker.io", "busybox"), "docker.io/busybox:1"),
        ("docker.io/team/app:1", ("docker.io", "team/app"), "docker.io/team/app:1"),
        ("Host.example.com:5000/library/x", ("host.example.com:5000", "library/x"), None),
        (f"localhost/x@{DIGEST}", ("localhost", "x"), f"localhost/x@{DIGEST}"),
    ],
)
def test_an_image_has_one_home_however_it_is_spelled(name: str, home: tuple[str, str], key: str | None) -> None:
    """Docker's own registry has several names for itself and for its library; hosts are in lower case."""
    assert parse_image(name).home == home
    assert key is None or parse_image(name).key == key


@pytest.mark.parametrize(
    ("text", "registry"),
    [
        ("docker.io", "docker.io"),
        ("index.docker.io", "docker.io"),
        ("Registry-1.Docker.IO", "docker.io"),
        ("Host.example.com", "host.example.com"),
        ("host:5000", "host:5000"),
        ("[::1]:5000", "[::1]:5000"),
    ],
)
def test_a_registry_has_one_name(text: str, registry: str) -> None:
    """It is the one under which its images are looked for."""
    assert parse_registry(text) == registry
    assert parse_image(f"{text}/team/x").home[0] == registry


@pytest.mark.parametrize("text", ["", "https://host", "host/path", "host:", "host:port", "ho_st", "x" * 256])
def test_what_is_no_registry_is_refused(text: str) -> None:
    """With words that quote it."""
    with pytest.raises(ValueError, match="is no registry"):
        parse_registry(text)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "1 to"),
        ("x" * (MAX_LENGTH + 1), "1 to"),
        ("User/image", "lower-case"),
        ("user//image", "lower-case"),
        ("/image", "lower-case"),
        ("image/", "lower-case"),
        ("a b", "lower-case"),
        ("-image", "lower-case"),
        ("image:", "tag"),
        ("image:-x", "tag"),
        ("image:" + "t" * 129, "tag"),
        ("image:a:b", "tag"),
        ("image@", "digest"),
        ("image@sha256:12", "digest"),
        ("image@" + DIGEST.upper(), "digest"),
        ("ex_ample.com/x", "registry"),
        ("host:port/x", "registry"),
        ("image\n", "lower-case"),
        ("http://host/image", "registry"),
    ],
)
def test_what_is_no_image_name_is_refused_with_the_part_that_is_wrong(name: str, why: str) -> None:
    """The message leads to the mistake."""
    with pytest.raises(ValueError, match=why):
        parse_image(name)


@given(st.text(string.ascii_letters + string.digits + "._-/:@[]\n é", max_size=60))
def test_reading_an_image_name_is_stable(text: str) -> None:
    """What was accepted reads the same again in the engine's spelling; nothing but ValueError is ever raised."""
    try:
        image = parse_image(text)
    except ValueError:
        return
    again = parse_image(str(image))
    assert (again.registry, again.repository, again.digest) == (image.registry, image.repository, image.digest)
    assert image.digest or again.tag == image.tag
    assert not set(str(image)) & set(" \n")
