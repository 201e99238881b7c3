"""Numbers and flags that make no sense are one sentence, before anything is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from seqdis.bench.cli import main
from seqdis.bench.core.exits import USER

RUN = "run --methods dsvae --datasets sprites --preset quick --launcher local --dry-run"
TUNE = "tune dsvae"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f"{RUN} --seeds 1000000", "--seeds 1000000 is out of range; give 1 to 10000."),
        (f"{RUN} --workers 1000000", "--workers 1000000 is out of range; give 1 to 1000."),
        (f"{RUN} --per-device 0", "--per-device 0 runs nothing; give 1 to 1000."),
        (f"{RUN} --first-seed -1", "--first-seed -1 is out of range; give 0 to 1000000000."),
        (f"{TUNE} --trials 0", "--trials 0 runs nothing; give 1 to 10000."),
        (f"{TUNE} --workers -1", "--workers -1 runs nothing; give 1 to 1000."),
        (f"{TUNE} --keep 1.5", "--keep 1.5 must be above 0, and 1 at most."),
        (f"{TUNE} --rungs 500,fast", "--rungs 500,fast must be steps with commas between them, such as 500,1000,2000."),
        (f"{TUNE} --rungs 500,500", "--rungs 500,500 must rise, from 1 or more, such as 500,1000,2000."),
        (f"{TUNE} --preset paper", "say the steps at which trials are compared, such as --rungs 1000,1500,2000."),
        (f"{TUNE} --name ../x", "--name '../x' must be letters, digits, '-' and '_'."),
        (f"{TUNE} --launcher slurm", "a search decides after each trial which is next, and so runs on one machine"),
        (f"{TUNE} --set method.lr=fast", "method.lr='fast': must be a number"),
        ("tune dsvae,cdsvae", "a search is of one method: type a line for each."),
        ("tune autoencoder", "Autoencoder declares no settings to search; give its class a `space`"),
        ("tune", "no method named; try --methods all"),
        ("tune --report nothing", "nothing does not exist; name the folder that 'bench tune --pack-to' wrote."),
        ("retry --workers 0", "--workers 0 runs nothing; give 1 to 1000."),
        (f"{RUN} --gpus 1", "--gpus: for SLURM jobs"),
        (f"{RUN} --time 60 --max-jobs 2 --hold", "--time, --max-jobs, --hold: for SLURM jobs"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    line: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(line.split()) == USER
    said = capsys.readouterr().err
    assert message in said
    assert len(said.splitlines()) == 1
    assert not list(tmp_path.iterdir())
