"""How functions are reached, as calls: their URLs."""

from __future__ import annotations

from constellation.client.call import Call, call
from constellation.routes.models import urls as u


def get_function_url(name: str) -> Call[u.FunctionUrlBody]:
    """Where a function's URL is, who may call it and how it answers."""
    return call("get_function_url", u.FunctionUrlBody, params={"name": name})


def put_function_url(name: str, url: u.FunctionUrlSettings) -> Call[u.FunctionUrlBody]:
    """Set who may call a function's URL, and how it answers."""
    return call("put_function_url", u.FunctionUrlBody, params={"name": name}, body=url)


def delete_function_url(name: str) -> Call[u.FunctionUrlBody]:
    """Go back to the defaults, which are returned: a key is needed, and answers are sent when they are whole."""
    return call("delete_function_url", u.FunctionUrlBody, params={"name": name})
