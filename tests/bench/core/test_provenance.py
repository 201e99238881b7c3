"""Which code made a record: the commit, also of a checkout that is another user's and without git."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from seqdis.bench.core.provenance import ROOT, head_commit

ASK = "from seqdis.bench.core.provenance import code_version; v = code_version(); print(v.commit, v.dirty)"


def git(folder: Path, *words: str) -> str:
    line = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(folder), *words]
    return subprocess.run(line, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "some/branch")
    git(folder, "commit", "-q", "--allow-empty", "-m", "first")
    return folder


def test_head_is_read_without_git(checkout: Path, tmp_path: Path) -> None:
    first = git(checkout, "rev-parse", "HEAD")
    assert head_commit(checkout / ".git") == first
    git(checkout, "pack-refs", "--all")
    git(checkout, "worktree", "add", "-q", "-b", "other", str(tmp_path / "worktree"))
    git(tmp_path / "worktree", "commit", "-q", "--allow-empty", "-m", "second")
    second = git(tmp_path / "worktree", "rev-parse", "HEAD")
    assert first != second
    assert head_commit(checkout / ".git") == first
    assert head_commit(tmp_path / "worktree" / ".git") == second
    git(checkout, "checkout", "-q", "--detach", second)
    assert head_commit(checkout / ".git") == second


def test_what_is_no_repository_has_no_commit(tmp_path: Path) -> None:
    assert head_commit(tmp_path / ".git") is None
    (tmp_path / ".git").write_text("gitdir: /nowhere")
    assert head_commit(tmp_path / ".git") is None
    (tmp_path / ".git").unlink()
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_text("ref: refs/heads/unborn")
    assert head_commit(tmp_path / ".git") is None


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="no checkout")
@pytest.mark.parametrize("environment", [{"GIT_TEST_ASSUME_DIFFERENT_OWNER": "1"}, {"PATH": "/nowhere"}])
def test_commit_of_a_checkout_that_git_does_not_answer_for_is_recorded(environment: dict[str, str]) -> None:
    line = [sys.executable, "-P", "-c", ASK]
    done = subprocess.run(line, env={**os.environ, **environment}, capture_output=True, text=True, check=True)
    commit, dirty = done.stdout.split()
    assert commit == git(ROOT, "rev-parse", "HEAD")
    assert dirty in (("None",) if "PATH" in environment else ("True", "False"))
