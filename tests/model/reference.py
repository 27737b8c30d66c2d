"""JointDiT written from its equations in float64, under the names of the original FLUX; shares no code with the model.

A *linear* is looked up by its original name through one of two readers: `released_linears` for the original files,
`our_linears` for a state dict of our model. Each returns `apply(name, x)`, where x holds 2B rows, rgb first.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

Apply = Callable[[str, Tensor], Tensor]
DOUBLE_PARTS = {
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
    "joint1": ["attn.processor.joint"],
    "img_attn.norm.query_norm.scale": ["attn.norm_q.weight"],
    "img_attn.norm.key_norm.scale": ["attn.norm_k.weight"],
    "txt_attn.norm.query_norm.scale": ["attn.norm_added_q.weight"],
    "txt_attn.norm.key_norm.scale": ["attn.norm_added_k.weight"],
}
SINGLE_PARTS = {
    "modulation.lin": ["norm.linear"],
    "linear1": ["attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"],
    "linear2": ["proj_out"],
    "joint2": ["attn.processor.joint"],
    "norm.query_norm.scale": ["attn.norm_q.weight"],
    "norm.key_norm.scale": ["attn.norm_k.weight"],
}
GLOBAL_PARTS = {
    "img_in": ["x_embedder"],
    "txt_in": ["context_embedder"],
    "time_in.in_layer": ["time_text_embed.timestep_embedder.linear_1"],
    "time_in.out_layer": ["time_text_embed.timestep_embedder.linear_2"],
    "guidance_in.in_layer": ["time_text_embed.guidance_embedder.linear_1"],
    "guidance_in.out_layer": ["time_text_embed.guidance_embedder.linear_2"],
    "vector_in.in_layer": ["time_text_embed.text_embedder.linear_1"],
    "vector_in.out_layer": ["time_text_embed.text_embedder.linear_2"],
    "final_layer.linear": ["proj_out"],
    "final_layer.adaLN_modulation.1": ["norm_out.linear"],
}


def linear(x: Tensor, weight: Tensor, bias: Tensor, lora: tuple[Tensor, Tensor] | None) -> Tensor:
    """W x + b, and on the depth half also 1/2 B A x."""
    y = x @ weight.T + bias
    if lora is not None:
        a, b = lora
        half = len(x) // 2
        y[half:] += 0.5 * (x[half:] @ a.T @ b.T)
    return y


def released_linears(flux: dict[str, Tensor], addons: dict[str, Tensor]) -> tuple[Apply, Callable[[str], Tensor]]:
    """Read original names directly."""
    w = {key: tensor.double() for key, tensor in {**flux, **addons}.items()}

    def apply(name: str, x: Tensor) -> Tensor:
        lora = (w[f"{name}.lora_A.weight"], w[f"{name}.lora_B.weight"]) if f"{name}.lora_A.weight" in w else None
        return linear(x, w[f"{name}.weight"], w[f"{name}.bias"], lora)

    return apply, w.__getitem__


def our_linears(state: dict[str, Tensor]) -> tuple[Apply, Callable[[str], Tensor]]:
    """Read original names from our state dict, where fused linears are held apart."""
    w = {key.replace(".base_layer", "").replace(".depth", ""): tensor.double() for key, tensor in state.items()}

    def parts(name: str) -> list[str]:
        kind, *rest = name.split(".", 2)
        if kind == "double_blocks":
            return [f"transformer_blocks.{rest[0]}.{part}" for part in DOUBLE_PARTS[rest[1]]]
        if kind == "single_blocks":
            return [f"single_transformer_blocks.{rest[0]}.{part}" for part in SINGLE_PARTS[rest[1]]]
        return GLOBAL_PARTS[name]

    def apply(name: str, x: Tensor) -> Tensor:
        outs = []
        for part in parts(name):
            lora = (w[f"{part}.lora_A.weight"], w[f"{part}.lora_B.weight"]) if f"{part}.lora_A.weight" in w else None
            outs.append(linear(x, w[f"{part}.weight"], w[f"{part}.bias"], lora))
        y = torch.cat(outs, dim=-1)
        # The original holds (shift, scale), diffusers (scale, shift).
        return torch.cat(y.chunk(2, dim=-1)[::-1], dim=-1) if name.startswith("final_layer.adaLN") else y

    return apply, lambda name: w[parts(name)[0]]


def weights(sigma_rgb: Tensor, sigma_depth: Tensor, form: str, alpha: float) -> Tensor:
    """Eq. 6, one row at a time: (2B,)."""
    out = []
    for a, b in [*zip(sigma_rgb, sigma_depth, strict=True), *zip(sigma_depth, sigma_rgb, strict=True)]:
        own, other = float(a), float(b)
        share, total = (own, own + other) if form == "released" else (1 - other, (1 - own) + (1 - other))
        ratio = 0.5 if total == 0 else share / total
        out.append(0.5 if form == "off" else 1 / (1 + math.exp(-alpha * (ratio - 0.5))))
    return torch.tensor(out, dtype=torch.float64)


def layer_norm(x: Tensor) -> Tensor:
    """(x - mean) / sqrt(var + 1e-6)."""
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt()


def rms_norm(x: Tensor, scale: Tensor) -> Tensor:
    """X / sqrt(mean x^2 + 1e-6) * scale."""
    return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * scale


def gelu(x: Tensor) -> Tensor:
    """The tanh form."""
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def silu(x: Tensor) -> Tensor:
    """X * sigmoid(x)."""
    return x / (1 + torch.exp(-x))


def sinusoids(t: Tensor) -> Tensor:
    """256 channels of cos, then sin, of 1000 t at 128 frequencies from 1 to about 1/10000."""
    angles = 1000 * t[:, None] * torch.exp(-math.log(10000) * torch.arange(128, dtype=torch.float64) / 128)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def rope(x: Tensor, ids: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Turn neighbouring channels of x (2B, H, S, d) as complex numbers, axis after axis."""
    angles = [
        ids[:, i, None].double() * 10000 ** (-torch.arange(0, size, 2, dtype=torch.float64) / size)
        for i, size in enumerate(axes)
    ]
    turn = torch.polar(torch.ones(len(ids), sum(axes) // 2, dtype=torch.float64), torch.cat(angles, dim=-1))
    return torch.view_as_real(torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous()) * turn).flatten(-2)


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k / sqrt d) v, heads joined: (B, H, S, d) -> (B, S, D)."""
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)


def self_and_joint(q: Tensor, k: Tensor, v: Tensor, w: Tensor, joint: Callable[[Tensor], Tensor]) -> Tensor:
    """Eq. 5 before the output projections."""
    n = len(q) // 2
    o_rgb, o_depth = attend(q[:n], k[n:], v[n:]), attend(q[n:], k[:n], v[:n])
    mixed = joint(torch.cat([o_rgb, o_depth], dim=-1))
    dim = o_rgb.shape[-1]
    joined = torch.cat([mixed[..., :dim], mixed[..., dim:]])
    return attend(q, k, v) + w[:, None, None] * joined


def forward(
    reader: tuple[Apply, Callable[[str], Tensor]],
    config: dict,
    tokens: Tensor,
    text: Tensor,
    pooled: Tensor,
    sigma: Tensor,
    ids: Tensor,
    guidance: Tensor | None,
) -> Tensor:
    """v for 2B rows; ids are text positions, then image positions."""
    apply, get = reader
    axes, heads = config["axes_dims_rope"], config["num_attention_heads"]
    tokens, text, pooled, sigma = tokens.double(), text.double(), pooled.double(), sigma.double()
    n, length = len(tokens) // 2, text.shape[1]
    w = weights(sigma[:n], sigma[n:], config["adaptive_weights"], config["adaptive_alpha"])

    def mlp(prefix: str, x: Tensor, ends: tuple[str, str], act: Callable[[Tensor], Tensor]) -> Tensor:
        return apply(prefix + ends[1], act(apply(prefix + ends[0], x)))

    def qkv_heads(fused: Tensor, norm: str) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in fused.chunk(3, dim=-1))
        return rms_norm(q, get(norm + "query_norm.scale")), rms_norm(k, get(norm + "key_norm.scale")), v

    layers = ("in_layer", "out_layer")
    temb = mlp("time_in.", sinusoids(sigma), layers, silu) + mlp("vector_in.", pooled, layers, silu)
    if guidance is not None:
        temb = temb + mlp("guidance_in.", sinusoids(guidance.double()), layers, silu)
    img, txt = apply("img_in", tokens), apply("txt_in", text)

    for i in range(config["num_layers"]):
        block = f"double_blocks.{i}."
        mods = {s: apply(f"{block}{s}_mod.lin", silu(temb))[:, None].chunk(6, dim=-1) for s in ("img", "txt")}
        pieces = []
        for stream, x in (("txt", txt), ("img", img)):
            shift, scale = mods[stream][:2]
            fused = apply(f"{block}{stream}_attn.qkv", (1 + scale) * layer_norm(x) + shift)
            pieces.append(qkv_heads(fused, f"{block}{stream}_attn.norm."))
        q, k, v = (torch.cat(pair, dim=2) for pair in zip(*pieces, strict=True))
        q, k = rope(q, ids, axes), rope(k, ids, axes)
        out = self_and_joint(q, k, v, w, lambda x, block=block: apply(block + "joint1", x))
        results = []
        for stream, x, o in (("txt", txt, out[:, :length]), ("img", img, out[:, length:])):
            _, _, gate, shift, scale, gate_mlp = mods[stream]
            x = x + gate * apply(f"{block}{stream}_attn.proj", o)
            hidden = (1 + scale) * layer_norm(x) + shift
            results.append(x + gate_mlp * mlp(f"{block}{stream}_mlp.", hidden, ("0", "2"), gelu))
        txt, img = results

    x = torch.cat([txt, img], dim=1)
    for i in range(config["num_single_layers"]):
        block = f"single_blocks.{i}."
        shift, scale, gate = apply(block + "modulation.lin", silu(temb))[:, None].chunk(3, dim=-1)
        fused = apply(block + "linear1", (1 + scale) * layer_norm(x) + shift)
        dim = x.shape[-1]
        q, k, v = qkv_heads(fused[..., : 3 * dim], block + "norm.")
        q, k = rope(q, ids, axes), rope(k, ids, axes)
        out = self_and_joint(q, k, v, w, lambda x, block=block: apply(block + "joint2", x))
        x = x + gate * apply(block + "linear2", torch.cat([out, gelu(fused[..., 3 * dim :])], dim=-1))

    shift, scale = apply("final_layer.adaLN_modulation.1", silu(temb))[:, None].chunk(2, dim=-1)
    return apply("final_layer.linear", (1 + scale) * layer_norm(x[:, length:]) + shift)
