"""The loopback provider: Twilio, SendGrid and FCM on 127.0.0.1, for tests, the demo and benchmarks.

A program of its own (``python -m connectors.loopback``); nothing in the pipeline imports it. See docs/loopback-provider.md.
"""
