"""Where the simulated clinic's links lead."""

BASE_URL = "https://luxe.example"
