"""The languages that run here: a folder each, with its recipe, its worker and its hello."""
