"""Train and fine-tune on one part of a dataset, judge on the other: the commands as a user types them."""

import json
from pathlib import Path

import pytest
from tiny_data import line

from guidedflow.cli import main
from guidedflow.data.convert import convert

QUICK = "--judge-steps 2 --judge-members 2 --judge-transitions 20 --judge-hidden 4 --json"


@pytest.mark.slow
def test_a_split_dataset_serves_training_fine_tuning_and_judging(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    convert(line(), tmp_path / "line.npz")
    train, held_out, run, tuned = (tmp_path / name for name in ("train.npz", "held-out.npz", "run", "tuned"))
    main(["data", "split", f"{tmp_path}/line.npz", str(train), str(held_out), "--share", "0.3"])
    common = "--hidden 4 --flow-steps 1 --steps 2 --batch-size 4 --log-interval 2"
    main(["train", "bc", "--task", "line", "--dataset", str(train), "--out", str(run), *common.split()])
    online = "--env tiny_environment:Destination --steps 2 --log-interval 2 --checkpoint-interval 2"
    main(["finetune", str(run), "--dataset", str(train), "--out", str(tuned), *online.split()])
    capsys.readouterr()
    main(["evaluate", str(tuned), "--off-policy", "--dataset", str(held_out), *QUICK.split()])
    told = json.loads(capsys.readouterr().out)
    assert [each["step"] for each in told["judged"]] == [4]
    assert not told["judged"][0]["seen"]
    assert told["recorded"]["episodes"] == 2
