"""How functions are reached, as calls: their URLs, and who may call them."""

from __future__ import annotations

from constellation.client.call import Call, call
from constellation.routes.models import ingress as ing
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


def get_ingress(name: str) -> Call[ing.IngressPolicyBody]:
    """Who may call a function."""
    return call("get_ingress", ing.IngressPolicyBody, params={"name": name})


def put_ingress(name: str, policy: ing.IngressPolicyBody) -> Call[ing.IngressPolicyBody]:
    """Set who may call a function: by which way, from which functions, from which networks."""
    return call("put_ingress", ing.IngressPolicyBody, params={"name": name}, body=policy)


def delete_ingress(name: str) -> Call[ing.IngressPolicyBody]:
    """Let whoever may call functions call this one again."""
    return call("delete_ingress", ing.IngressPolicyBody, params={"name": name})
