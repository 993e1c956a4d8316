"""Pixel features with one meaning in all images."""
