"""The benchmarks read back as they were written, and everything that is wrong with a file named."""

import numpy as np
import pytest
from PIL import Image

from jointdit_core.evaluation.datasets import DATASETS, Fault, Pair, find_pairs, read_sample
from tests.evaluation.layouts import COUNT, STEP


@pytest.mark.parametrize("name", DATASETS)
def test_a_layout_is_read_back_in_metres(name, written):
    folder, depths = written(name)
    pairs, faults = find_pairs(DATASETS[name], folder)
    assert len(pairs) == COUNT and not faults
    near, far = DATASETS[name].depth_range
    for pair, depth in zip(pairs, depths, strict=True):
        sample = read_sample(DATASETS[name], folder, pair)
        assert sample.depth.shape == depth.shape and sample.image.size == depth.shape[::-1]
        known = np.isfinite(depth) & (depth < 65.5 if STEP[name] == 1 / 1000 else True)
        np.testing.assert_allclose(sample.depth[known], depth[known], atol=0.51 * STEP[name] + 1e-6)
        counting = np.any(list(sample.valid.values()), axis=0)
        assert not counting[~np.isfinite(depth)].any()
        if name != "diode":  # its mask says what counts
            assert sample.depth[counting].max() < far and sample.depth[counting].min() > near


def test_crops_are_those_of_the_benchmarks(written):
    folder, _ = written("kitti")
    pairs, _ = find_pairs(DATASETS["kitti"], folder)
    sample = read_sample(DATASETS["kitti"], folder, pairs[0])
    for crop, rows in (("eigen", (117, 321)), ("garg", (143, 349))):  # of 352 rows, by hand; 43 to 1172 of 1216 columns
        found_rows, found_columns = np.nonzero(sample.valid[crop])
        assert rows[0] <= found_rows.min() and found_rows.max() < rows[1]
        assert 43 <= found_columns.min() and found_columns.max() < 1172
    folder, _ = written("nyu")
    pairs, _ = find_pairs(DATASETS["nyu"], folder)
    valid = read_sample(DATASETS["nyu"], folder, pairs[0]).valid["nyu-eigen"]
    rows, columns = np.nonzero(valid)
    assert rows.min() >= 45 and rows.max() < 471 and columns.min() >= 41 and columns.max() < 601


def test_a_list_chooses_and_orders_and_names_what_is_missing(written, tmp_path):
    folder, _ = written("kitti")
    pairs, _ = find_pairs(DATASETS["kitti"], folder)
    lines = [f"{pairs[5].image} {pairs[5].depth} 721.5377", f"{pairs[2].image} {pairs[2].depth} 721.5377"]
    lines += [f"{pairs[0].image} None 721.5377", "gone.png gone-too.png 721.5377"]
    (tmp_path / "list.txt").write_text("\n".join(lines))
    found, faults = find_pairs(DATASETS["kitti"], folder, tmp_path / "list.txt")
    assert found == [pairs[5], pairs[2]]
    assert [fault.file for fault in faults] == [pairs[0].image, "gone.png"]
    assert "no depth" in faults[0].reason and "gone-too.png" in faults[1].reason
    (tmp_path / "list.txt").write_text(lines[3])
    with pytest.raises(ValueError, match="names no pair that is in .*, as gone.png: gone.png and gone-too.png of the"):
        find_pairs(DATASETS["kitti"], folder, tmp_path / "list.txt")


@pytest.mark.parametrize("name", DATASETS)
def test_a_folder_of_another_data_set_is_told_what_was_looked_for(name, tmp_path):
    dataset = DATASETS[name]
    (tmp_path / "other.webp").write_bytes(b"")
    with pytest.raises(ValueError, match=f"holds nothing in the layout of {dataset.title}, pictures like ") as caught:
        find_pairs(dataset, tmp_path)
    for file in vars(dataset.example).values():
        assert file in str(caught.value)
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(b"")
    assert find_pairs(dataset, tmp_path) == ([dataset.example], [])


def test_halves_of_pairs_are_named(tmp_path):
    for name in ("rgb_0001.png", "depth_0002.png"):
        Image.new("L", (640, 480)).save(tmp_path / name)
    with pytest.raises(ValueError, match="like depth_0001.png; 2 files lack their other half, such as rgb_0001.png$"):
        find_pairs(DATASETS["nyu"], tmp_path)
    for name in ("rgb_0003.png", "depth_0003.png"):
        Image.new("L", (640, 480)).save(tmp_path / name)
    pairs, faults = find_pairs(DATASETS["nyu"], tmp_path)
    assert pairs == [Pair("rgb_0003.png", "depth_0003.png")]
    assert {fault.file: fault.reason for fault in faults} == {
        "rgb_0001.png": "its depth map is missing",
        "depth_0002.png": "its picture is missing",
    }


def nyu_pair(folder, depth, picture=None):
    Image.fromarray(np.zeros((480, 640, 3), np.uint8) if picture is None else picture).save(folder / "rgb_0001.png")
    Image.fromarray(depth).save(folder / "depth_0001.png")
    return read_sample(DATASETS["nyu"], folder, Pair("rgb_0001.png", "depth_0001.png"))


@pytest.mark.parametrize(
    ("depth", "named"),
    [
        (np.full((480, 640), 200, np.uint8), "16-bit"),
        (np.full((480, 640), 3, np.uint16), "unit"),  # metres in place of millimetres
        (np.full((480, 640), 50_000, np.uint16), "unit"),
        (np.full((240, 320), 3000, np.uint16), "640 x 480"),
        (np.zeros((480, 640), np.uint16), "known depth"),
    ],
)
def test_wrong_types_units_and_sizes_are_named(tmp_path, depth, named):
    found = nyu_pair(tmp_path, depth)
    assert isinstance(found, Fault) and found.file == "depth_0001.png" and named in found.reason


def test_damaged_files_are_named(tmp_path):
    assert not isinstance(nyu_pair(tmp_path, np.full((480, 640), 3000, np.uint16)), Fault)
    pair = Pair("rgb_0001.png", "depth_0001.png")
    for name in (pair.depth, pair.image):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
        found = read_sample(DATASETS["nyu"], tmp_path, pair)
        assert isinstance(found, Fault) and found.file == name
    (tmp_path / pair.image).unlink()
    assert read_sample(DATASETS["nyu"], tmp_path, pair).file == pair.image


def test_diode_and_eth3d_name_what_is_wrong(tmp_path):
    Image.new("RGB", (64, 48)).save(tmp_path / "a.png")
    depth, pair = np.full((48, 64, 1), 4.0, np.float32), Pair("a.png", "a_depth.npy")

    def reason():
        return read_sample(DATASETS["diode"], tmp_path, pair).reason

    np.save(tmp_path / "a_depth.npy", depth)
    assert "a_depth_mask.npy is missing" in reason()
    np.save(tmp_path / "a_depth_mask.npy", np.full((48, 64), 0.5))
    assert "0 and 1" in reason()
    np.save(tmp_path / "a_depth_mask.npy", np.ones((48, 64)))
    assert read_sample(DATASETS["diode"], tmp_path, pair).valid[""].all()
    np.save(tmp_path / "a_depth.npy", (depth * 1000).astype(np.int32))
    assert "int32" in reason()
    np.save(tmp_path / "a_depth.npy", depth[:, :32])
    assert "its picture" in reason()
    np.save(tmp_path / "a_depth.npy", np.where(depth > 0, np.nan, depth))
    assert "NaN" in reason()
    (tmp_path / "b").write_bytes(depth.tobytes()[:-4])
    assert "bytes" in read_sample(DATASETS["eth3d"], tmp_path, Pair("a.png", "b")).reason
