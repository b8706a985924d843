#!/usr/bin/env python3
"""A worker that calls a service behind forwardauth with an API key, of the standard library only.

  python3 worker.py --url http://127.0.0.1:8000 --key-file alice.key "first note" "second note"

It tries again what was refused for a while only (429 and 503, after Retry-After), and stops at once when its key isn't good.
"""
import argparse
import json
import sys
import time
import urllib.error
import urllib.request

TRIES = 5


def call(url, key, method, body=None):
    request = urllib.request.Request(url, method=method, data=None if body is None else json.dumps(body).encode())
    request.add_header("Authorization", "Api-Key " + key)
    if body is not None:
        request.add_header("Content-Type", "application/json")
    for attempt in range(1, TRIES + 1):
        try:
            with urllib.request.urlopen(request, timeout=15) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code not in (429, 503) or attempt == TRIES:
                raise
            time.sleep(min(float(error.headers.get("Retry-After") or 1), 30))
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--key-file", required=True, help="file that holds the API key, so that it shows in no list of processes")
    parser.add_argument("notes", nargs="*")
    args = parser.parse_args()
    with open(args.key_file, encoding="ascii") as file:
        key = file.read().strip()
    try:
        for note in args.notes:
            call(args.url + "/v1/notes", key, "POST", {"text": note})
        print(json.dumps(call(args.url + "/v1/notes", key, "GET")))
    except urllib.error.HTTPError as error:
        sys.exit(f"refused: {error.code} {json.load(error).get('code')}")


if __name__ == "__main__":
    main()
