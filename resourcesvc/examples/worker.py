#!/usr/bin/env python3
"""A user's own worker for resourcesvc, of the standard library only: it does that user's jobs, with that user's API key.

  python3 worker.py --url http://127.0.0.1:8081 --key-file alice.key [--jobs 1]

docs/workers.md says what each call means. Ends when its key isn't good, and after so many jobs, if told how many.
"""
import argparse
import json
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would take the key to wherever it points."""

    def redirect_request(self, *_):
        return None


OPENER = urllib.request.build_opener(NoRedirect)


def encode(body):
    """Without escapes and blanks, so that a result that is small enough stays so. Half a surrogate pair is no text: "?"."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


class Service:
    def __init__(self, url, key):
        self.url, self.key = url, key

    def call(self, method, path, body=None):
        request = urllib.request.Request(self.url + path, method=method, data=None if body is None else encode(body))
        request.add_header("Authorization", "Api-Key " + self.key)
        if body is not None:
            request.add_header("Content-Type", "application/json")
        with OPENER.open(request, timeout=30) as answer:
            text = answer.read()
        return json.loads(text) if text else None


def work(payload):
    """Stands for the work: what it raises is a try that failed."""
    return {"words": len(json.dumps(payload).split())}


def keep(service, job, claim, done):
    """Renews the claim three times in each lease, until the work is done or the claim is lost."""
    while not done.wait(claim["lease_ms"] / 3000):
        try:
            service.call("POST", job + "/renew", {"claim": claim["claim"]})
        except urllib.error.HTTPError as error:
            if error.code == 409:
                return
        except OSError:
            pass  # the lease may outlast it


def do(service, claim):
    job, done = "/v1/ai/jobs/" + urllib.parse.quote(claim["job_id"], safe=""), threading.Event()
    keeper = threading.Thread(target=keep, args=(service, job, claim, done))
    keeper.start()
    try:
        payload = service.call("GET", job)["payload"]
        try:
            result = work(payload)
        except Exception as error:  # whatever the work did: the service counts, and says when it is enough
            service.call("POST", job + "/end", {"claim": claim["claim"], "outcome": "retry", "reason": type(error).__name__})
            return
        service.call("PUT", job + "/result", {"result": result})
    finally:
        done.set()
        keeper.join()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8081")
    parser.add_argument("--key-file", required=True, help="file that holds the API key, so that it shows in no list of processes")
    parser.add_argument("--jobs", type=int, default=0, help="end after so many jobs; 0: never")
    args = parser.parse_args()
    with open(args.key_file, encoding="ascii") as file:
        service = Service(args.url, file.read().strip())
    count = 0
    while not args.jobs or count < args.jobs:
        try:
            claim = service.call("POST", "/v1/ai/claims?wait=20s")
            if claim:
                do(service, claim)
                count += 1
        except urllib.error.HTTPError as error:
            if error.code in (401, 403):
                sys.exit(f"refused: {error.code} {json.load(error).get('code')}")
            time.sleep(1)  # not now, or the job is another worker's
        except OSError:
            time.sleep(1)  # nobody there


if __name__ == "__main__":
    main()
