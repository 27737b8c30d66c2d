"""How the page looks: a calm theme on system fonts (nothing is fetched from outside) and a small style sheet."""

from __future__ import annotations

import json
from pathlib import Path

import gradio as gr

from app import words

CSS = Path(__file__).with_name("style.css")
SCRIPT = Path(__file__).with_name("page.js").read_text(encoding="utf-8")
JS = SCRIPT.replace("BUTTON_HELP", json.dumps(words.BUTTON_HELP))


def theme() -> gr.themes.Base:
    """Return the theme; its font names are overruled by the style sheet, which may leave generic names unquoted."""
    return gr.themes.Base(
        primary_hue=gr.themes.colors.teal,
        neutral_hue=gr.themes.colors.slate,
        spacing_size=gr.themes.sizes.spacing_sm,
        radius_size=gr.themes.sizes.radius_md,
        text_size=gr.themes.sizes.text_sm,
        font=["sans-serif"],
        font_mono=["monospace"],
    ).set(
        body_background_fill="*neutral_100",
        body_background_fill_dark="#0b1120",
        body_text_color="*neutral_800",
        body_text_color_dark="*neutral_200",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_400",
        background_fill_primary="white",
        background_fill_primary_dark="#111a2e",
        background_fill_secondary="*neutral_50",
        background_fill_secondary_dark="#0f172a",
        border_color_primary="*neutral_200",
        border_color_primary_dark="#24304a",
        border_color_accent="*primary_600",
        border_color_accent_dark="*primary_400",
        block_background_fill="white",
        block_background_fill_dark="#111a2e",
        block_border_color="*neutral_200",
        block_border_color_dark="#24304a",
        block_border_width="1px",
        block_shadow="none",
        block_label_background_fill="rgba(255,255,255,.88)",
        block_label_background_fill_dark="rgba(17,26,46,.88)",
        block_label_border_width="0px",
        block_label_border_width_dark="0px",
        block_label_text_color="*neutral_700",
        block_label_text_color_dark="*neutral_200",
        block_label_text_weight="600",
        block_title_text_color="*neutral_700",
        block_title_text_color_dark="*neutral_200",
        block_title_text_weight="600",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_400",
        input_background_fill="white",
        input_background_fill_dark="#0b1222",
        input_border_color="*neutral_300",
        input_border_color_dark="#334155",
        input_border_color_focus="*primary_600",
        input_border_color_focus_dark="*primary_400",
        input_border_width="1px",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
        slider_color="*primary_600",
        slider_color_dark="*primary_400",
        button_large_padding="10px 16px",
        button_large_text_weight="600",
        button_small_padding="6px 10px",
        button_small_text_weight="500",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_400",
        button_primary_background_fill_hover_dark="*primary_300",
        button_primary_text_color="white",
        button_primary_text_color_dark="*primary_950",
        button_primary_border_color="*primary_700",
        button_primary_border_color_dark="*primary_400",
        button_secondary_background_fill="white",
        button_secondary_background_fill_hover="*neutral_100",
        button_secondary_background_fill_dark="#17223a",
        button_secondary_background_fill_hover_dark="#1f2c49",
        button_secondary_border_color="*neutral_300",
        button_secondary_border_color_dark="#334155",
        button_secondary_text_color="*neutral_800",
        button_secondary_text_color_dark="*neutral_100",
        checkbox_label_background_fill_selected="*primary_50",
        checkbox_label_background_fill_selected_dark="#12343b",
        checkbox_label_text_color_selected="*primary_900",
        checkbox_label_text_color_selected_dark="*primary_100",
        checkbox_background_color_selected="*primary_600",
        checkbox_border_color_selected="*primary_600",
    )
