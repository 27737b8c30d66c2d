"""The memory table: its counts against the paper's, its widths against what a block really keeps."""

import pytest
import torch

from jointdit_core.encode import image_ids, text_ids
from jointdit_core.model.transformer import JointDiTTransformer2DModel, freeze_backbone
from jointdit_core.training.needs import KEPT_WIDTHS, counts, memory_table, training_memory


def kept_widths():
    """Bytes that the fullest block keeps for its backward pass, in bfloat16 channels a token over D."""
    width, tokens = 256, 40
    torch.manual_seed(0)
    model = JointDiTTransformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=128,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=16,
        lora_rank=5,  # 64 of 3072
        lora_rank_overrides={},
    )
    freeze_backbone(model)
    for parameter in model.parameters():
        if not parameter.requires_grad:
            parameter.data = parameter.data.bfloat16()
    rows = (tokens, 2 * tokens, 4 * tokens)  # of flattened tokens: no weight has as many
    kept: dict[str, dict[int, int]] = {}
    inside = []

    def pack(tensor):
        if inside and (tensor.ndim > 2 or tensor.shape[:1] in ((n,) for n in rows)):  # what grows with the tokens
            storage = tensor.untyped_storage()
            kept[inside[-1]][storage.data_ptr()] = storage.nbytes()
        return tensor

    for name, block in (("double", model.transformer_blocks[0]), ("single", model.single_transformer_blocks[0])):
        kept[name] = {}
        block.register_forward_pre_hook(lambda *_, name=name: inside.append(name))
        block.register_forward_hook(lambda *_: inside.pop() and None)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x), torch.autocast("cpu", torch.bfloat16):
        model(
            hidden_states=torch.randn(2, tokens, 16),
            encoder_hidden_states=torch.randn(2, tokens, 32),
            pooled_projections=torch.randn(2, 16),
            timestep=torch.tensor([0.5, 0.5]),
            img_ids=image_ids(8, 20),
            txt_ids=text_ids(tokens),
        )
    return max(sum(storages.values()) for storages in kept.values()) / (2 * 2 * tokens * width * 2)


def test_what_a_block_keeps_is_what_the_table_says():
    assert 0.8 * KEPT_WIDTHS <= kept_widths() <= KEPT_WIDTHS


def test_counts_are_the_papers():
    frozen, added, blocks, width = counts()
    assert (blocks, width) == (57, 3072)
    assert frozen == pytest.approx(11.901e9, rel=1e-3) and added / frozen == pytest.approx(0.198, abs=0.012)


def test_batch_4_fits_80_gb_and_offloaded_24_gb():
    gb = 1e9 / 2**30
    assert sum(training_memory(4, "adafactor").values()) < 80 * gb
    assert sum(training_memory(4, "adamw8bit").values()) < 80 * gb
    assert sum(training_memory(4, "adafactor", offload=True).values()) < 24 * gb
    assert sum(training_memory(1, "adamw", shards=8).values()) < 24 * gb
    lines = memory_table(4, 512).splitlines()
    assert len(lines) == 8 and "--offload" in lines[-2] and "--shard" in lines[-1]
    cells = [float(cell) for cell in lines[2].split("|")[2:-1]]
    assert sum(cells[:-1]) == pytest.approx(cells[-1], abs=0.6)
