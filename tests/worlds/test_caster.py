"""Closed forms in float64 against the caster."""

from __future__ import annotations

import math

import pytest
import torch

from jointdit_core.worlds import batch, render, to_disparity
from jointdit_core.worlds.caster import MISS, hit_boxes, hit_cylinders, hit_ellipsoids
from jointdit_core.worlds.scene import Camera, Light, Material, Primitive, Scene, SceneObject, Surroundings

GRAY = Material((0.5, 0.5, 0.5))
FOV_DEG = 53.0
SIZE = 64


def make_scene(*primitives: Primitive, style: str = "photo", target=(0.0, 10.0, 1.0), high=(50.0, 30.0, 50.0)) -> Scene:
    label = SceneObject("ball", "gray", "", "", "main", (0.0, 4.0, 1.0), (-0.1, -0.1, 0.1, 0.1), 4.0)
    light = Light((0.0, -0.6, 0.8), (0.6, 0.6, 0.6), (0.4, 0.4, 0.4), (0.2, 0.2, 0.2), "bright")
    around = Surroundings((-50.0, -1.0, 0.0), high, (GRAY,) * 6, "plain", "gray")
    camera = Camera((0.0, 0.0, 1.0), target, FOV_DEG)
    return Scene(0, "room", style, 64, camera, light, around, primitives, (label,) * max(1, len(primitives)))


def pixel_coordinates(size: int = SIZE) -> tuple[torch.Tensor, torch.Tensor]:
    steps = (torch.arange(size, dtype=torch.float64) + 0.5) * 2 / size - 1
    return steps[None, :].expand(size, size), -steps[:, None].expand(size, size)


def test_ground_depth_follows_the_formula():
    depth = render(batch([make_scene()]), SIZE, 1).depth[0].double()
    _, v = pixel_coordinates()
    # the camera is level at height 1 m: a ray falls tan(fov / 2) * -v per metre of depth
    expected = 1.0 / (-v.clamp(max=-1e-9) * math.tan(math.radians(FOV_DEG) / 2))
    ground = expected < 29.0
    assert ground.any()
    torch.testing.assert_close(depth[ground], expected[ground], rtol=2e-5, atol=0)
    torch.testing.assert_close(depth[v > 0], torch.full_like(depth[v > 0], 30.0), rtol=2e-5, atol=0)  # the back wall


def test_sphere_depth_matches_float64_everywhere():
    ball = Primitive("ellipsoid", (0.3, 4.0, 1.1), (0.8, 0.8, 0.8), GRAY, 0)
    out = render(batch([make_scene(ball)]), SIZE, 2)
    u, v = pixel_coordinates()
    reach = math.tan(math.radians(FOV_DEG) / 2)
    ray = torch.stack((u * reach, torch.ones_like(u), v * reach))
    center = torch.tensor((0.3, 4.0, 0.1), dtype=torch.float64)
    a, b = (ray * ray).sum(0), (ray * center[:, None, None]).sum(0)
    square = b * b - a * (center @ center - 0.64)
    inside = out.ids[0] == 0
    disagree = (inside != (square > 0)).sum()
    assert inside.sum() > 100 and disagree <= 2
    expected = (b - square.clamp(min=0).sqrt()) / a
    safe = inside & (square > 1e-2)
    torch.testing.assert_close(out.depth[0][safe].double(), expected[safe], rtol=2e-5, atol=0)


def test_box_face_has_the_face_depth():
    cube = Primitive("box", (0.0, 5.0, 1.0), (1.0, 0.5, 1.0), GRAY, 0)
    out = render(batch([make_scene(cube)]), SIZE, 1)
    face = out.depth[0][out.ids[0] == 0]
    assert face.numel() > 200
    torch.testing.assert_close(face, torch.full_like(face, 4.5), rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    ("kind", "taper", "expected"),
    [("cylinder", 1.0, 4.0), ("cylinder", 0.0, 4.5), ("gable", 1.0, 4.5), ("box", 1.0, 4.0)],
)
def test_level_ray_meets_the_solid_where_geometry_says(kind, taper, expected):
    # at half height a cone has half its radius, and the roof's slope half its depth
    height = 0.0 if kind == "gable" else 1.0
    solid = Primitive(kind, (0.0, 5.0, height), (1.0, 1.0, 2.0 if kind == "gable" else 1.0), GRAY, 0, 0.0, 0.0, taper)
    out = render(batch([make_scene(solid)]), 64, 1)
    middle = out.depth[0, 31:33, 31:33].mean().item()
    assert middle == pytest.approx(expected, rel=4e-3)


