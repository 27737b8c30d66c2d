"""The geometry's evaluation: its measures on known answers, its aims on a few unseen worlds, its command."""

import json

import numpy as np
import pytest

from jointdit_core.evaluation.geometry import ROOM, main, precisions, table
from jointdit_core.evaluation.geometry_camera import CameraRow, measure_camera, point_error, standard_maps
from jointdit_core.evaluation.geometry_cost import measure_cost
from jointdit_core.evaluation.geometry_edges import fly, is_thin, made_maps, measure_edges
from jointdit_core.evaluation.geometry_shapes import aligned, fit_plane, fit_sphere, measure_shapes
from jointdit_core.evaluation.geometry_worlds import FIRST_SEED, TUNING_SEED, draw, quantise
from tests.tiny import tiny_pipeline

RNG = np.random.default_rng(11)


@pytest.fixture(scope="module")
def rooms():
    return list(draw(3, ROOM, ("room",)))


@pytest.fixture(scope="module")
def edge_worlds():
    return list(draw(2, 512, ("room", "table")))


def test_worlds_are_unseen_the_same_each_time_and_of_the_kind_asked_for(rooms):
    again = next(draw(1, ROOM, ("room",)))
    assert again.image.tobytes() == rooms[0].image.tobytes() and again.scene == rooms[0].scene
    assert all(world.scene.kind == "room" for world in rooms)
    assert rooms[0].disparity.min() == 0 and rooms[0].disparity.max() == 1
    assert max(FIRST_SEED, TUNING_SEED) + 5000 < 500_000  # the autoencoder's scenes start there


def test_a_lens_changes_the_camera_and_nothing_else(rooms):
    wide = next(draw(1, ROOM, ("room",), fov_deg=(80, 80)))
    assert wide.scene.camera.fov_deg == 80 and wide.scene.primitives == rooms[0].scene.primitives
    assert wide.depth.tobytes() != rooms[0].depth.tobytes()


def test_point_error_forgives_scale_alone():
    true = RNG.normal(size=(500, 3)) + [0, 0, 5]
    assert point_error(3 * true, true) == pytest.approx(0, abs=1e-12)
    stretched = true * [1, 1, 1.2]
    assert 0.01 < point_error(stretched, true) == pytest.approx(point_error(7 * stretched, true))


def test_fits_find_the_plane_and_the_sphere_they_were_given():
    u, v = RNG.normal(size=(2, 300))
    normal = np.array([0.6, 0.0, 0.8])
    points = 2.5 * normal + u[:, None] * [0, 1, 0] + v[:, None] * [0.8, 0, -0.6]
    found, distance = fit_plane(points)
    np.testing.assert_allclose(found, normal, atol=1e-9)
    assert distance == pytest.approx(2.5)
    direction = RNG.normal(size=(300, 3))
    centre, radius = fit_sphere([1, 2, 9] + 0.7 * direction / np.linalg.norm(direction, axis=1, keepdims=True))
    np.testing.assert_allclose(centre, [1, 2, 9], atol=1e-9)
    assert radius == pytest.approx(0.7)


def test_only_what_hangs_between_two_surfaces_flies():
    truth = np.where(np.arange(64) < 32, 1.0, 0.2).astype(np.float32)[None].repeat(64, 0)
    inverse = np.array([1.0, 0.97, 0.6, 0.2, 0.6, 1.3], np.float32)
    columns = np.array([32, 32, 32, 32, 8, 32]) / 64  # the fifth is off its surface, but nothing is behind it
    found = fly(inverse, np.full(6, 0.5), columns, truth)
    np.testing.assert_array_equal(found, [False, False, True, False, False, False])


def test_thin_is_what_has_something_behind_it_on_both_sides():
    inverse = np.full((20, 40), 0.2, np.float32)
    inverse[:, 10:13] = inverse[:, 25:35] = 0.9
    assert is_thin(inverse)[:, 10:13].all() and is_thin(inverse).sum() == 20 * 3


def test_made_maps_are_disparities_and_the_exact_one_in_the_limit():
    exact = np.tile(np.linspace(0, 1, 128, dtype=np.float32), (128, 1))
    maps = made_maps(exact, decode=lambda disparity: disparity * 0)
    assert len(maps) == 6 and maps["enlarged twice"].shape == exact.shape and not maps["through the autoencoder"].any()
    for name in ("anti-aliased", "smeared, 2 px"):
        np.testing.assert_allclose(maps[name][:, 8:-8], exact[::2, 16:-16:2], atol=0.01)


def test_recovered_cameras_beat_the_default(rooms):
    for row in measure_camera(rooms, standard_maps()):
        assert row.rooms == 3 and row.recovered == 100 and row.better == 100
        assert row.fov_error_deg <= 5 and row.point_error < 0.2 * row.default_point_error


def test_shapes_hold_from_exact_disparity_and_suffer_with_fewer_bits(rooms):
    exact, sixteen, eight = measure_shapes(rooms, precisions())
    assert exact.planes >= 6 and exact.corners >= 6
    assert exact.normal_deg < 0.1 and exact.corner_deg < 0.1 and exact.distance < 0.1 and exact.point < 0.1
    assert np.isnan(exact.radius) or exact.radius < 0.1
    assert exact.point < sixteen.point < eight.point


def test_a_models_scale_and_shift_are_forgiven(rooms):
    given = 0.3 + 0.4 * rooms[0].disparity
    np.testing.assert_allclose(aligned(given, rooms[0]), rooms[0].disparity, atol=1e-5)


def test_edge_cut_removes_what_flies_and_keeps_the_surface(edge_worlds):
    rows = {row.map: row for row in measure_edges(edge_worlds)}
    assert len(rows) == 5
    for row in rows.values():  # of two scenes; the command's figures are of many
        least = 85 if row.map == "smeared, 2 px" else 95
        assert row.flying > 0 and row.removed >= least and row.lost <= 2 and row.sheets_removed >= 95, row


def test_quantising_keeps_the_levels_of_a_file():
    assert len(np.unique(quantise(RNG.random((64, 64), np.float32), 4))) == 16


def test_cost_counts_time_and_memory_of_every_step(rooms, tmp_path):
    rows = measure_cost(rooms[0], (64,), tmp_path)
    assert {"edge cut", "lift to mesh", "write GLB", "write OBJ", "write EXR"} <= {row.step for row in rows}
    assert all(row.seconds > 0 and row.mebibytes > 0 and row.size == 64 for row in rows)
    cut, mesh = (next(row for row in rows if row.step == name) for name in ("edge cut", "lift to mesh"))
    assert mesh.mebibytes > cut.mebibytes


def test_a_table_has_a_line_for_each_row():
    row = CameraRow("exact", 3, 100.0, 1.234567, 4.0, 100.0, 1.0, 0.1, 25.0)
    assert table([row, row]).splitlines()[2] == "| exact | 3 | 100 | 1.23 | 4 | 100 | 1 | 0.1 | 25 |"


def test_the_command_writes_tables_and_json(tmp_path, capsys):
    tiny_pipeline().save_pretrained(tmp_path / "model")
    main(["--model", str(tmp_path / "model"), "--out", str(tmp_path / "out"), "--scenes", "1", "--sizes", "64"])
    shown = capsys.readouterr().out
    assert shown == (tmp_path / "out" / "geometry.md").read_text() and shown.count("### ") == 5
    values = json.loads((tmp_path / "out" / "geometry.json").read_text())
    assert {row["map"] for row in values["Recovered camera, rooms as drawn"]} == {"exact", "8 bits", "the model's own"}
    assert len(values["Edge cut, all kinds of scenes, percent"]) == 6
