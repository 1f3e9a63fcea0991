"""The `docker` backend: instances are containers of an image that the operator chose."""
