"""What the workflows of .github/workflows do, one function for each step: `permix ci <step>`."""
