from words import counted


def handler(event, context):
    """Count the words of `text`; `top` bounds how many are returned."""
    text = event["text"]
    counts = counted(text)
    return {
        "words": sum(counts.values()),
        "distinct": len(counts),
        "top": [{"word": word, "count": count} for word, count in counts.most_common(event.get("top", 3))],
    }
