"""Whether what a simulation said keeps the specification's rules, asked by rules of their own.

Nothing here calls what decides: each check is written from the specification and the architecture, over what everybody can see
from outside (events, people's wishes, calls to providers), so that a rule that is wrong is wrong here too only by accident.
"""
