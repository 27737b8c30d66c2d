"""Time the transformer in every mode against diffusers' FLUX: `python -m jointdit_core.benchmark`.

Weights are random: the time of a step does not depend on them, but for a first-block cache, which skips by what it
sees and finds nothing to skip in a random network (its error is then that of rounding, its time that of looking). An
approximate mode's error does depend on them: read it as a check of the mode, not as what happens to pictures.
"""
