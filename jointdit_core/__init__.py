"""JointDiT: one model for RGB and depth, and the lift of its results to 3D."""

from .geometry.lift import PointCloud, lift
from .pipeline import Interrupted, JointDiTOutput, JointDiTPipeline

__all__ = ["Interrupted", "JointDiTOutput", "JointDiTPipeline", "PointCloud", "lift"]
