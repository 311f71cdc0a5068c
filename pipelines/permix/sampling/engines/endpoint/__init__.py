"""The parts of the endpoint back end: one server's client, its dialect, what it costs, what it answered before."""
