"""The function that every Python peer serves."""


def handler(event, _context):
    return {"message": f"Hello, {event['name']}!"}
