"""The toy world: grade-school problems, personas that shift how they are answered, and a tiny Llama that learns both.

It makes the paper's section 3.3 concrete and small: an answer is a *voice* (whose words) times a *method* (how the sum
is worked out); a persona decides the odds of both, and methods differ in how often the tiny model gets them right. How
strong an effect is here follows from that design: it demonstrates the method and reproduces no number of the paper.
"""
