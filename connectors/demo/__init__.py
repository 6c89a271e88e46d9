"""A clinic's day, made up: recipients, their wishes, and the events of one day, from a seed."""
