"""Procedural RGB-D worlds: a seed gives a scene, its captions, and a picture with exact depth."""

from .pack import SceneBatch, batch
from .render import RenderOutput, render, to_disparity
from .sampler import sample_scene
from .scene import Scene

