"""Clients of the providers that deliver: their own SDKs' request builders and error types over pooled asynchronous HTTP."""
