"""Coded products measured: exactness, liars, and what is never silently wrong."""
