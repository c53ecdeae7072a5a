"""A container that tries everything it can with its own directories, and what comes of it."""

from horde_core.outcomes import Reason, Stage

SCRIPT = r"""
cd /output || exit 1
echo good > good
mknod device c 1 5 && exit 9
mount -t tmpfs tmpfs . && exit 9
ln -s /etc/hosts absolute; ln -s ../../../../etc/passwd relative; ln -s / way; ln -s loop loop
ln -s nowhere dangling; ln -s /proc/1/environ environ; ln -s /proc/self/fd/0 input
ln /etc/passwd from-image; echo x > twin; ln twin twin2; ln /etc/hosts from-host
mkfifo pipe; (cat pipe &)
truncate -s 8796093022208 sparse
(mkdir nest; cd nest; i=0; while [ $i -lt 200 ]; do mkdir d; cd d; i=$((i+1)); done; echo x > x)
echo x > "$(printf 'new\nline')"; echo x > "$(printf 'caf\351')"; echo x > "$(printf '\033[2J')"
echo x > locked; chmod 0 locked; echo x > setuid; chmod 6777 setuid; echo x > -rf; echo x > '$(reboot)'
mkdir -p volume etc proc; echo mine > etc/passwd
i=0; while [ $i -lt 50 ]; do mv good swap; ln -s /etc/passwd good; rm good; mv swap good; i=$((i+1)); done
"""
REFUSED = {
    "absolute": "a symbolic link",
    "relative": "a symbolic link",
    "way": "a symbolic link",
    "way/etc/passwd": "a directory on the way to it is a link",
    "loop": "a symbolic link",
    "dangling": "a symbolic link",
    "environ": "a symbolic link",
    "input": "a symbolic link",
    "twin": "a hard link",
    "pipe": "a pipe",
    "sparse": "is a sparse file",
    "nest": "is a directory",
    "from-image": "is not there",
    "from-host": "is not there",
}


async def test_a_hostile_container_gets_out_what_is_its_own_and_nothing_else(agent, claim_of):
    """Its files come as artifacts; all else is named there, and refused as an output, each with its reason."""
    uploads = [
        {"output_upload_type": "single_file_put", "url": "http://127.0.0.1:9/", "relative_path": path}
        for path in REFUSED
    ]
    told = await agent.do(claim_of(args=["sh", "-c", SCRIPT], artifacts_dir="/output", uploads=uploads))
    outcome = told.outcome.outcome
    assert (outcome.stage, outcome.reason) == (Stage.UPLOAD, Reason.UPLOAD_FAILED), outcome.message
    problems = {**outcome.context["upload_problems"]}
    for path, words in REFUSED.items():
        assert words in problems[f"/output/{path}"], path
    assert told.artifacts == {
        "/output/good": b"good\n",
        **{f"/output/{name}": b"x\n" for name in ("locked", "setuid", "-rf", "$(reboot)")},
        "/output/etc/passwd": b"mine\n",
    }
    left_out = {left.path: left.why for left in told.outcome.left_out}
    for path, words in REFUSED.items():
        if words not in ("is not there", "is a sparse file", "is a directory") and "/" not in path:
            assert words in left_out[f"/output/{path}"], path
    assert "over the limit" in left_out["/output/sparse"]
    assert any("deeper than 32" in why for why in left_out.values())
    assert sum("a name that cannot be delivered" in why for why in left_out.values()) == 4
