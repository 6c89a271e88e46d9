"""The API's rules, without I/O."""
