"""Asking judges for scores, and examining them; permix.judging.judge is the face of it."""
