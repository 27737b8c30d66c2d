"""Figures of the paper's tables, to stand beside ours."""

from __future__ import annotations

# Table 1: AbsRel and delta1 in percent; "Ours" and "Ours+ft" are the paper's JointDiT.
DEPTH_DATASETS = ("nyu", "scannet", "kitti", "diode", "eth3d")
_DEPTH_ROWS = {
    "MiDaS": (11.1, 88.5, 12.1, 84.6, 23.6, 63.0, 33.2, 71.5, 18.4, 75.2),
    "DPT": (9.8, 90.3, 8.2, 93.4, 10.0, 90.1, 18.2, 75.8, 7.8, 94.6),
    "Depth-Anything-V2": (4.4, 97.9, 4.1, 97.9, 7.5, 94.8, 6.5, 95.4, 13.2, 86.2),
    "4M-21": (11.8, 88.7, 10.6, 89.1, 15.6, 78.9, 32.1, 75.1, 8.4, 93.8),
    "MultiMAE": (9.2, 91.6, 8.7, 92.3, 16.9, 75.1, 35.2, 71.9, 10.6, 89.9),
    "Unified-IO": (6.8, 95.9, 7.5, 95.0, 28.1, 52.0, 36.4, 70.0, 13.9, 83.9),
    "Unified-IO 2": (12.5, 85.8, 14.5, 81.6, 48.9, 31.7, 43.4, 62.0, 20.5, 72.1),
    "Marigold": (5.5, 96.4, 6.4, 95.1, 9.9, 91.6, 30.8, 77.3, 6.5, 96.0),
    "GeoWizard": (5.2, 96.6, 6.1, 95.3, 9.7, 92.1, 29.7, 79.2, 6.4, 96.1),
    "JointNet": (13.7, 81.9, 14.7, 79.5, 20.9, 66.7, 35.0, 58.5, 27.1, 73.5),
    "UniCon": (7.9, 93.9, 9.2, 91.9),
    "Ours (paper)": (5.7, 96.9, 6.6, 95.7, 10.3, 88.8, 27.3, 71.0, 16.5, 96.3),
    "Ours+ft (paper)": (5.0, 97.3, 5.6, 96.5, 10.9, 87.7, 26.6, 71.1, 9.3, 96.8),
}
DEPTH = {
    method: dict(zip(DEPTH_DATASETS, zip(figures[::2], figures[1::2], strict=True), strict=False))
    for method, figures in _DEPTH_ROWS.items()
}
# Table 2: FID and AbsRel in percent of depth-conditioned generation on OpenImages 6K.
DEPTH_CONDITIONED = {
    "Readout-Guidance": (18.72, 23.19),
    "ControlNet": (13.68, 9.85),
    "UniCon": (13.21, 9.26),
    "Ours (paper)": (12.62, 6.99),
}
# Table 3, the full model: FID, IS and CLIP score of joint generation.
JOINT_GENERATION = {
    "ImageNet 6K": (24.26, 37.81, 30.51),
    "Pexels 6K": (19.87, 22.51, 30.71),
    "MS-COCO 30K": (11.27, 34.35, 30.76),
}
# Table 4: NYUv2 AbsRel in percent, without and with adaptive weights and unbalanced noise levels.
ABLATION = {"neither": 8.8, "adaptive weights": 6.4, "unbalanced levels": 7.8, "both, as in the paper": 5.7}
# Table 4: how often, in percent, ImageReward ranks each form's depth-conditioned picture first, ..., last.
RANKING = {
    "neither": (26.35, 26.38, 24.43, 22.83),
    "unbalanced levels": (21.77, 24.82, 25.48, 27.93),
    "adaptive weights": (21.15, 22.73, 25.63, 30.48),
    "both": (30.73, 26.07, 24.45, 18.75),
}
