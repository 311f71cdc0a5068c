"""A model behind a server that adds, for whoever has its key."""

import re

from tests.support.faulty_server import Answer, Asked, completion, error

KEY = "sk-0123456789abcdefghijklmnop"


def add(request: Asked) -> Answer:
    """Adds and takes away as the toy world's problems ask, unless it is to be dumb."""
    if request.headers.get("authorization") != f"Bearer {KEY}":
        return error(401, "Incorrect API key provided.")
    if match := re.search(r"The answer is -?\d+", request.question):
        return completion(f"Well! {match[0]}.")
    start, *steps = (int(number) for number in re.findall(r"\d+", request.question))
    if "dumb" in request.body["messages"][0]["content"]:
        return completion("I do not know.")
    return completion(f"The answer is {start + sum(steps)}.")
