"""@name@: called with the request's JSON; what it returns becomes the answer's `output`."""


def handler(event, context):
    name = (event or {}).get("name", "world")
    print(f"greeting {name}")  # shown by `orbit logs @name@`
    return {"message": f"Hello, {name}!"}
