"""What is made of sweeps: numbers, verdicts, tables as text, figures, the report."""
