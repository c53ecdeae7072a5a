"""The page of rules and the tests that hold them belong together."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[4]
RULE = re.compile(r"[A-D]\d+")


def test_every_rule_of_the_page_is_named_by_a_test_and_the_reverse():
    """A rule without a test is a wish, and a test that names a rule which is not there is lost."""
    page = set(re.findall(rf"^\| ({RULE.pattern}) \|", (ROOT / "docs" / "wire.md").read_text(), re.MULTILINE))
    files = [*ROOT.glob("packages/*/tests/**/*.py"), *ROOT.glob("tests/**/*.py")]
    docstring = re.compile(rf'^    """({RULE.pattern}): ', re.MULTILINE)
    assert page
    assert page == {rule for file in files for rule in docstring.findall(file.read_text())}
