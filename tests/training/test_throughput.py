"""The throughput command at tiny size."""

import pytest

from jointdit_core.training.__main__ import main


def test_pairs_a_second_and_memory_are_told(pipeline, tmp_path, capsys):
    pipeline.save_pretrained(tmp_path)
    main(["throughput", "--model", str(tmp_path), "--batch-sizes", "4", "8", "--seconds", "0.05"])
    lines = capsys.readouterr().out.splitlines()
    rows = [[float(cell) for cell in line.split("|")[1:-1]] for line in lines[-2:]]
    assert [row[2] for row in rows] == [4, 8]
    assert all(row[0] == 1 and row[3] > 0 and row[4] > 0.05 for row in rows)
    with pytest.raises(SystemExit, match="none is not the folder of a saved mini"):
        main(["throughput", "--model", str(tmp_path / "none")])


def test_the_memory_table_is_told(capsys):
    main(["memory", "--batch-size", "1"])
    assert "adafactor, --offload" in capsys.readouterr().out
