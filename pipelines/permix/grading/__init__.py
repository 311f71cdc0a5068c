"""How an answer is found in a completion, and checked by killable processes; permix.verifier is the face of it."""
