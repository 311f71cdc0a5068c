"""What the workflows of GitHub do."""
