"""Small online statistics whose state is plain numbers."""
