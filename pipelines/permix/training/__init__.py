"""The parts of training that stages sft and grpo share."""
