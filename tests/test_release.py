"""What a release uploads: an sdist with the whole project, a wheel with the package, and one version everywhere."""

import re
import subprocess
import sys
import tarfile
import zipfile
from email.parser import HeaderParser

import yaml

import recbole_autorec
from tests.conftest import ROOT

# Of use in the repository only.
NOT_IN_AN_SDIST = (".ci/", ".github/", ".gitignore", ".pre-commit-config.yaml")


def in_sdist(release) -> set[str]:
    with tarfile.open(release.sdist) as archive:
        return {name.partition("/")[2] for name in archive.getnames() if archive.getmember(name).isfile()}


def in_wheel(path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def headers(text: str) -> dict[str, str]:
    return dict(HeaderParser().parsestr(text).items())


def test_an_sdist_has_every_file_of_the_project_and_no_stray_one(release):
    expected = {name for name in release.tracked if not name.startswith(NOT_IN_AN_SDIST)}
    written = {name for name in in_sdist(release) if not name.startswith("recbole_autorec.egg-info/")}
    assert written == expected | {"PKG-INFO"}
    assert {"LICENSE", "CHANGELOG.md", "dataset/tiny/tiny.inter", "tests/test_release.py"} < written


def test_a_wheel_has_the_package_with_its_properties_and_nothing_else(release):
    package = {name for name in release.tracked if name.startswith("recbole_autorec/")}
    properties = {f"recbole_autorec/{name}" for name in release.tracked if name.startswith("properties/")}
    info = f"recbole_autorec-{recbole_autorec.__version__}.dist-info"
    about = {f"{info}/{n}" for n in ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "top_level.txt")}
    assert in_wheel(release.wheel).keys() == package | properties | about | {f"{info}/licenses/LICENSE"}


def test_the_wheel_of_the_sdist_is_that_of_the_tree(release):
    of_sdist, of_tree = in_wheel(release.wheel), in_wheel(release.wheel_of_tree)
    assert of_sdist == of_tree


def test_twine_finds_nothing_to_complain_about(release):
    command = [sys.executable, "-m", "twine", "check", "--strict", release.sdist, release.wheel]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert (done.returncode, done.stdout.count("PASSED")) == (0, 2), done.stdout + done.stderr


def test_the_version_is_the_same_everywhere(release):
    (metadata,) = (text for name, text in in_wheel(release.wheel).items() if name.endswith("/METADATA"))
    newest = re.search(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    found = {
        "metadata": headers(metadata.decode())["Version"],
        "sdist": release.sdist.name.removeprefix("recbole_autorec-").removesuffix(".tar.gz"),
        "CITATION.cff": yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["version"],
        "CHANGELOG.md": newest and newest[1],
    }
    assert found == dict.fromkeys(found, recbole_autorec.__version__)
