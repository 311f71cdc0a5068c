"""The toy world: grade-school problems, personas that change the answers, and a tiny Llama that learns both.

It is a small, concrete version of the paper's section 3.3. An answer is a *voice* (whose words) times a *method* (how
the sum is worked out). A persona decides the odds of both, and the tiny model is right more often with some methods.
This design sets the size of each effect: the toy world shows the method and does not reproduce the paper's numbers.
"""
