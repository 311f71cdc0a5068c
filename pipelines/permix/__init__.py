"""permix: persona-robust post-training as a chain of Hugging Face Hub artifacts (PerMix-RLVR, arXiv 2604.08986)."""

__version__ = "0.1.0"
