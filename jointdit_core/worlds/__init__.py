"""Procedural RGB-D worlds: a seed gives a scene, its captions, and a picture with exact depth."""

from .draw import RenderOutput, render, to_disparity
from .grammar import VOCABULARY, captions
from .labels import COLOR_CLASSES, OBJECT_CLASSES, cell_labels, label_table
from .pack import SceneBatch, batch
from .sampler import sample_scene
from .scene import Scene

__all__ = [
    "COLOR_CLASSES",
    "OBJECT_CLASSES",
    "VOCABULARY",
    "RenderOutput",
    "Scene",
    "SceneBatch",
    "batch",
    "captions",
    "cell_labels",
    "label_table",
    "render",
    "sample_scene",
    "to_disparity",
]
