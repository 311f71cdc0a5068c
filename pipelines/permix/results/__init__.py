"""What the stage tables makes of sweeps: verdicts on claims, tables as text, figures."""
