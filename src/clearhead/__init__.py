"""Clearhead: a Vision Transformer you can see through."""
