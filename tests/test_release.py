"""What a release uploads: an sdist with the whole project, a wheel with the package, and one version everywhere."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest
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
        "CHANGELOG.md": newest and newest[1],
    }
    assert found == dict.fromkeys(found, recbole_autorec.__version__)


# The steps of .github/workflows/release.yml that are scripts of their own.


@pytest.fixture
def step(tmp_path):
    """Return a function that runs a step of the release workflow in a folder with the project's texts."""
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8"))
    scripts = {each.get("name"): each.get("run") for each in workflow["jobs"]["build"]["steps"]}
    for name in ("README.md", "CHANGELOG.md"):
        shutil.copy(ROOT / name, tmp_path)

    def run(name: str, tag: str = f"v{recbole_autorec.__version__}") -> subprocess.CompletedProcess[str]:
        runner = {"GITHUB_REF_NAME": tag, "GITHUB_SERVER_URL": "https://host", "GITHUB_REPOSITORY": "some/where",
                  "PYTHONPATH": str(ROOT), "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}  # fmt: skip
        command = ["bash", "-eo", "pipefail", "-c", scripts[name]]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=runner)

    return run


def test_only_a_tag_of_the_version_is_released(step):
    assert step("The tag is the version").returncode == 0
    for tag in ("v9.9.9", recbole_autorec.__version__):
        done = step("The tag is the version", tag)
        assert done.returncode == 1
        assert f"the tag is {tag}, recbole_autorec.__version__ is {recbole_autorec.__version__}" in done.stdout


def test_readme_of_the_package_index_has_no_relative_link(step, tmp_path):
    before = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert step("Absolute links in README, which the package index shows outside the repository").returncode == 0
    text, tag = (tmp_path / "README.md").read_text(encoding="utf-8"), f"v{recbole_autorec.__version__}"
    pictures, links = re.findall(r"!\[[^\]]*\]\(([^)]*)", text), re.findall(r"(?<!!)\[[^\]]*\]\(([^)]*)", text)
    assert f"https://host/some/where/blob/{tag}/LICENSE" in links
    assert all(each.startswith("https://") for each in [*pictures, *links])
    assert len(links) == len(re.findall(r"(?<!!)\[[^\]]*\]\([^)]*", before)) > 10
    assert "https://recbole.io" in links  # already absolute
    assert re.sub(r"\]\([^)]*\)", "", text) == re.sub(r"\]\([^)]*\)", "", before)


def test_pictures_are_files_and_links_are_pages(step, tmp_path):
    (tmp_path / "README.md").write_text("![a: b](docs/a.png) [Results](#results), [x](docs/a.md#b) [y](mailto:z)")
    step("Absolute links in README, which the package index shows outside the repository", "v1")
    assert (tmp_path / "README.md").read_text() == (
        "![a: b](https://host/some/where/raw/v1/docs/a.png) [Results](https://host/some/where/blob/v1/README.md#results), "
        "[x](https://host/some/where/blob/v1/docs/a.md#b) [y](mailto:z)"
    )


def test_the_notes_are_the_versions_section_of_the_changelog(step, tmp_path):
    text = "# Changelog\n\n## 10.1.0\n\n* new\n  line\n\n## 0.1.0\n\n* old\n"
    (tmp_path / "CHANGELOG.md").write_text(text)
    assert step("Notes from the changelog", "v10.1.0").returncode == 0
    assert (tmp_path / "notes.md").read_text() == "\n* new\n  line\n\n"
    step("Notes from the changelog", "v0.1.0")
    assert (tmp_path / "notes.md").read_text() == "\n* old\n"
    assert step("Notes from the changelog", "v0.2.0").returncode != 0
