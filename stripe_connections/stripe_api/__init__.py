"""Verification of API keys with Stripe."""
