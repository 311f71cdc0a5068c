"""What the two trainer pages, stages sft and grpo, share."""
