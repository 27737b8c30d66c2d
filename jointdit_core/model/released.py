"""From FLUX's original weights and the released JointDiT add-ons to our state dict; the only place keys are renamed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from accelerate import init_empty_weights

from .branch_lora import ADAPTER, TARGETS
from .transformer import JointDiTTransformer2DModel, name_some

Tensors = Mapping[str, torch.Tensor]
# Released key -> our keys, which together hold its tensor.
Plan = dict[str, list[str]]

# Released linear -> our linears, which together hold its output rows in this order.
GLOBAL_LINEARS = {
    "img_in": ["x_embedder"],
    "txt_in": ["context_embedder"],
    "time_in.in_layer": ["time_text_embed.timestep_embedder.linear_1"],
    "time_in.out_layer": ["time_text_embed.timestep_embedder.linear_2"],
    "vector_in.in_layer": ["time_text_embed.text_embedder.linear_1"],
    "vector_in.out_layer": ["time_text_embed.text_embedder.linear_2"],
    "final_layer.linear": ["proj_out"],
    "final_layer.adaLN_modulation.1": ["norm_out.linear"],
}
GUIDANCE_LINEARS = {
    "guidance_in.in_layer": ["time_text_embed.guidance_embedder.linear_1"],
    "guidance_in.out_layer": ["time_text_embed.guidance_embedder.linear_2"],
}
DOUBLE_LINEARS = {
    "img_mod.lin": ["norm1.linear"],
    "txt_mod.lin": ["norm1_context.linear"],
    "img_attn.qkv": ["attn.to_q", "attn.to_k", "attn.to_v"],
    "txt_attn.qkv": ["attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"],
    "img_attn.proj": ["attn.to_out.0"],
    "txt_attn.proj": ["attn.to_add_out"],
    "img_mlp.0": ["ff.net.0.proj"],
    "img_mlp.2": ["ff.net.2"],
    "txt_mlp.0": ["ff_context.net.0.proj"],
    "txt_mlp.2": ["ff_context.net.2"],
}
SINGLE_LINEARS = {
    "modulation.lin": ["norm.linear"],
    "linear1": ["attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"],
    "linear2": ["proj_out"],
}
# Released q/k norm weight -> ours.
DOUBLE_NORMS = {
    "img_attn.norm.query_norm.scale": "attn.norm_q.weight",
    "img_attn.norm.key_norm.scale": "attn.norm_k.weight",
    "txt_attn.norm.query_norm.scale": "attn.norm_added_q.weight",
    "txt_attn.norm.key_norm.scale": "attn.norm_added_k.weight",
}
SINGLE_NORMS = {
    "norm.query_norm.scale": "attn.norm_q.weight",
    "norm.key_norm.scale": "attn.norm_k.weight",
}
LORA_A = f".lora_A.{ADAPTER}.weight"
LORA_B = f".lora_B.{ADAPTER}.weight"
DIFFUSERS_MARKS = ("x_embedder.weight", "proj_out.weight")  # no original file has keys of these names


def load_released(flux: Tensors, addons: Tensors, config: Mapping[str, Any]) -> JointDiTTransformer2DModel:
    """Build the transformer from FLUX's weights and JointDiT's add-ons.

    The tensors are taken over, not copied, wherever they fit as they are.

    Args:
        flux: FLUX weights under their original names, such as `double_blocks.0.img_attn.qkv.weight`, or diffusers',
            such as `transformer_blocks.0.attn.to_q.weight`.
        addons: Released add-ons, such as `double_blocks.0.joint1.weight` and `txt_in.lora_A.weight`, or ours as
            `added_parameters` names them; cast to the dtype of `flux`.
        config: FLUX's diffusers config with all sizes given, and our own settings where they differ from the
            default; LoRA ranks are read from `addons`.

    Returns:
        The model in evaluation mode, on the tensors' device, in the dtype of `flux`.

    Raises:
        ValueError: A key is missing, unexpected or of another shape; the message names it.
    """
    flux_plan, addons_plan = _plan(config)
    original = not any(name in flux for name in DIFFUSERS_MARKS)
    if not original:
        flux_plan = {name.replace(".base_layer", ""): [name] for ours in flux_plan.values() for name in ours}
    if any(name.endswith(LORA_A) for name in addons):  # written by `save_addons`
        addons_plan = {name: [name] for ours in addons_plan.values() for name in ours}
    _check_keys("FLUX weights", flux, flux_plan)
    _check_keys("JointDiT add-ons", addons, addons_plan)

    model = _empty_model(config, _read_ranks(addons, addons_plan))
    shapes = {key: tensor.shape for key, tensor in model.state_dict().items()}
    state: dict[str, torch.Tensor] = {}
    for source, plan in ((flux, flux_plan), (addons, addons_plan)):
        for key, ours in plan.items():
            state |= _hand_out(key, source[key], ours, shapes)
    if original:
        for leaf in ("weight", "bias"):
            # Original: (shift, scale). diffusers: (scale, shift).
            shift, scale = state[f"norm_out.linear.{leaf}"].chunk(2)
            state[f"norm_out.linear.{leaf}"] = torch.cat([scale, shift])

    dtype = state["x_embedder.weight"].dtype
    model.load_state_dict({key: tensor.to(dtype) for key, tensor in state.items()}, strict=True, assign=True)
    return model.eval()


def to_released(model: JointDiTTransformer2DModel) -> dict[str, torch.Tensor]:
    """Write what JointDiT adds to FLUX as `load_released` reads it: the same values, bit by bit.

    Args:
        model: With plain projections.

    Returns:
        Released key -> tensor. Where the parts of a released linear no longer share one A, which that layout cannot
        hold, our key -> tensor throughout.
    """
    _, plan = _plan(model.config)
    state = {name: model.get_parameter(name).detach() for ours in plan.values() for name in ours}
    shared = [ours for key, ours in plan.items() if key.endswith(".lora_A.weight")]
    if not all(torch.equal(state[ours[0]], state[name]) for ours in shared for name in ours[1:]):
        return {name: tensor.contiguous() for name, tensor in state.items()}
    parts = {key: [state[name] for name in (ours[:1] if ours in shared else ours)] for key, ours in plan.items()}
    return {key: torch.cat(tensors) for key, tensors in parts.items()}


def new_addons(config: Mapping[str, Any], seed: int) -> dict[str, torch.Tensor]:
    """Make the add-ons that training starts from: they change nothing yet.

    Args:
        config: As in `load_released`; LoRA ranks are those it holds, by default the released model's.
        seed: Of the LoRA's random halves.

    Returns:
        Float32 tensors under the released names: LoRA A random as peft begins it, everything else 0.
    """
    with init_empty_weights():
        model = JointDiTTransformer2DModel.from_config(config)
    shapes = {key: tensor.shape for key, tensor in model.state_dict().items()}
    generator, made = torch.Generator().manual_seed(seed), {}
    for key, ours in _plan(config)[1].items():
        if ours[0].endswith(LORA_A):
            rank, channels = shapes[ours[0]]
            # Kaiming's uniform with a = sqrt(5).
            made[key] = (2 * torch.rand(rank, channels, generator=generator) - 1) / channels**0.5
        else:
            made[key] = torch.zeros(sum(shapes[name][0] for name in ours), *shapes[ours[0]][1:])
    return made


def _plan(config: Mapping[str, Any]) -> tuple[Plan, Plan]:
    """Spell out which released key becomes which of ours, for FLUX and for the add-ons."""
    flux, addons = {}, {}

    def rename_linears(released_prefix: str, our_prefix: str, linears: Mapping[str, list[str]]) -> None:
        for name, parts in linears.items():
            released, ours = released_prefix + name, [our_prefix + part for part in parts]
            adapted = re.fullmatch(TARGETS, ours[0])
            infix = ".base_layer" if adapted else ""
            flux[f"{released}.weight"] = [f"{module}{infix}.weight" for module in ours]
            flux[f"{released}.bias"] = [f"{module}{infix}.bias" for module in ours]
            if adapted:
                addons[f"{released}.lora_A.weight"] = [module + LORA_A for module in ours]
                addons[f"{released}.lora_B.weight"] = [module + LORA_B for module in ours]

    def rename_blocks(
        released: str, ours: str, count: int, linears: Mapping[str, list[str]], norms: Mapping[str, str], joint: str
    ) -> None:
        for i in range(count):
            rename_linears(f"{released}.{i}.", f"{ours}.{i}.", linears)
            flux.update({f"{released}.{i}.{name}": [f"{ours}.{i}.{norm}"] for name, norm in norms.items()})
            for leaf in ("weight", "bias"):
                addons[f"{released}.{i}.{joint}.{leaf}"] = [f"{ours}.{i}.attn.processor.joint.{leaf}"]

    rename_linears("", "", GLOBAL_LINEARS)
    if config["guidance_embeds"]:
        rename_linears("", "", GUIDANCE_LINEARS)
    rename_blocks("double_blocks", "transformer_blocks", config["num_layers"], DOUBLE_LINEARS, DOUBLE_NORMS, "joint1")
    rename_blocks(
        "single_blocks",
        "single_transformer_blocks",
        config["num_single_layers"],
        SINGLE_LINEARS,
        SINGLE_NORMS,
        "joint2",
    )
    return flux, addons


def _check_keys(what: str, given: Tensors, plan: Plan) -> None:
    """Refuse missing and unexpected keys."""
    problems = {"missing": plan.keys() - given.keys(), "unexpected": given.keys() - plan.keys()}
    found = "; ".join(f"{kind}: {name_some(keys)}" for kind, keys in problems.items() if keys)
    if found:
        raise ValueError(f"{what} do not fit the config: {found}")


def _read_ranks(addons: Tensors, plan: Plan) -> dict[str, int]:
    """Read the LoRA rank of each of our adapted linears from the released A (rank, input channels)."""
    ranks = {}
    for key, ours in plan.items():
        if ours[0].endswith(LORA_A):
            if addons[key].ndim != 2 or addons[key].shape[0] == 0:
                raise ValueError(f"{key} has shape {tuple(addons[key].shape)}, expected (rank, input channels)")
            ranks |= {name.removesuffix(LORA_A): addons[key].shape[0] for name in ours}
    return ranks


def _empty_model(config: Mapping[str, Any], ranks: Mapping[str, int]) -> JointDiTTransformer2DModel:
    """Build the model without memory for its weights."""
    [(common, _)] = Counter(ranks.values()).most_common(1)
    overrides = {name: rank for name, rank in ranks.items() if rank != common}
    with init_empty_weights():
        return JointDiTTransformer2DModel.from_config({**config, "lora_rank": common, "lora_rank_overrides": overrides})


def _hand_out(
    key: str, tensor: torch.Tensor, ours: list[str], shapes: Mapping[str, torch.Size]
) -> dict[str, torch.Tensor]:
    """Cut a released tensor along its rows into ours (as views); a LoRA's A is repeated instead."""
    shared = ours[0].endswith(LORA_A)
    rows = [shapes[name][0] for name in ours]
    expected = (rows[0] if shared else sum(rows), *shapes[ours[0]][1:])
    if tensor.shape != expected:
        raise ValueError(f"{key} has shape {tuple(tensor.shape)}, expected {expected}")
    # Copies, because q, k and v are trained and saved apart.
    parts = [tensor.clone() for _ in ours] if shared else tensor.split(rows)
    return dict(zip(ours, parts, strict=True))
