"""How the page looks: a calm theme on system fonts (nothing is fetched from outside) and a small style sheet."""

from __future__ import annotations

import gradio as gr

FONT = '-apple-system, BlinkMacSystemFont, "Segoe UI", Roboto, "Noto Sans", "Helvetica Neue", "Liberation Sans", Arial, sans-serif'
MONO = 'ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace'


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


CSS = (
    f":root {{ --font: {FONT}; --font-mono: {MONO}; }}\n"
    + """
.gradio-container { max-width: 1680px !important; margin: 0 auto !important; padding: 0 !important; }
.gradio-container main.app { padding: 0 20px 8px !important; }
.gradio-container main.app > .wrap { gap: 8px; }
footer { margin: 2px 0 6px !important; }

/* title line */
#title { display: flex; align-items: baseline; gap: 4px 12px; flex-wrap: wrap; padding: 10px 0 0; line-height: 1.25; }
#title h1 { font-size: 19px; font-weight: 700; margin: 0; letter-spacing: -.01em; }
#title p { margin: 0; color: var(--body-text-color-subdued); font-size: 13px; }
#title .model { margin-left: auto; }
#title .model b { color: var(--body-text-color); font-weight: 600; }

/* controls left, results right; the words the mini knows below the controls, on a phone below everything */
#desk { display: grid; grid-template-columns: 340px minmax(0, 1fr); grid-template-rows: auto 1fr; gap: 12px 20px; }
#desk > * { min-width: 0 !important; }
#controls { grid-area: 1 / 1; }
#results { grid-area: 1 / 2 / span 2; gap: 10px; }
#vocabulary { grid-area: 2 / 1; align-self: start; }

#controls .tab-wrapper { padding: 0; height: 38px; }
#controls .tab-container { height: 38px; }
#controls .tab-container button { font-size: 13px; font-weight: 600; padding: 0 9px; color: var(--body-text-color-subdued); }
#controls .tab-container button.selected { color: var(--body-text-color); }
#controls .tabitem { padding: 12px 0 0; border: 0; background: none; }
#controls .tabitem > .column { gap: 10px; }

/* segmented control */
.segments { border: 0 !important; background: none !important; padding: 0 !important; }
.segments .wrap { display: grid; grid-auto-flow: column; grid-auto-columns: 1fr; gap: 0; overflow: hidden;
  border: 1px solid var(--input-border-color); border-radius: var(--radius-md); }
.segments .wrap label { justify-content: center; border: 0; border-radius: 0; box-shadow: none; padding: 7px 4px; }
.segments .wrap label + label { border-left: 1px solid var(--input-border-color); }
.segments .wrap label input { position: absolute; opacity: 0; pointer-events: none; }
.segments .wrap label span { margin: 0; }
.segments .wrap label:focus-within { outline: 2px solid var(--border-color-accent); outline-offset: -2px; }
.segments .wrap label.selected { font-weight: 600; }

/* run bar */
#runbar { display: grid; grid-template-columns: 1fr 92px; gap: 12px; align-items: center; height: 38px; }
#runbar > * { min-width: 0 !important; }
.run { display: grid; gap: 6px; font-size: 13px; line-height: 1.2; }
.run .track { height: 5px; border-radius: 3px; background: var(--border-color-primary); overflow: hidden; }
.run .track i { display: block; height: 100%; border-radius: 3px; background: var(--slider-color);
  transition: width .25s linear; }

/* results: three equal squares with their own controls under them */
#trio, #below { display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: 10px 12px; }
#trio > *, #below > * { min-width: 0 !important; gap: 8px; }
.picture, #viewer { aspect-ratio: 1; padding: 0 !important; overflow: hidden; }
.picture .image-container, .picture .image-frame, .picture button:has(img), .picture img { width: 100%; height: 100%; }
.picture img { object-fit: contain; }
#viewer > div, #viewer .js-plotly-plot, #viewer .plot-container, #viewer [data-testid="plotly"] {
  width: 100% !important; height: 100% !important; }
.under { display: grid; grid-template-columns: 1fr 1fr; gap: 8px; align-items: center; }
.under > * { min-width: 0 !important; }

#below #take { grid-column: span 2; justify-content: space-between; }
#caption { font-size: 13px; line-height: 1.45; }
#caption .prompt { font-weight: 600; overflow-wrap: anywhere; }
#caption .facts, #caption .note { color: var(--body-text-color-subdued); }
#downloads { display: grid; grid-template-columns: repeat(auto-fit, minmax(112px, 1fr)); gap: 8px; }
#downloads > * { min-width: 0 !important; white-space: nowrap; }

/* lift controls: label, track and number on one line */
#lift { gap: 2px; }
#lift .form { border: 0; background: none; box-shadow: none; gap: 2px; }
.compact { padding: 0 !important; border: 0 !important; background: none !important; }
.compact > .wrap:not(.default) { display: grid; grid-template-columns: 104px minmax(0, 1fr) 66px; gap: 8px;
  align-items: center; height: 30px; }
.compact .head { display: contents; }
.compact .head label { order: 0; white-space: nowrap; margin: 0; }
.compact .slider_input_container { order: 1; }
.compact .tab-like-container { order: 2; }
.compact .tab-like-container input { width: 100%; }
.compact .min_value, .compact .max_value { display: none; }

/* examples */
#gallery { padding: 0; border: 0; background: none; height: auto !important; overflow: visible !important; }
#gallery .grid-wrap { height: auto !important; padding: 0; overflow: visible; }
#gallery .grid-container { grid-template-columns: repeat(auto-fill, minmax(140px, 1fr)); gap: 10px; padding: 0; }
#gallery .thumbnail-item { aspect-ratio: 2; height: auto; border-radius: var(--radius-md); }
#gallery label.float { position: static; padding: 0 0 6px; background: none; }
#gallery label.float svg { display: none; }

#vocabulary { font-size: 12.5px; }
#vocabulary h2 { font-size: 13px; font-weight: 600; margin: 2px 0 0; }
#vocabulary p { margin: 0 0 6px; color: var(--body-text-color-subdued); }
#vocabulary dl { display: grid; grid-template-columns: 56px 1fr; gap: 5px 6px; margin: 0; }
#vocabulary dt { color: var(--body-text-color-subdued); padding-top: 2px; }
#vocabulary dd { margin: 0; display: flex; flex-wrap: wrap; gap: 4px; }
#vocabulary button { padding: 1px 6px; border-radius: 9px; border: 1px solid var(--border-color-primary);
  background: var(--block-background-fill); color: var(--body-text-color); font-size: 12px; line-height: 1.4; }
#vocabulary button:hover { border-color: var(--border-color-accent); }

@media (max-width: 1120px) { #desk { grid-template-columns: 300px minmax(0, 1fr); } }
@media (max-width: 900px) {
  .gradio-container main.app { padding: 0 12px 8px !important; }
  #desk { display: flex; flex-direction: column; }
  #trio, #below { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  #trio > :nth-child(3), #below > * { grid-column: 1 / -1 !important; }
  #title .model { margin-left: 0; width: 100%; }
}
"""
)
