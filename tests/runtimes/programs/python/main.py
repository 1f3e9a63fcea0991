"""The situations, for awslambdaric."""

import itertools
import os
import sys

if os.environ.get("BROKEN"):
    raise ImportError("no such thing at the start")

calls = itertools.count(1)


def sink():
    raise LookupError('the reason: bad "ß" 💥')


def handler(event, context):
    number = next(calls)
    match event.get("do"):
        case "echo":
            return event
        case "fail":
            sink()
        case "print":
            print("out größe")
            print("err größe", file=sys.stderr)
        case "flood":
            for _ in range(5000):
                print("x" * 99)
            return "done"
        case "sleep":
            while True:
                pass
        case "exit":
            print("bye")
            sys.stdout.flush()
            os._exit(3)
        case "big":
            return "x" * int(event["text"])
        case "calls":
            return number
        case "context":
            return {
                "request_id": context.aws_request_id,
                "arn": context.invoked_function_arn,
                "remaining_ms": context.get_remaining_time_in_millis(),
                "name": context.function_name,
                "version": context.function_version,
                "memory": int(context.memory_limit_in_mb),
                "trace": os.environ["_X_AMZN_TRACE_ID"],
                "env": os.environ["COLOUR"],
            }
    return None
