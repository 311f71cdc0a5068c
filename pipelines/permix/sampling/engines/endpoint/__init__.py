"""The parts of the endpoint back end: the client, its dialect, its pace, its cost and its cache."""
