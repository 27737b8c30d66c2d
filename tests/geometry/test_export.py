"""Files re-opened with other readers: every level, count, colour and the right way up."""

import io
import json
import struct
from pathlib import Path

import numpy as np
import OpenEXR
import plyfile
import pygltflib
import pytest
import pywavefront
import trimesh
from PIL import Image

from jointdit_core.geometry.disparity import disparity_to_depth, from_uint16
from jointdit_core.geometry.export import (
    write_camera,
    write_exr,
    write_glb,
    write_normals,
    write_npy,
    write_obj,
    write_ply,
    write_png16,
    write_webp,
)
from jointdit_core.geometry.lift import Mesh, lift, lift_mesh
from jointdit_core.geometry.normals import surface_normals
from jointdit_core.geometry.render import render
from jointdit_core.worlds import batch, sample_scene, to_disparity
from jointdit_core.worlds import render as draw_world

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


def test_ply_says_the_same_to_a_second_reader_normals_too(tmp_path, red_over_blue):
    image, disparity = red_over_blue
    cloud, normals = lift(image, disparity), surface_normals(disparity)
    data = plyfile.PlyData.read(write_ply(tmp_path / "cloud.ply", cloud, normals))
    assert not data.text and data.byte_order == "<" and "y up" in data.comments[0]
    vertex = data["vertex"]
    columns = lambda *names: np.stack([vertex[name] for name in names], axis=-1)  # noqa: E731
    np.testing.assert_array_equal(columns("x", "y", "z"), cloud.points * np.float32([1, -1, -1]))
    np.testing.assert_array_equal(columns("red", "green", "blue"), cloud.colors)
    found = columns("nx", "ny", "nz")
    np.testing.assert_array_equal(found, normals.reshape(-1, 3) * np.float32([1, -1, -1]))
    assert (found[:, 2] > 0).all() and (found[:, 1] > 0).all()  # a floor: towards the viewer, and up
    check_upright(columns("x", "y", "z"), columns("red", "green", "blue"))
    np.testing.assert_allclose(trimesh.load(tmp_path / "cloud.ply").vertices, columns("x", "y", "z"))


def test_glb_says_the_same_to_a_second_reader(tmp_path, red_over_blue):
    image, disparity = red_over_blue
    mesh = lift_mesh(image, disparity)
    tree = pygltflib.GLTF2().load(str(write_glb(tmp_path / "mesh.glb", mesh, image)))
    binary = tree.binary_blob()
    (primitive,) = tree.meshes[0].primitives

    def array(number, width):
        accessor = tree.accessors[number]
        dtype = {pygltflib.FLOAT: np.float32, pygltflib.UNSIGNED_INT: np.uint32, pygltflib.UNSIGNED_SHORT: np.uint16}[
            accessor.componentType
        ]
        view = tree.bufferViews[accessor.bufferView]
        start = view.byteOffset + (accessor.byteOffset or 0)
        return np.frombuffer(binary, dtype, accessor.count * width, start).reshape(-1, width)

    points = array(primitive.attributes.POSITION, 3)
    np.testing.assert_array_equal(points, mesh.vertices * np.float32([1, -1, -1]))
    np.testing.assert_array_equal(array(primitive.indices, 1).reshape(-1, 3), mesh.faces)
    texture = tree.images[tree.textures[tree.materials[0].pbrMetallicRoughness.baseColorTexture.index].source]
    view = tree.bufferViews[texture.bufferView]
    with Image.open(io.BytesIO(binary[view.byteOffset : view.byteOffset + view.byteLength])) as picture:
        np.testing.assert_array_equal(np.asarray(picture.convert("RGB")), image)
    assert tree.materials[0].pbrMetallicRoughness.baseColorFactor in (None, [1, 1, 1, 1])
    node = tree.nodes[tree.scenes[tree.scene or 0].nodes[0]]
    assert node.matrix in (None, np.eye(4).ravel().tolist())  # nothing turns it once more
    check_upright(points, mesh.colors)


def test_obj_opens_upright_with_its_texture_in_two_readers(tmp_path, red_over_blue):
    image, disparity = red_over_blue
    mesh = lift_mesh(image, disparity)
    path, material, texture = write_obj(tmp_path / "mesh.obj", mesh, image)
    with Image.open(texture) as picture:
        np.testing.assert_array_equal(np.asarray(picture), image)
    expected = mesh.vertices * (1, -1, -1)
    read = trimesh.load(path, force="mesh", process=False, maintain_order=True)
    np.testing.assert_array_equal(read.faces, mesh.faces)
    np.testing.assert_allclose(read.vertices, expected, atol=1e-6)
    np.testing.assert_allclose(read.visual.uv, np.stack([mesh.uv[:, 0], 1 - mesh.uv[:, 1]], -1), atol=1e-6)
    np.testing.assert_array_equal(np.asarray(read.visual.material.image.convert("RGB")), image)
    assert (read.face_normals[:, 2] > 0).all()
    check_upright(read.vertices, mesh.colors)
    other = pywavefront.Wavefront(str(path), collect_faces=True)
    np.testing.assert_allclose(other.vertices, expected, atol=1e-6)
    np.testing.assert_array_equal(other.mesh_list[0].faces, mesh.faces)
    assert Path(other.materials["photo"].texture.path) == texture


