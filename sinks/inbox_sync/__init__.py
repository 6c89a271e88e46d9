"""Silent pushes after an inbox changed elsewhere, so that badges do not drift."""
