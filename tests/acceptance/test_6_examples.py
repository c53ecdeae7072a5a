"""The programs under examples/ do what they say, as a user would run them."""

import csv
import os
import shutil
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path
from statistics import mean
from xml.etree import ElementTree as ET

import pytest

from processes import ROOT, Horde

pytestmark = pytest.mark.usefixtures("clean_machine")
DATA = Path(str(distribution("vega-datasets").locate_file("vega_datasets/_data")))


def run(horde: Horde, image: str, program: str | Path, *arguments: str | Path) -> str:
    """What the program prints."""
    env = {**os.environ, "COMPUTE_HORDE_CONFIG": str(horde.config), "EXAMPLE_IMAGE": image}
    command = [sys.executable, ROOT / "examples" / program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_hello(horde, image):
    """The first program: one container, one line."""
    assert run(horde, image, "hello.py", "Ada").startswith("hello Ada, this is Linux")


def test_the_ten_lines_of_the_readme(horde, image, tmp_path):
    """What the README shows runs as it stands there (on the tests' image)."""
    readme = (ROOT / "README.md").read_text()
    program = tmp_path / "readme.py"
    program.write_text(readme.split("```python\n")[1].split("```")[0].replace("busybox:1", image))
    assert run(horde, image, program) == f"Completed hello\n {{'/results/cores': b'{os.cpu_count()}\\n'}}\n"


def test_many(horde, image):
    """Eight jobs at once on one slot, and their answers put together."""
    printed = run(horde, image, "many.py").splitlines()
    assert len(printed) == 9
    assert printed[-1] == "2262 primes below 20000"


def test_weather(horde, image, files, tmp_path):
    """Inputs from the request and from a URL, a log, and files in directories, with the right figures in them."""
    directory, address = files
    shutil.copy(DATA / "seattle-temps.csv", directory)
    url = f"http://{address}/seattle-temps.csv"
    printed = run(horde, image, "weather.py", DATA / "seattle-weather.csv", url, tmp_path)
    assert "[stdout] reading 1461 days from /volume/data/seattle-weather.csv" in printed
    months = {row["month"]: row for row in rows(tmp_path / "tables" / "months.csv")}
    july = [row for row in rows(DATA / "seattle-weather.csv") if row["date"][5:7] == "07"]
    assert months["Jul"]["mean_high_c"] == f"{mean(float(day['temp_max']) for day in july):.1f}"
    assert months["Jul"]["rain_mm_per_year"] == f"{sum(float(day['precipitation']) for day in july) / 4:.1f}"
    hours = rows(tmp_path / "tables" / "hours.csv")
    noon = [(float(row["temp"]) - 32) / 1.8 for row in rows(DATA / "seattle-temps.csv") if " 12:" in row["date"]]
    assert hours[12] == {"hour": "12", "mean_c": f"{mean(noon):.1f}"}
    assert len(ET.parse(tmp_path / "charts" / "months.svg").getroot()) == 1 + 12 * 3
    assert "wettest    55.9 mm   on 2015/03/15" in (tmp_path / "report.txt").read_text()


def rows(path: Path) -> list[dict[str, str]]:
    """A CSV file as dictionaries."""
    with path.open() as file:
        return list(csv.DictReader(file))
