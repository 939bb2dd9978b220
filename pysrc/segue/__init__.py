"""Segue: an embedded event engine for Python."""
