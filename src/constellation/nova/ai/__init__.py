"""Writing and explaining code with a model behind an OpenAI-compatible endpoint."""
