"""Answers about appointments, by text and by a button alike: what was asked, what was withdrawn since, which event it is."""
