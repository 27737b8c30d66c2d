"""The three tasks, the general call, and every refusal at the door."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

import jointdit_core
from jointdit_core import Interrupted, JointDiTOutput, JointDiTPipeline
from jointdit_core.model.autoencoder import AutoencoderPatchPCA
from tests.tiny import SIZE, tiny_pipeline

STEPS = 3
PROMPTS = ["a red ball", "the blue cube in a house"]


def digest(out: JointDiTOutput) -> str:
    return hashlib.sha256(out.image.tobytes() + out.disparity.tobytes()).hexdigest()


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image, dtype=np.float32) / 255


# Tasks -------------------------------------------------------------------------------------------------------------


def test_joint_generation_gives_a_pair_of_the_default_size(pipe):
    out = pipe.joint_generation("a red ball", seed=7, num_inference_steps=STEPS)
    assert out.image.mode == "RGB" and out.image.size == (SIZE, SIZE)
    assert out.disparity.shape == (SIZE, SIZE) and out.disparity.dtype == np.float32
    assert 0 <= out.disparity.min() < out.disparity.max() <= 1
    assert (out.seed, out.notes) == (7, ())


def test_depth_estimation_returns_the_given_image(pipe, picture):
    out = pipe.depth_estimation(picture, seed=7, num_inference_steps=STEPS)
    assert out.image.tobytes() == picture.tobytes()
    assert out.disparity.shape == (SIZE, SIZE) and out.disparity.std() > 0
    other = pipe.depth_estimation(picture.rotate(180), seed=7, num_inference_steps=STEPS)
    assert np.abs(other.disparity - out.disparity).max() > 1e-3  # the image is read


def test_depth_to_image_returns_the_given_disparity(pipe, disparity):
    out = pipe.depth_to_image("a red ball", disparity, seed=7, num_inference_steps=STEPS)
    assert np.array_equal(out.disparity, disparity)
    other = pipe.depth_to_image("a red ball", 1 - disparity, seed=7, num_inference_steps=STEPS)
    assert np.abs(pixels(other.image) - pixels(out.image)).max() > 1e-2  # the disparity is read


def test_prompt_and_guidance_matter(pipe, embedded_pipe):
    for p in (pipe, embedded_pipe):
        results = {
            digest(p.joint_generation(prompt, seed=1, num_inference_steps=STEPS, guidance_scale=guidance))
            for prompt in PROMPTS
            for guidance in (1.0, 3.5)
        }
        assert len(results) == 4


def test_guidance_of_one_and_less_is_plain(pipe):
    results = [pipe(PROMPTS[0], seed=1, num_inference_steps=STEPS, guidance_scale=scale) for scale in (0, 0.7, 1)]
    assert len({digest(out) for out in results}) == 1


def test_depth_estimation_takes_its_guidance_from_the_config(picture):
    p = tiny_pipeline(guidance_embeds=True)
    p.register_to_config(depth_guidance_scale=2.5)
    by_default = p.depth_estimation(picture, seed=1, num_inference_steps=STEPS)
    named = p.depth_estimation(picture, seed=1, num_inference_steps=STEPS, guidance_scale=2.5)
    other = p.depth_estimation(picture, seed=1, num_inference_steps=STEPS, guidance_scale=1.0)
    assert digest(by_default) == digest(named) != digest(other)


def test_negative_prompt_steers_or_is_noted(pipe, embedded_pipe):
    plain = pipe.joint_generation(PROMPTS[0], seed=1, num_inference_steps=STEPS)
    steered = pipe.joint_generation(PROMPTS[0], negative_prompt="green tree", seed=1, num_inference_steps=STEPS)
    assert digest(plain) != digest(steered) and steered.notes == ()
    noted = embedded_pipe.joint_generation(PROMPTS[0], negative_prompt="green tree", seed=1, num_inference_steps=STEPS)
    assert len(noted.notes) == 1 and "negative prompt" in noted.notes[0]


def test_start_sigma_binds_from_free_to_exact(pipe, disparity):
    def given(start):
        return pipe(PROMPTS[0], disparity=disparity, sigma_start_depth=start, seed=1, num_inference_steps=STEPS)

    free = pipe(PROMPTS[0], seed=1, num_inference_steps=STEPS)
    assert digest(given(1.0)) == digest(free)
    assert np.array_equal(given(0.0).disparity, disparity)
    assert digest(given(None)) == digest(given(0.0))
    loose = {digest(given(start)) for start in (0.3, 0.6)}
    assert len(loose | {digest(free), digest(given(0.0))}) == 4
    assert np.abs(given(0.01).image - pixels(given(0.0).image) * 255).max() <= 16  # continuous at the clean end


def test_both_given_can_be_varied_together(pipe, picture, disparity):
    out = pipe(
        PROMPTS[0], picture, disparity, sigma_start_rgb=0.5, sigma_start_depth=0.5, seed=1, num_inference_steps=STEPS
    )
    assert out.image.tobytes() != picture.tobytes()
    assert not np.array_equal(out.disparity, disparity)


def test_inverse_depth_transform_mirrors_disparity(disparity):
    plain, inverse = tiny_pipeline(), tiny_pipeline(depth_transform="inverse")
    a = plain.depth_to_image(PROMPTS[0], 1 - disparity, seed=1, num_inference_steps=STEPS)
    b = inverse.depth_to_image(PROMPTS[0], disparity, seed=1, num_inference_steps=STEPS)
    assert np.abs(pixels(a.image) - pixels(b.image)).max() <= 1 / 255
    a = plain.joint_generation(PROMPTS[0], seed=1, num_inference_steps=STEPS)
    b = inverse.joint_generation(PROMPTS[0], seed=1, num_inference_steps=STEPS)
    assert np.allclose(a.disparity, 1 - b.disparity, atol=1e-6)


def test_patch_autoencoder_serves_as_vae(picture):
    p = tiny_pipeline()
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    p.register_modules(vae=AutoencoderPatchPCA.fit(images, latent_channels=4, patch_size=4, whitening=0.5))
    out = p.depth_estimation(picture.resize((70, 50)), seed=1, num_inference_steps=STEPS)
    assert out.disparity.shape == (50, 70)


# Sizes, seeds, batches ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(64, 64), (93, 50), (16, 128), (301, 217), (65, 63)])
def test_any_input_size_comes_back(pipe, picture, disparity, size):
    image = picture.resize(size)
    assert pipe.depth_estimation(image, seed=1, num_inference_steps=1).disparity.shape == size[::-1]
    given = np.asarray(Image.fromarray(disparity).resize(size, Image.Resampling.BILINEAR))
    out = pipe.depth_to_image(PROMPTS[0], given, seed=1, num_inference_steps=1)
    assert out.image.size == size and np.array_equal(out.disparity, given)


def test_asked_size_comes_back(pipe):
    out = pipe.joint_generation(PROMPTS[0], height=70, width=121, seed=1, num_inference_steps=1)
    assert out.image.size == (121, 70) and out.disparity.shape == (70, 121)
    out = pipe.joint_generation(PROMPTS[0], width=np.int64(121), seed=1, num_inference_steps=1)
    assert out.image.size == (121, SIZE)


def test_same_seed_same_bytes_and_others_differ(pipe, embedded_pipe, picture, disparity):
    for p in (pipe, embedded_pipe):
        for call in (
            lambda p, seed: p.joint_generation(PROMPTS[0], seed=seed, num_inference_steps=STEPS),
            lambda p, seed: p.depth_estimation(picture, seed=seed, num_inference_steps=STEPS),
            lambda p, seed: p.depth_to_image(PROMPTS[0], disparity, seed=seed, num_inference_steps=STEPS),
        ):
            first, again, other = (digest(call(p, seed)) for seed in (5, 5, 6))
            assert first == again != other


def test_seed_is_drawn_told_and_leaves_the_global_state(pipe):
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    out, other = (pipe.joint_generation(PROMPTS[0], num_inference_steps=STEPS) for _ in range(2))
    assert out.seed != other.seed
    assert digest(pipe.joint_generation(PROMPTS[0], seed=out.seed, num_inference_steps=STEPS)) == digest(out)
    assert torch.equal(before[0], torch.get_rng_state()) and np.array_equal(before[1], np.random.get_state()[1])


def test_generator_replaces_seed(pipe):
    out = pipe(PROMPTS[0], generator=torch.Generator().manual_seed(5), num_inference_steps=STEPS)
    assert out.seed == 5
    assert digest(out) == digest(pipe(PROMPTS[0], seed=5, num_inference_steps=STEPS))


@pytest.mark.parametrize("embedded", [False, True])
def test_batch_equals_its_singles(pipe, embedded_pipe, picture, disparity, embedded):
    p = embedded_pipe if embedded else pipe
    images, maps = [picture, picture.rotate(90)], np.stack([disparity, disparity[::-1]])
    batches = [
        p.joint_generation(PROMPTS, seed=[5, 9], num_inference_steps=STEPS),
        p.depth_estimation(images, seed=[5, 9], num_inference_steps=STEPS),
        p.depth_to_image(PROMPTS, maps, seed=[5, 9], num_inference_steps=STEPS),
    ]
    for i, seed in enumerate((5, 9)):
        singles = [
            p.joint_generation(PROMPTS[i], seed=seed, num_inference_steps=STEPS),
            p.depth_estimation(images[i], seed=seed, num_inference_steps=STEPS),
            p.depth_to_image(PROMPTS[i], maps[i], seed=seed, num_inference_steps=STEPS),
        ]
        for batch, single in zip(batches, singles, strict=True):
            assert batch.seed == [5, 9]
            assert np.abs(batch.disparity[i] - single.disparity).max() <= 1e-4
            # 8-bit levels: a difference of 1e-4 may round across a level.
            assert np.abs(pixels(batch.image[i]) - pixels(single.image)).max() <= 1 / 255 + 1e-4


def test_single_entries_serve_the_whole_batch(pipe, picture, disparity):
    out = pipe.joint_generation(PROMPTS[0], seed=[4, 4, 8], num_inference_steps=STEPS)
    assert np.abs(out.disparity[0] - out.disparity[1]).max() <= 1e-4 < np.abs(out.disparity[0] - out.disparity[2]).max()
    out = pipe.depth_to_image(PROMPTS, disparity, seed=4, num_inference_steps=STEPS)
    assert out.seed == [4, 5] and len(out.image) == 2 and np.array_equal(out.disparity[1], disparity)
    out = pipe.depth_estimation([picture], seed=4, num_inference_steps=STEPS)
    assert out.seed == [4] and len(out.disparity) == 1
    out = pipe.depth_to_image(PROMPTS[0], disparity[None], seed=4, num_inference_steps=STEPS)
    assert len(out.image) == 1


def test_parallel_requests_equal_serial_ones(pipe, picture, disparity):
    calls = [
        lambda: pipe.joint_generation(PROMPTS[0], seed=1, num_inference_steps=4),
        lambda: pipe.depth_estimation(picture, seed=2, num_inference_steps=2),
        lambda: pipe.depth_to_image(PROMPTS[1], disparity, seed=3, num_inference_steps=7),
        lambda: pipe.joint_generation(PROMPTS[1], height=90, width=64, seed=4, num_inference_steps=5),
    ] * 2
    # One arithmetic thread each: with more, how a product is cut up may depend on the load.
    threads = torch.get_num_threads()
    try:
        runs = []
        for workers in (1, 4):
            with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                runs.append(list(pool.map(lambda call: digest(call()), calls)))
    finally:
        torch.set_num_threads(threads)
    assert runs[0] == runs[1]


# Progress, stopping, saving ----------------------------------------------------------------------------------------


def test_callback_sees_each_step_and_previews_the_result(pipe, picture):
    seen = []
    out = pipe.joint_generation(
        PROMPTS[0],
        seed=1,
        height=90,
        width=80,
        num_inference_steps=STEPS,
        callback_on_step_end=lambda step, total, preview: seen.append((step, total, *preview())),
    )
    assert [(step, total) for step, total, *_ in seen] == [(1, STEPS), (2, STEPS), (3, STEPS)]
    for _, _, image, disparity in seen:
        assert image.size == (80, 90) and disparity.shape == (90, 80)
    assert np.abs(seen[-1][3] - out.disparity).max() < 1e-5  # the last estimate is the result
    assert np.abs(seen[0][3] - out.disparity).max() > 1e-3


def test_preview_of_a_clean_branch_is_what_was_given(pipe, picture):
    seen = []
    pipe.depth_estimation(
        [picture], seed=1, num_inference_steps=1, callback_on_step_end=lambda _, __, preview: seen.append(preview())
    )
    assert seen[0][0][0].tobytes() == picture.tobytes() and len(seen[0][1]) == 1


@pytest.mark.parametrize("way", ["return", "raise"])
def test_interrupt_stops_between_steps_and_harms_nothing(pipe, way):
    steps = []

    def stop(step, total, preview):
        steps.append(step)
        if step == 2 and way == "raise":
            raise Interrupted
        return step != 2

    before = digest(pipe.joint_generation(PROMPTS[0], seed=1, num_inference_steps=STEPS))
    with pytest.raises(Interrupted):
        pipe.joint_generation(PROMPTS[0], seed=1, num_inference_steps=50, callback_on_step_end=stop)
    assert steps == [1, 2]
    assert digest(pipe.joint_generation(PROMPTS[0], seed=1, num_inference_steps=STEPS)) == before


def test_save_and_load_keeps_every_bit_of_the_weights(embedded_pipe, tmp_path):
    embedded_pipe.save_pretrained(tmp_path)
    loaded = JointDiTPipeline.from_pretrained(tmp_path)
    loaded.set_progress_bar_config(disable=True)
    for name in ("default_size", "max_size", "depth_guidance_scale", "depth_transform"):
        assert loaded.config[name] == embedded_pipe.config[name]
    for name in ("transformer", "vae", "text_encoder", "text_encoder_2"):
        before, after = (p.components[name].state_dict() for p in (embedded_pipe, loaded))
        assert before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)
    a, b = (p.joint_generation(PROMPTS[0], seed=1, num_inference_steps=STEPS) for p in (embedded_pipe, loaded))
    # Weights read from a file lie at other addresses, for which CPU kernels may sum in another order.
    assert np.abs(a.disparity - b.disparity).max() < 1e-5


def test_notes_tell_cut_and_unknown_words(pipe):
    long = "a red ball left of a blue cube in the house behind a green tree"
    out = pipe.joint_generation([long, "a purple ball"], seed=1, num_inference_steps=1)
    assert len(out.notes) == 2
    assert out.notes[0].endswith('left out: "behind a green tree"')
    assert out.notes[1].endswith(": purple")


@pytest.mark.parametrize("prompt", ["", " ", "!", "\x00", "é" * 5000])
def test_odd_prompts_give_a_result(pipe, prompt):
    assert pipe.joint_generation(prompt, seed=1, num_inference_steps=1).disparity.std() > 0


def test_not_finite_result_is_refused():
    p = tiny_pipeline()
    with torch.no_grad():
        p.transformer.proj_out.weight[0, 0] = float("nan")
    with pytest.raises(FloatingPointError, match="not finite"):
        p.joint_generation(PROMPTS[0], seed=1, num_inference_steps=1)


def test_public_names():
    assert set(jointdit_core.__all__) == {"Interrupted", "JointDiTOutput", "JointDiTPipeline", "PointCloud", "lift"}
    assert all(hasattr(jointdit_core, name) for name in jointdit_core.__all__)
