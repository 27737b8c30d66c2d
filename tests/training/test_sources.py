"""Synthetic data sets read as they lie on disk, in units that agree, and what is wrong with files."""

import h5py
import numpy as np
import OpenEXR
import pytest
from PIL import Image

from jointdit_core.training.sources import SOURCES, SourceError, check_source, find_pictures, read_picture

H, W = 48, 64


def ramp():
    """Depths of a room: from 2 m at the bottom to 8 m at the top."""
    return np.linspace(8, 2, H, dtype=np.float32)[:, None].repeat(W, 1)


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (W, H), "gray").save(path)


def write_exr(path, values, kind, channels):
    path.parent.mkdir(parents=True, exist_ok=True)
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    OpenEXR.File(header, {name: np.ascontiguousarray(values.astype(kind)) for name in channels}).write(str(path))


def write_hypersim(folder, depth):
    images = folder / "ai_001_001" / "images"
    picture(images / "scene_cam_00_final_preview" / "frame.0003.tonemap.jpg")
    focal = 886.81 / 1024 * W
    y, x = np.mgrid[:H, :W] - np.array([(H - 1) / 2, (W - 1) / 2])[:, None, None]
    distance = depth * np.sqrt(1 + (x / focal) ** 2 + (y / focal) ** 2)  # along the ray, as Hypersim stores it
    file = images / "scene_cam_00_geometry_hdf5" / "frame.0003.depth_meters.hdf5"
    file.parent.mkdir(parents=True)
    with h5py.File(file, "w") as opened:
        opened["dataset"] = distance.astype(np.float16)
    return file


def write_replica(folder, depth):
    picture(folder / "room0" / "results" / "frame000007.jpg")
    file = folder / "room0" / "results" / "depth000007.png"
    Image.fromarray(np.nan_to_num(depth * 6553.5).round().astype(np.uint16)).save(file)
    return file


def write_irs(folder, depth):
    picture(folder / "Home" / "House1" / "l_12.png")
    write_exr(folder / "Home" / "House1" / "d_12.exr", 0.1 * 480 / depth, np.float16, "Y")
    return folder / "Home" / "House1" / "d_12.exr"


def write_matrixcity(folder, depth):
    picture(folder / "small_city" / "block_1" / "rgb" / "0004.png")
    stored = np.where(np.isnan(depth), 65504, depth * 100)
    write_exr(folder / "small_city" / "block_1" / "depth" / "0004.exr", stored, np.float16, "RGB")
    return folder / "small_city" / "block_1" / "depth" / "0004.exr"


WRITERS = {"hypersim": write_hypersim, "replica": write_replica, "irs": write_irs, "matrixcity": write_matrixcity}


@pytest.mark.parametrize("name", WRITERS)
def test_depth_of_every_source_is_inverse_along_the_axis(name, tmp_path):
    depth = ramp()
    depth[:4, :4] = np.nan  # sky or a window
    WRITERS[name](tmp_path, depth)
    (file,) = find_pictures(name, tmp_path)
    square, near = read_picture(name, tmp_path, file, H)
    assert square.size == (H, H) and near.shape == (H, H)
    scaled = (near - near.min()) / np.ptp(near)
    truth = 1 / depth[:, (W - H) // 2 : (W + H) // 2]
    far = 0 if name == "matrixcity" else np.nanmin(truth)  # its sky is at infinity, which none of this crop is
    expected = (truth - np.nanmin(truth)) / np.ptp(truth[~np.isnan(truth)])
    assert far <= np.nanmin(truth)
    inner = slice(2, -2), slice(2, -2)
    np.testing.assert_allclose(scaled[inner], expected[inner], atol=0.01)


def test_missing_damaged_and_empty_depth_is_named(tmp_path):
    file = write_replica(tmp_path, ramp())
    (name,) = find_pictures("replica", tmp_path)
    whole = file.read_bytes()
    for spoil, named in (
        (lambda: file.write_bytes(whole[:100]), "damaged"),
        (lambda: Image.fromarray(np.zeros((H, W), np.uint16)).save(file), "100 % of its depth map is unknown"),
        (lambda: Image.fromarray(np.ones((H, 8), np.uint16)).save(file), "shape"),
        (lambda: Image.fromarray(np.ones((H, W), np.uint8)).save(file), "16-bit"),
        (file.unlink, "missing"),
    ):
        spoil()
        with pytest.raises(SourceError, match=named):
            read_picture("replica", tmp_path, name, H)


def test_a_package_that_is_not_there_is_asked_for(monkeypatch):
    check_source("hypersim")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=f"pip install {SOURCES['hypersim'].needs}"):
        check_source("hypersim")
    check_source("images")
