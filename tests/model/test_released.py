"""Released weights, made up at several sizes, against the reference that reads their original names."""

import pytest
import torch

from jointdit_core.model.released import load_released
from jointdit_core.model.transformer import JointDiTTransformer2DModel, added_parameters
from tests.model import reference
from tests.model.builders import TINY, build_inputs, relative_error, run_reference

SIZES = {
    "tiny": (TINY, {"blocks": 4, "vector_in.in_layer": 3, "vector_in.out_layer": 6, "txt_in": 5}),
    "no guidance": ({**TINY, "guidance_embeds": False}, {"blocks": 4, "txt_in": 4}),
    "wider": (
        {**TINY, "num_attention_heads": 3, "num_layers": 1, "num_single_layers": 3, "adaptive_weights": "paper"},
        {"blocks": 2, "vector_in.in_layer": 9, "vector_in.out_layer": 17, "txt_in": 17},
    ),
    "one single block": (
        {**TINY, "num_layers": 0, "num_single_layers": 1, "attention_head_dim": 24, "axes_dims_rope": (4, 8, 12)},
        {"blocks": 1},
    ),
}


def make_released(config, ranks, dtype=torch.float32):
    """Make up FLUX weights and add-ons under their original names."""
    dim = config["attention_head_dim"] * config["num_attention_heads"]
    generator = torch.Generator().manual_seed(3)
    flux, addons = {}, {}

    def random(*shape):
        return (torch.randn(shape, generator=generator) * 0.7 / shape[-1] ** 0.5).to(dtype)

    def linear(name, inside, outside, adapted=False):
        flux[f"{name}.weight"], flux[f"{name}.bias"] = random(outside, inside), random(outside)
        if adapted:
            rank = ranks.get(name, ranks["blocks"])
            addons[f"{name}.lora_A.weight"], addons[f"{name}.lora_B.weight"] = (
                random(rank, inside),
                random(outside, rank),
            )

    def norms(prefix):
        for kind in ("query", "key"):
            flux[f"{prefix}norm.{kind}_norm.scale"] = 1 + random(config["attention_head_dim"])

    linear("img_in", config["in_channels"], dim)
    linear("txt_in", config["joint_attention_dim"], dim, adapted=True)
    for name, inside in {"time_in": 256, "vector_in": config["pooled_projection_dim"], "guidance_in": 256}.items():
        if name != "guidance_in" or config["guidance_embeds"]:
            linear(f"{name}.in_layer", inside, dim, adapted=name == "vector_in")
            linear(f"{name}.out_layer", dim, dim, adapted=name == "vector_in")
    for i in range(config["num_layers"]):
        for stream in ("img", "txt"):
            prefix = f"double_blocks.{i}.{stream}_"
            linear(f"{prefix}mod.lin", dim, 6 * dim, adapted=True)
            linear(f"{prefix}attn.qkv", dim, 3 * dim, adapted=True)
            linear(f"{prefix}attn.proj", dim, dim, adapted=True)
            linear(f"{prefix}mlp.0", dim, 4 * dim)
            linear(f"{prefix}mlp.2", 4 * dim, dim)
            norms(f"{prefix}attn.")
        addons |= {f"double_blocks.{i}.joint1.weight": random(2 * dim, 2 * dim)}
        addons |= {f"double_blocks.{i}.joint1.bias": random(2 * dim)}
    for i in range(config["num_single_layers"]):
        prefix = f"single_blocks.{i}."
        linear(f"{prefix}modulation.lin", dim, 3 * dim, adapted=True)
        linear(f"{prefix}linear1", dim, 7 * dim, adapted=True)
        linear(f"{prefix}linear2", 5 * dim, dim)
        norms(prefix)
        addons |= {f"{prefix}joint2.weight": random(2 * dim, 2 * dim), f"{prefix}joint2.bias": random(2 * dim)}
    linear("final_layer.linear", dim, config["in_channels"])
    linear("final_layer.adaLN_modulation.1", dim, 2 * dim)
    return flux, addons


@torch.no_grad()
@pytest.mark.parametrize("size", SIZES)
def test_load_released_agrees_with_the_equations(size):
    config, ranks = SIZES[size]
    flux, addons = make_released(config, ranks)
    model = load_released(flux, addons, config)
    for sigmas in ([0.4, 0.9], [0.8, 0.1]), ([0.0, 0.0], [1.0, 0.3]), ([0.7, 1.0], [0.0, 1.0]):
        inputs = build_inputs(*sigmas, config)
        expected = run_reference(reference.released_linears(flux, addons), config, inputs)
        assert relative_error(model(**inputs).sample, expected) <= 2e-5


