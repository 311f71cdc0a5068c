"""Asking judges for scores, and examining them; permix.judge is the face of it."""
