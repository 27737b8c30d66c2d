"""Feature pictures: components that are known, hooks that leave nothing behind, the command."""

import numpy as np
import pytest
import torch
from PIL import Image

from jointdit_core.evaluation.__main__ import main
from jointdit_core.evaluation.features import block_features, blocks_of, principal_colors
from tests.tiny import SIZE, tiny_pipeline


def test_components_are_found_in_order_and_stretched():
    torch.manual_seed(0)
    axes = torch.linalg.qr(torch.randn(12, 12))[0][:3]
    hidden = torch.rand(2, 50, 3) - 0.5  # what the features are made of, strongest first
    features = (hidden * torch.tensor([9.0, 3.0, 1.0])) @ axes + 7
    colors = principal_colors(features).reshape(-1, 3).astype(float)
    assert colors.min() == 0 and colors.max() == 255
    for component in range(3):
        correlation = np.corrcoef(colors[:, component], hidden[..., component].flatten())[0, 1]
        assert abs(correlation) > 0.98
    assert np.array_equal(principal_colors(features), principal_colors(features.clone()))


def test_features_are_the_blocks_own_and_no_hook_stays(picture, disparity):
    pipe = tiny_pipeline()
    arguments = ([picture, picture], [disparity, 1 - disparity], ["a red ball", "a house"])
    found, grid = block_features(pipe, *arguments, [1, 3], 0.5)
    assert list(found) == [1, 3] and grid == (SIZE // 8, SIZE // 8)
    for rgb, depth in found.values():
        assert rgb.shape == depth.shape == (2, grid[0] * grid[1], pipe.transformer.inner_dim)
        assert not torch.equal(rgb, depth)
    assert not any(block._forward_hooks for block in blocks_of(pipe))
    again, _ = block_features(pipe, *arguments, [3], 0.5)
    assert torch.equal(again[3][0], found[3][0])
    with pytest.raises(ValueError, match="no block 4; this model has blocks 1 to 3"):
        block_features(pipe, *arguments, [4], 0.5)


def test_the_command_writes_a_sheet(tmp_path, picture):
    tiny_pipeline().save_pretrained(tmp_path / "model")
    common = ["features", "--model", str(tmp_path / "model")]
    main([*common, "--count", "2", "--out", str(tmp_path / "worlds.png")])
    with Image.open(tmp_path / "worlds.png") as sheet:
        assert sheet.size == (160 * (1 + 3), 16 + 2 * 2 * 160)  # three blocks in all
    picture.save(tmp_path / "a.png")
    main([*common, "--images", str(tmp_path / "a.png"), "--blocks", "2", "--out", str(tmp_path / "own.png")])
    with Image.open(tmp_path / "own.png") as sheet:
        assert sheet.size == (160 * 2, 16 + 2 * 160)
    with pytest.raises(SystemExit, match="--sigma"):
        main([*common, "--sigma", "0", "--out", str(tmp_path / "none.png")])
    with pytest.raises(SystemExit, match="none is not the folder of a saved pipeline"):
        main(["features", "--model", str(tmp_path / "none"), "--out", str(tmp_path / "none.png")])