@pytest.mark.parametrize("taper", [0.0, 0.4, 1.0])
def test_random_cylinder_hits_lie_on_the_surface_and_misses_stay_outside(taper):
    generator = torch.Generator().manual_seed(3)
    start = torch.randn(3, 2000, generator=generator, dtype=torch.float64)
    start = 4.0 * start / start.norm(dim=0)
    aim = torch.rand(3, 2000, generator=generator, dtype=torch.float64) * 2.4 - 1.2
    step = aim - start
    t = hit_cylinders(tuple(start), tuple(step), torch.tensor(taper, dtype=torch.float64))

    def inside(p: torch.Tensor, slack: float) -> torch.Tensor:
        radius = 0.5 * (1 + taper) + 0.5 * (taper - 1) * p[2]
        return (p[2].abs() <= 1 + slack) & (p[:2].norm(dim=0) <= radius + slack)

    hit = t < MISS
    assert inside(start + t * step, 1e-6)[hit].all()
    along = torch.linspace(0, 2, 401, dtype=torch.float64)[:, None]
    touched = torch.stack([inside(start + a * step, -1e-3) for a in along]).any(0)
    assert not (touched & ~hit).any()
    before = torch.stack([inside(start + a * t * step, -1e-3) for a in torch.linspace(0, 0.999, 60)]).any(0)
    assert not (before & hit).any()


def test_rays_that_pass_or_leave_have_no_hit():
    away = (torch.tensor([0.0]), torch.tensor([-3.0]), torch.tensor([0.0]))
    back = (torch.tensor([0.0]), torch.tensor([-1.0]), torch.tensor([0.0]))
    beside = (torch.tensor([1.0]), torch.tensor([1.0]), torch.tensor([1.0]))
    for direction in (back, beside):
        assert hit_boxes(away, direction).item() == MISS
        assert hit_ellipsoids(away, direction).item() == MISS
        assert hit_cylinders(away, direction, torch.tensor(1.0)).item() == MISS


def test_shadow_darkens_the_ground_opposite_the_light():
    ball = Primitive("ellipsoid", (0.0, 5.0, 1.0), (0.5, 0.5, 0.5), GRAY, 0)
    with_ball = render(batch([make_scene(ball)]), 64, 1).rgb
    without = render(batch([make_scene()]), 64, 1).rgb
    assert (without - with_ball)[0, :, 36:].amax() > 0.1


def test_sky_is_infinite_and_disparity_zero_there():
    out = render(batch([make_scene(high=(1e4, 1e4, 1e4))]), 64, 1)
    sky = torch.isinf(out.depth)
    assert sky[0, 0].all() and not sky[0, -1].any()
    disparity = to_disparity(out.depth)
    assert disparity[sky].eq(0).all()
    assert disparity.min() == 0 and disparity.max() == 1


@pytest.mark.parametrize("samples", [1, 2, 4])
def test_samples_change_edges_only(samples):
    cube = Primitive("box", (0.0, 5.0, 1.0), (1.0, 0.5, 1.0), Material((0.9, 0.1, 0.1)), 0, 0.4)
    one, more = render(batch([make_scene(cube)]), 64, 1), render(batch([make_scene(cube)]), 64, samples)
    assert torch.equal(one.depth, more.depth) and torch.equal(one.ids, more.ids)
    assert (one.rgb - more.rgb).abs().mean() < 0.02


@pytest.mark.parametrize(("size", "samples", "word"), [(100, 1, "size"), (0, 1, "size"), (64, 3, "samples")])
def test_render_names_what_it_refuses(size, samples, word):
    with pytest.raises(ValueError, match=word):
        render(batch([make_scene()]), size, samples)
