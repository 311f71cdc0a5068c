"""What runs the models; permix.sampler is the face of it."""