def test_load_released_takes_over_the_tensors_without_copying_the_backbone():
    config, ranks = SIZES["tiny"]
    flux, addons = make_released(config, ranks)
    model = load_released(flux, addons, config)
    to_v = model.transformer_blocks[1].attn.to_v.base_layer.weight
    fused = flux["double_blocks.1.img_attn.qkv.weight"]
    assert to_v.untyped_storage().data_ptr() == fused.untyped_storage().data_ptr()


def test_load_released_gives_a_model_that_saves_loads_and_trains(tmp_path):
    config, ranks = SIZES["tiny"]
    model = load_released(*make_released(config, ranks), config)
    model.save_pretrained(tmp_path)
    loaded = JointDiTTransformer2DModel.from_pretrained(tmp_path)
    assert all(torch.equal(loaded.state_dict()[key], tensor) for key, tensor in model.state_dict().items())
    model(**build_inputs([0.4], [0.8])).sample.square().mean().backward()
    assert all(model.get_parameter(name).grad is not None for name in added_parameters(model))


def test_load_released_casts_the_addons_to_the_dtype_of_flux():
    config, ranks = SIZES["tiny"]
    flux, addons = make_released(config, ranks)
    model = load_released(flux, {key: tensor.bfloat16() for key, tensor in addons.items()}, config)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def drop(key):
    """Remove a key."""
    return lambda tensors: tensors.pop(key)


def reshape(key, *shape):
    """Replace a tensor by one of another shape."""
    return lambda tensors: tensors.update({key: torch.zeros(shape)})


BAD = {
    "missing backbone weight": (
        "flux",
        drop("double_blocks.1.txt_mlp.0.bias"),
        "missing: double_blocks.1.txt_mlp.0.bias",
    ),
    "missing norm": (
        "flux",
        drop("single_blocks.0.norm.key_norm.scale"),
        "missing: single_blocks.0.norm.key_norm.scale",
    ),
    "extra block": (
        "flux",
        reshape("double_blocks.2.img_mod.lin.bias", 3),
        "unexpected: double_blocks.2.img_mod.lin.bias",
    ),
    "short fused weight": (
        "flux",
        reshape("single_blocks.1.linear1.weight", 223, 32),
        r"single_blocks.1.linear1.weight has shape \(223, 32\), expected \(224, 32\)",
    ),
    "missing joint bias": ("addons", drop("single_blocks.1.joint2.bias"), "missing: single_blocks.1.joint2.bias"),
    "missing A": ("addons", drop("txt_in.lora_A.weight"), "missing: txt_in.lora_A.weight"),
    "missing B": ("addons", drop("txt_in.lora_B.weight"), "missing: txt_in.lora_B.weight"),
    "LoRA where none belongs": (
        "addons",
        reshape("single_blocks.0.linear2.lora_A.weight", 4, 32),
        "unexpected: single_blocks.0.linear2.lora_A.weight",
    ),
    "A of another input": ("addons", reshape("txt_in.lora_A.weight", 5, 23), r"txt_in.lora_A.weight .*\(5, 24\)"),
    "B of another rank": ("addons", reshape("txt_in.lora_B.weight", 32, 6), r"txt_in.lora_B.weight .*\(32, 5\)"),
    "A without a rank": ("addons", reshape("txt_in.lora_A.weight", 0, 24), "txt_in.lora_A.weight has shape"),
    "A of one axis": ("addons", reshape("txt_in.lora_A.weight", 24), "txt_in.lora_A.weight has shape"),
    "joint of another width": (
        "addons",
        reshape("double_blocks.0.joint1.weight", 64, 63),
        "double_blocks.0.joint1.weight has",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_load_released_names_the_key_that_does_not_fit(case):
    where, change, message = BAD[case]
    config, ranks = SIZES["tiny"]
    flux, addons = make_released(config, ranks)
    change({"flux": flux, "addons": addons}[where])
    with pytest.raises(ValueError, match=message):
        load_released(flux, addons, config)


def test_load_released_shortens_a_long_list_of_keys():
    config, ranks = SIZES["tiny"]
    flux, _ = make_released(config, ranks)
    with pytest.raises(ValueError, match="and [0-9]+ more"):
        load_released(flux, {}, config)
