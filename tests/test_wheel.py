"""The package as a user gets it: built, installed without the checkout, and run from somewhere else."""

from __future__ import annotations

import json
import os
import site
import subprocess
import sys
import tarfile
import venv
from pathlib import Path
from typing import NamedTuple

import pytest

from selfinstruct import resources

CHECKOUT = Path(__file__).resolve().parents[1]


class Installed(NamedTuple):
    """An environment that holds the wheel, and what was built for it."""

    bin: Path
    sdist: Path

    def run(self, *command: str, cwd: Path) -> str:
        """Run one of its programs from ``cwd``, the checkout out of its sight; standard output."""
        hidden = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
        environment = {name: value for name, value in os.environ.items() if name not in hidden}
        program, *arguments = command
        done = subprocess.run(
            [str(self.bin / program), *arguments], cwd=cwd, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel, built from the sdist, in an environment of its own; nothing is downloaded.

    The dependencies are borrowed: a path file adds this environment's site-packages to the new one's, and since
    path files in *there* are not read again, our own editable install stays invisible.
    """
    built, home = tmp_path_factory.mktemp("dist"), tmp_path_factory.mktemp("home")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(built), str(CHECKOUT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,), (sdist,) = built.glob("*.whl"), built.glob("*.tar.gz")
    venv.create(home, with_pip=False)
    python = home / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    (packages,) = (home / "lib").glob("python*/site-packages")
    (packages / "borrowed.pth").write_text("\n".join(site.getsitepackages()))
    return Installed(home / "bin", sdist)


def names(folder: Path) -> set[str]:
    """The files below a folder, by relative path."""
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}


def test_the_wheel_carries_the_prompts_seeds_and_recipes_of_the_checkout(installed: Installed, tmp_path: Path) -> None:
    """Every data file is in the wheel, and that is where the installed package reads it."""
    probe = "from selfinstruct import resources as r; print(r.prompts_dir(), r.seeds_dir(), r.recipes_dir(), sep='\\n')"
    prompts, seeds, recipes = (Path(line) for line in installed.run("python", "-c", probe, cwd=tmp_path).splitlines())
    package = prompts.parents[1]
    assert installed.bin.parent in package.parents
    assert [prompts, seeds, recipes] == [package / "_data/prompts", package / "_data/seeds", package / "recipes"]
    assert names(prompts) == names(CHECKOUT / "prompts")
    assert names(seeds) == names(CHECKOUT / "seeds")
    assert names(recipes) == names(CHECKOUT / "selfinstruct/recipes")


def test_a_checkout_reads_the_data_people_edit() -> None:
    """Run from a checkout, the package uses the folders at its top level."""
    assert resources.prompts_dir() == CHECKOUT / "prompts"
    assert resources.seeds_dir() == CHECKOUT / "seeds"
    assert resources.recipes_dir() == CHECKOUT / "selfinstruct/recipes"


def test_the_sdist_is_enough_to_test_and_release_from(installed: Installed) -> None:
    """It holds the data, the tests, the build files and the licence, and no run of ours."""
    with tarfile.open(installed.sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"LICENSE", "CHANGELOG.md", "Makefile", "constraints.txt", "pyproject.toml", ".ci/run", "seeds/SOURCES.md"}
    wanted |= {f"{top}/{name}" for top in ("tests", "prompts", "seeds") for name in names(CHECKOUT / top)}
    assert {name for name in wanted - held if "__pycache__" not in name} == set()
    assert {name for name in held if name.startswith("output/")} <= {"output/.gitkeep"}


def test_the_installed_command_explains_itself(installed: Installed, tmp_path: Path) -> None:
    """``selfinstruct --help`` runs without the checkout and names its first command."""
    assert "generate" in installed.run("selfinstruct", "--help", cwd=tmp_path)


def test_the_installed_command_generates_records(installed: Installed, tmp_path: Path) -> None:
    """A run with the scripted model, from an empty folder, writes at least as many instructions as asked for."""
    options = ["--api", "fake", "--num-instructions", "8", "--run", "t", "--output-dir", str(tmp_path / "out")]
    installed.run("selfinstruct", "generate", *options, cwd=tmp_path)
    shards = sorted((tmp_path / "out/t").glob("*/shard-*.jsonl"))
    records = [json.loads(line) for shard in shards for line in shard.read_text("utf-8").splitlines()]
    assert len({record["instruction"] for record in records}) >= 8
