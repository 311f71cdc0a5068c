"""Numbers of sweeps, tests of claims, tables as text, figures and the report: reporting -> claims -> measures."""
