"""A clinic under a virtual clock: the pipeline's own two hops, and a made-up provider. What was said is checked from outside."""
