"""Ask judges for scores, and examine the judges. permix.judging.judge is the entry."""
