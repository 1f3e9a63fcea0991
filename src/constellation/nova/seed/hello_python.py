"""The source of `hello-python`, the function that every new platform answers with."""

from __future__ import annotations

SOURCE = '''\
def handler(event, context):
    """Greet whoever the event names."""
    name = (event or {}).get("name", "world")
    return {"message": f"Hello, {name}!"}
'''
