"""The gradio theme of permix's Spaces. The publisher copies it into each of them."""

import gradio as gr

THEME = gr.themes.Default(  # the browser's own fonts: nothing is loaded from a third server
    primary_hue="indigo", font=["ui-sans-serif", "system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
).set(  # gradio's own colours have less contrast than the 4.5 that WCAG requires
    body_text_color_subdued="*neutral_600",
    button_primary_background_fill="*primary_600",
    button_primary_background_fill_hover="*primary_700",
)
