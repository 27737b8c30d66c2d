"""Files re-opened with other readers: every level, count, colour and the right way up."""

import json
import struct

import numpy as np
import pytest
import trimesh
from PIL import Image

from jointdit_core.geometry.disparity import from_uint16
from jointdit_core.geometry.export import write_glb, write_npy, write_ply, write_png16
from jointdit_core.geometry.lift import lift, lift_mesh

HEIGHT, WIDTH = 40, 64


@pytest.fixture
def red_over_blue():
    """Red above blue, the left half green-tinted; the upper half far, the lower half near."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[: HEIGHT // 2, :, 0] = 255
    image[HEIGHT // 2 :, :, 2] = 255
    image[:, : WIDTH // 2, 1] = 90
    disparity = np.linspace(0.1, 0.9, HEIGHT, dtype=np.float32)[:, None].repeat(WIDTH, axis=1)
    return image, disparity


def check_upright(vertices, colors):
    """Red is above, the tinted half left, everything in front of a camera that looks along -z, nearer below."""
    red, blue = colors[:, 0] > 128, colors[:, 2] > 128
    assert vertices[red, 1].min() > 0 > vertices[blue, 1].max()
    tinted = colors[:, 1] > 40
    assert vertices[tinted, 0].max() < 0 < vertices[~tinted, 0].min()
    assert vertices[:, 2].max() < 0 and vertices[blue, 2].min() > vertices[red, 2].max()


def test_png16_keeps_every_level(tmp_path):
    levels = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    path = write_png16(tmp_path / "depth.png", from_uint16(levels))
    with Image.open(path) as image:
        assert (image.format, image.mode) == ("PNG", "I;16")
        np.testing.assert_array_equal(np.asarray(image), levels)


def test_npy_keeps_every_bit(tmp_path):
    disparity = np.random.default_rng(0).random((7, 5), np.float32)
    read = np.load(write_npy(tmp_path / "depth.npy", disparity), allow_pickle=False)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, disparity)


def test_ply_opens_upright_with_all_points_and_colors(tmp_path, red_over_blue):
    cloud = lift(*red_over_blue)
    read = trimesh.load(write_ply(tmp_path / "cloud.ply", cloud))
    assert isinstance(read, trimesh.PointCloud)
    np.testing.assert_array_equal(read.colors[:, :3], cloud.colors)
    np.testing.assert_array_equal(read.vertices.astype(np.float32), cloud.points * (1, -1, -1))
    check_upright(read.vertices, read.colors)


def test_glb_opens_upright_with_its_texture(tmp_path, red_over_blue):
    image, disparity = red_over_blue
    mesh = lift_mesh(image, disparity)
    path = write_glb(tmp_path / "mesh.glb", mesh, Image.fromarray(image))
    (read,) = trimesh.load(path, process=False).geometry.values()
    assert (len(read.vertices), len(read.faces)) == (len(mesh.vertices), len(mesh.faces))
    texture = read.visual.material.baseColorTexture
    np.testing.assert_array_equal(np.asarray(texture.convert("RGB")), image)
    # Sample the texture where each vertex points: the vertex's own colour must be there.
    x, y = read.visual.uv[:, 0] * WIDTH, (1 - read.visual.uv[:, 1]) * HEIGHT
    sampled = image[y.astype(int), x.astype(int)]
    np.testing.assert_array_equal(sampled, mesh.colors)
    check_upright(read.vertices, sampled)
    assert (read.face_normals[:, 2] > 0).all()  # faces look back at the camera


def test_glb_is_unlit_and_counts_uv_from_the_top(tmp_path, red_over_blue):
    image, disparity = red_over_blue
    mesh = lift_mesh(image, disparity)
    data = write_glb(tmp_path / "mesh.glb", mesh, image).read_bytes()
    length = struct.unpack_from("<I", data, 12)[0]
    tree, binary = json.loads(data[20 : 20 + length]), data[28 + length :]
    assert tree["extensionsUsed"] == ["KHR_materials_unlit"]
    assert tree["materials"][0]["extensions"] == {"KHR_materials_unlit": {}}
    assert tree["materials"][0]["doubleSided"] is True
    accessor = tree["accessors"][tree["meshes"][0]["primitives"][0]["attributes"]["TEXCOORD_0"]]
    offset = tree["bufferViews"][accessor["bufferView"]]["byteOffset"]
    uv = np.frombuffer(binary, np.float32, 2 * accessor["count"], offset).reshape(-1, 2)
    np.testing.assert_allclose(uv, mesh.uv, atol=1e-6)  # glTF: (0, 0) is the top left of the texture


def test_failed_write_leaves_the_old_file_and_no_scraps(tmp_path):
    path = write_npy(tmp_path / "depth.npy", np.zeros((2, 2), np.float32))
    before = path.read_bytes()
    with pytest.raises(ValueError, match="disparity"):
        write_npy(path, np.full((2, 2), np.nan, np.float32))
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    with pytest.raises(OSError, match="taken"):
        write_npy(tmp_path / "taken", np.zeros((2, 2), np.float32))
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["depth.npy", "taken"]