def test_a_closed_mesh_is_one_sheet_without_inner_gaps(tmp_path, red_over_blue):
    image, disparity = red_over_blue
    mesh = lift_mesh(image, disparity, edge_threshold=None)
    (read,) = trimesh.load(write_glb(tmp_path / "mesh.glb", mesh, image), process=False).geometry.values()
    assert read.is_winding_consistent and read.euler_number == 1  # a disc
    sides = np.unique(np.sort(read.edges, axis=1), axis=0, return_counts=True)[1]
    assert sides.max() == 2 and (sides == 1).sum() == 2 * (HEIGHT - 1 + WIDTH - 1)  # open at the picture's border only


@pytest.mark.parametrize("budget", [None, 9000])
@pytest.mark.parametrize("seed", [20_001, 20_002])
def test_a_written_mesh_seen_from_its_camera_is_the_photo(tmp_path, seed, budget):
    drawn = draw_world(batch([sample_scene(seed)]), 128, 4)
    image = (drawn.rgb[0].permute(1, 2, 0) * 255).round().byte().numpy()
    mesh = lift_mesh(image, to_disparity(drawn.depth)[0].numpy(), max_vertices=budget)
    (read,) = trimesh.load(write_glb(tmp_path / "mesh.glb", mesh, image), process=False).geometry.values()
    uv = np.stack([read.visual.uv[:, 0], 1 - read.visual.uv[:, 1]], axis=-1)
    vertices = (read.vertices * (1, -1, -1)).astype(np.float32)
    texture = np.asarray(read.visual.material.baseColorTexture.convert("RGB"))
    again = Mesh(vertices, read.faces.astype(np.int32), uv, mesh.colors, mesh.intrinsics)
    view, inverse_depth = render(again, texture, (0.0, 0.0), 1.0)
    seen = inverse_depth > 0
    assert seen.mean() > (0.9 if budget is None else 0.8)  # a coarser grid ends and is cut farther within
    assert 10 * np.log10(255**2 / max(1e-3, np.mean((view[seen].astype(float) - image[seen]) ** 2))) >= 30


def test_exr_keeps_every_bit_and_holds_the_depth(tmp_path):
    disparity = np.random.default_rng(0).random((7, 5), np.float32)
    with OpenEXR.File(str(write_exr(tmp_path / "depth.exr", disparity, 20)), separate_channels=True) as file:
        read = {name: channel.pixels.copy() for name, channel in file.channels().items()}
    assert set(read) == {"Y", "Z"} and read["Y"].dtype == np.float32
    np.testing.assert_array_equal(read["Y"], disparity)
    np.testing.assert_array_equal(read["Z"], disparity_to_depth(disparity, 20))


def test_normal_map_is_blue_in_front_and_green_on_the_floor(tmp_path, red_over_blue):
    _, disparity = red_over_blue
    wall, floor = np.full((8, 8), 0.5, np.float32), disparity
    for one, expected in ((wall, lambda r, g, b: b > 250 and 120 < g < 135), (floor, lambda r, g, b: g > 200)):
        with Image.open(write_normals(tmp_path / "normals.png", surface_normals(one))) as picture:
            assert picture.mode == "RGB" and expected(*np.asarray(picture).reshape(-1, 3).mean(0))


def test_camera_json_projects_the_files_points_onto_their_pixels(tmp_path, red_over_blue):
    image, disparity = red_over_blue
    cloud = lift(image, disparity, fov_deg=70, far_over_near=12)
    points = plyfile.PlyData.read(write_ply(tmp_path / "cloud.ply", cloud))["vertex"]
    camera = json.loads(write_camera(tmp_path / "camera.json", cloud.intrinsics, 12).read_text())
    x = camera["cx"] + camera["f_px"] * points["x"] / -points["z"]
    y = camera["cy"] - camera["f_px"] * points["y"] / -points["z"]
    np.testing.assert_allclose(np.stack([x, y], -1), cloud.pixel + 0.5, atol=1e-3)
    assert (camera["width"], camera["height"], camera["far"]) == (WIDTH, HEIGHT, 12)
    assert camera["fov_deg"] == pytest.approx(70) == camera["fov_x_deg"] and camera["fov_y_deg"] < 70
    assert camera["camera_to_world"] == np.eye(4).tolist()


def test_webp_holds_the_frames(tmp_path):
    frames = [np.full((24, 32, 3), level, np.uint8) for level in (20, 120, 220)]
    with Image.open(write_webp(tmp_path / "film.webp", frames, frame_ms=50)) as film:
        assert film.n_frames == 3 and film.info["loop"] == 0
        for number, frame in enumerate(frames):
            film.seek(number)
            film.load()
            assert film.info["duration"] == 50
            assert np.abs(np.asarray(film.convert("RGB")).astype(int) - frame).max() <= 3


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
