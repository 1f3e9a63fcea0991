def handler(event, context):
    name = (event or {}).get("name", "world")
    context.logger.info("greeting %s", name)  # `orbit logs hello-python` shows it
    return {"message": f"Hello, {name}!"}
