"""The back ends of `permix.sampling.sampler.Sampler`, one module each."""

from permix.errors import BadInput
from permix.sampling.sampler import Endpoint, Engine, Sampler


def open_engine(engine: Engine | Endpoint) -> Sampler:
    """Load the base model of `engine`, or reach the server; BadInput where neither is possible."""
    if isinstance(engine, Endpoint):
        from permix.sampling.engines.endpoint_sampler import EndpointSampler

        return EndpointSampler(engine)
    if not (engine.base / "config.json").is_file():
        raise BadInput(f"{engine.base} holds no config.json: give the folder of a base model.")
    if engine.backend == "transformers":
        from permix.sampling.engines.transformers_sampler import TransformersSampler

        return TransformersSampler(engine)
    from permix.sampling.engines.vllm_sampler import VllmSampler

    return VllmSampler(engine)
