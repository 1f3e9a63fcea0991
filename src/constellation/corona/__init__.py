"""The scheduling and placement plane: fires what is due, once."""
