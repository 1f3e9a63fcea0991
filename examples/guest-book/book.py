"""A book that visitors write into. The connection is made once an instance, and again when it was lost."""

import os

import pg

connection = None


def handler(event, context):
    global connection
    for attempt in (1, 2):
        try:
            if connection is None:
                connection = pg.Connection(os.environ["DATABASE_URL_MAIN"])
                connection.run("CREATE TABLE IF NOT EXISTS guests (at timestamptz DEFAULT now(), name text, says text)")
            return write(event)
        except (OSError, EOFError):
            connection = None
            if attempt == 2:
                raise


def write(event):
    connection.run("INSERT INTO guests (name, says) VALUES ($1, $2)", event["name"], event.get("says"))
    ((count,),) = connection.run("SELECT count(*) FROM guests")
    last = connection.run("SELECT name, says FROM guests ORDER BY at DESC LIMIT 3")
    return {"visitors": int(count), "last": [{"name": name, "says": says} for name, says in last]}
