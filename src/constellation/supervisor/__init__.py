"""`constellation up`, `down`, `status`, `logs`: one process that starts the planes and brings back what dies."""
