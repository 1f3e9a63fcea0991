import csv
import io
import os

MAX_ROWS = int(os.environ["MAX_ROWS"])


def handler(event, context):
    """Turn `csv`, a table with a heading, into typed objects. The separator is found when it is not given."""
    text = event["csv"]
    separator = event.get("separator") or csv.Sniffer().sniff(text[:4096], ",;\t|").delimiter
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, restkey="_more")
    items = []
    for number, row in enumerate(rows, start=1):
        if number > MAX_ROWS:
            raise ValueError(f"more than {MAX_ROWS} rows; raise MAX_ROWS or send the table in parts")
        items.append({name: typed(value) for name, value in row.items()})
    print(f"{len(items)} rows, separator {separator!r}")
    return {"columns": rows.fieldnames, "rows": items}


def typed(value):
    """Return a number, a truth or nothing where the text plainly is one."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text == "":
        return None
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    # "007" is a code and no number; "nan" and "1_000" are words to everybody but Python.
    if text.lstrip("-").replace(".", "", 1).isdigit() and not (
        text.lstrip("-")[:1] == "0" and text.lstrip("-")[1:2].isdigit()
    ):
        return float(text) if "." in text else int(text)
    return text
