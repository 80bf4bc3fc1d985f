"""Anchors: what is kept of the log in places that its operator cannot change: time stamps, and copies under lock."""
