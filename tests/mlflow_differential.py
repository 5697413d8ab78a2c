"""The same raw requests to a genuine MLflow server and to ours: status and body must be the same.

Usage: python tests/mlflow_differential.py BINARY-OR-URL [PYTHON]

BINARY is `trimtab` (a server is started on a home of its own), a URL is a server that runs already and is still empty. PYTHON
has mlflow; the genuine server is started with it. Ids differ on the two sides: what a call returns is kept under a name and put
into later calls as `{name}`. Times, random names and messages are masked; of an error the status and the code are compared.
Where the two differ for a reason, EXPLAINED says which calls and why, or the call itself does (`why=`, with what ours answers
instead). Nothing else may differ, and an explanation that explains nothing fails too. Environment: PARTS=a,b runs some parts;
GENUINE_URL is a genuine server that runs already.
"""

import json
import os
import random
import re
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import quote

import requests

from house import Genuine, Server

API = "/api/2.0/mlflow/"
TIMES = {
    "creation_time", "last_update_time", "start_time", "end_time", "creation_timestamp", "last_updated_timestamp",
    "creation_timestamp_ms", "last_updated_timestamp_ms", "created_time", "last_updated_time", "created_by", "last_updated_by",
}
# What the server makes up.
MADE_UP = {"request_id", "dataset_record_id", "next_page_token", "digest_of_dataset"}
# Ours has no workspaces, and clients take that for the default one; a version's `run_link` is Databricks', and only ours tells
# a version's `model_id`.
LEFT_OUT = {"workspace", "run_link"}

# What may differ, and why. A call fits by its part, path and body; `what` says which side refuses (4xx or 5xx).
EXPLAINED = [
    (r"experiments/update .*größe", "both refuse", "a taken name is RESOURCE_ALREADY_EXISTS everywhere"),
    (r"experiments/update .*a3", "both refuse", "writing to what is deleted is the caller's mistake, not a 500"),
    (r"(search|runs/search) .*\"(filter|filter_string)\": \"(attributes?\.|attr\.)", "genuine refuses", "`attributes.` is allowed everywhere"),
    (r"(search|runs/search) .*\"order_by\": \[\"(attributes?\.|tags?\.|params?\.|creation_timestamp|source_path|run_id)", "genuine refuses", "any key is a key of an order"),
    (r"registered_models.*creation_timestamp|versions.*creation_timestamp > 0", "genuine refuses", "the times of models and versions can be asked for"),
    (r"tags\.\w+ IS NULL", "genuine refuses", "IS NULL works for every kind of thing; the genuine server fails with 500"),
    (r"experiments/search \{\}", "genuine refuses", "max_results has a default here too"),
    (r"\"filter\": \"   \"|mae > \+1|a == 1|a <> 1", "genuine refuses", "blank filters, signs, == and <> are understood"),
    (r"run_id IN \('a' 'b'\)|name = 's1' name|metrics\. < 1|AND\"|\"AND|> 1 metrics|AND AND|\"metrics\.\"", "ours refuses", "a filter that is no sentence is refused with its column, not half understood"),
    (r"SIDEWAYS|BOGUS|NONSENSE|BANANA", "ours refuses", "a word that is none of its list is said to be wrong, not passed over"),
    (r"\"order_by\": \"start_time\"|\"experiment_ids\": \"x\"", "genuine refuses", "one text stands for a list of one, as in a query"),
    (r"\"tags\": \"x\"|\"value\": true|1\.5\}|\"step\": 1\.5|\"value\": \"x\"|max_results\": \"x\"|max_results\": 2\.5", "ours refuses", "a field of the wrong kind is refused, not dropped"),
    (r"log-metric .*\"value\": \[1\]|log-metric .*m-none", "both refuse", "the caller's mistake has a code that says so"),
    (r"metrics/.*none\", \"metric_key|metrics/.*\[\"none\"\]", "ours refuses", "a run that is not there is said to be missing"),
    (r"log-inputs", "ours refuses", "a dataset without name, digest, source or kind of source is refused"),
    (r"runs/outputs .*step\": [34]\}\]", "genuine refuses", "an output that is there already may be sent again"),
    (r"runs/outputs .*\{\"step\": 4\}", "ours refuses", "an output without a model is refused"),
    (r"logged-models/\{m0\}/params .*\"1\"", "genuine refuses", "a param may be logged again with its value"),
    (r"logged-models/\{m0\}/params .*\"9\"|artifacts/files ", "both refuse", "a wrong parameter is INVALID_PARAMETER_VALUE"),
    (r"logged-models/search .*(banana|= 'x'|nonsense)", "both refuse", "the caller's mistake, not a 500"),
    (r"logged-models/search .*metrics.loss = 0.5", "both answer", "a metric in a filter is its latest value"),
    (r"logged-models/search .*\"datasets\": \[\{\"dataset_name\": \"d\"\}\]", "both answer", "a dataset by its name alone is found, whatever its digest"),
    (r"logged-models/search \{\"experiment_ids\": \[\]\}|max_results\": -1", "ours refuses", "a search of nothing is a mistake"),
    (r"metric_key\": \"m\"", "both answer", "NaN stands after numbers, not where 0 would"),
    (r"get-download-uri .*\"3\"", "both answer", "runs:/ is resolved to where the files are"),
    (r"lenient|ver.*m-none", "genuine refuses", "the run of a source in this server's store need not be named"),
    (r"lenient.*runs:/none", "ours refuses", "a version of a run that is not there is refused"),
    (r"m-none|archive_existing_versions", "both refuse", "the caller's mistake, not a 500"),
    (r"artifacts/\.\.%5c", "ours refuses", "a backslash climbs on some systems"),
    (r"artifacts/\.\.%5c", "both refuse", "a backslash climbs on some systems"),
    (r"DELETE .*%2Fetc", "both refuse", "an absolute path is refused for every verb, not redirected"),
    (r"artifacts/a.bin $", "genuine refuses", "a range that cannot be read is passed over, as RFC 9110 has it"),
    (r"artifacts/a.bin $", "both answer", "several ranges at once are answered with the whole"),
    (r"artifacts/sub $", "both refuse", "a folder is no file, with a code"),
    (r"größe|gr%C3", "both answer", "the plain name beside filename* is another"),
    (r"runs: POST runs/create .*\"b\"\}", "both answer", "a run without a start time starts now"),
    (r"server-info", "both answer", "no gateway, and no addresses of a cloud"),
    (r"mpu/create/\{x\}", "genuine refuses", "large artifacts come in parts here; MLflow's own server takes them only before a cloud"),
    (r"mpu/(complete|abort)/", "both refuse", "an upload that is not there is said to be missing"),
    (r"presigned/", "both refuse", "an artifact that is not there is said to be missing"),
    (r"(datasets|records)", "both refuse", "a dataset that is not there is 404, and text that is no JSON 400"),
    (r"datasets/create .*99999", "ours refuses", "a dataset is not put into an experiment that is not there"),
    (r"webhooks .*example|webhooks .*nonsense|webhooks .*(status|events)", "both refuse", "a wrong parameter is INVALID_PARAMETER_VALUE"),
]


class Side:
    """One of the two servers."""

    def __init__(self, name, url):
        self.name, self.url, self.known = name, url, {}
        self.session = requests.Session()

    def fill(self, value):
        if isinstance(value, str):
            return re.sub(r"\{(\w+)\}", lambda m: str(self.known[m[1]]) if m[1] in self.known else m[0], value)
        if isinstance(value, dict):
            return {self.fill(k): self.fill(v) for k, v in value.items()}
        if isinstance(value, list):
            return [self.fill(v) for v in value]
        return value

    def send(self, method, path, body, headers):
        path = self.fill(path)
        url = self.url + (path if path.startswith("/") else API + path)
        kwargs = {"headers": headers, "timeout": 60}
        body = self.fill(body)
        if method == "GET" and isinstance(body, dict):
            kwargs["params"] = [(k, v) for k, vs in body.items() for v in (vs if isinstance(vs, list) else [vs])]
        elif isinstance(body, (bytes, str)):
            kwargs["data"] = body.encode() if isinstance(body, str) else body
        elif body is not None:
            kwargs["json"] = body
        # Dots and escapes in paths go as they are.
        request = self.session.prepare_request(requests.Request(method, url, **{k: v for k, v in kwargs.items() if k != "timeout"}))
        if "params" not in kwargs:
            request.url = url
        return self.session.send(request, timeout=60, allow_redirects=False)

    def masked(self, value, path=()):
        if isinstance(value, dict):
            told = {k: v for k, v in value.items() if k not in LEFT_OUT and not (k == "description" and v == "")}
            if "dataset_id" in told:
                # The genuine server tells the experiments only of a new dataset; ours always.
                told.pop("experiment_ids", None)
                told.update({k: json.loads(told[k]) for k in ("tags", "schema", "profile") if told.get(k)}, digest="<made up>")
            if "version" in told and "current_stage" in told:
                told.pop("model_id", None)
            # An empty file has a size.
            if told.get("file_size") == 0:
                told.pop("file_size")
            return {k: self.mask(k, v, path) for k, v in told.items()}
        if isinstance(value, list):
            items = [self.masked(v, path) for v in value]
            name = path[-1] if path else ""
            by_key = name in ("tags", "params", "aliases", "events") or path[-2:] == ("data", "metrics")
            return sorted(items, key=lambda item: json.dumps(item, sort_keys=True)) if by_key else items
        if isinstance(value, str):
            # JSON inside text, whatever its spaces.
            if value.startswith("[{"):
                try:
                    value = json.dumps(json.loads(value), sort_keys=True)
                except ValueError:
                    pass
            for name, known in sorted(self.known.items(), key=lambda pair: -len(str(pair[1]))):
                if isinstance(known, str) and len(known) >= 8:
                    value = value.replace(known, f"<{name}>")
                elif value == str(known):
                    value = f"<{name}>"
        return value

    def mask(self, key, value, path):
        if key in TIMES and value:
            return "<time>"
        if key in MADE_UP:
            return "<made up>"
        return self.masked(value, (*path, key))


def dig(answer, place):
    for part in place.split("."):
        answer = answer[int(part)] if part.isdigit() else answer[part]
    return answer


class Both:
    """Sends each call to both and keeps the tally."""

    def __init__(self, genuine, ours):
        self.sides = [genuine, ours]
        self.passed, self.failed, self.explained, self.part = 0, 0, [], ""

    def __call__(self, method, path, body=None, keep=None, why=None, ours=None, headers=None, compare=None):
        answers, shown = [], []
        for side in self.sides:
            answer = side.send(method, path, body, headers)
            is_json = answer.headers.get("content-type", "").startswith("application/json")
            try:
                parsed = answer.json() if is_json else None
            except ValueError:
                parsed, is_json = None, False
            if answer.status_code < 400:
                for name, place in (keep or {}).items():
                    try:
                        side.known[name] = dig(parsed, place)
                    except (KeyError, IndexError, TypeError):
                        side.known.setdefault(name, f"no-{name}")
            elif keep:
                for name in keep:
                    side.known.setdefault(name, f"no-{name}")
            answers.append((answer, parsed))
        for side, (answer, parsed) in zip(self.sides, answers):
            if answer.status_code >= 400:
                code = parsed.get("error_code") if isinstance(parsed, dict) else None
                shown.append((answer.status_code, code))
            elif compare:
                shown.append((answer.status_code, compare(answer)))
            else:
                shown.append((answer.status_code, side.masked(parsed) if parsed is not None else answer.text))
        label = f"{self.part}: {method} {path} {json.dumps(body, ensure_ascii=False, default=repr)[:160] if body is not None else ''}"
        genuine, mine = shown
        message = answers[1][1].get("message", "") if isinstance(answers[1][1], dict) else ""
        if why:
            fits = ours(mine) if callable(ours) else mine == ours
            if genuine == mine:
                self.fail(label, "is the same on both by now: take the explanation away", genuine, mine)
            elif not fits:
                self.fail(label, f"differs as explained ({why}), but ours is not {ours}", genuine, mine, message)
            else:
                self.explained.append((label, why))
                self.passed += 1
        elif genuine == mine:
            self.passed += 1
        elif reason := explanation(label, genuine, mine):
            self.explained.append((label, reason))
            self.passed += 1
        else:
            self.fail(label, "differs", genuine, mine, message)
        if answers[1][0].status_code >= 400 and not message and not answers[1][0].text:
            self.fail(label, "ours says nothing about what is wrong", genuine, mine)
        return answers

    def fail(self, label, what, genuine, mine, message=""):
        self.failed += 1
        print(f"DIFF  {label}\n      {what}\n      genuine: {short(genuine)}\n      ours:    {short(mine)}  {message}", flush=True)

    def get(self, path, body=None, **kwargs):
        return self("GET", path, body, **kwargs)

    def post(self, path, body=None, **kwargs):
        return self("POST", path, {} if body is None else body, **kwargs)


def explanation(label, genuine, mine):
    refused = (genuine[0] >= 300, mine[0] >= 300)
    what = {(True, True): "both refuse", (True, False): "genuine refuses", (False, True): "ours refuses", (False, False): "both answer"}[refused]
    # Ours never answers a mistake with what clients would retry.
    if mine[0] >= 500 and mine[0] != 501:
        return None
    return next((reason for pattern, kind, reason in EXPLAINED if kind == what and re.search(pattern, label)), None)


def short(shown):
    text = json.dumps(shown, ensure_ascii=False, default=repr, sort_keys=True)
    return text if len(text) <= 1500 else text[:1500] + "..."


INVALID = (400, "INVALID_PARAMETER_VALUE")
NOT_FOUND = (404, "RESOURCE_DOES_NOT_EXIST")
PARTS = []


def part(function):
    PARTS.append(function)
    return function


@part
def experiments(both):
    both.post("experiments/create", {"name": "a", "tags": [{"key": "k", "value": "v"}]}, keep={"a": "experiment_id"})
    both.post("experiments/create", {"name": "größe 日本", "artifact_location": "s3://bucket/x"}, keep={"b": "experiment_id"})
    both.post("experiments/create", {"name": "a"})
    both.post("experiments/create", {})
    both.post("experiments/create", {"name": ""})
    both.post("experiments/create", {"name": None})
    both.post("experiments/create", {"name": 5})
    both.post("experiments/create", {"name": "x" * 501})
    both.post("experiments/create", {"name": "frag", "artifact_location": "file:///x#frag"})
    both.post("experiments/create", {"name": "query", "artifact_location": "mlflow-artifacts:/x?a=../b"})
    both.post("experiments/create", {"name": "tags", "tags": [{"key": "k" * 251, "value": "v"}]})
    both.post("experiments/create", {"name": "tags", "tags": [{"key": "", "value": "v"}]})
    for ref in ({"experiment_id": "{a}"}, {"experiment_id": "{b}"}, {"experiment_id": "0"}, {"experiment_id": "99999"}, {}):
        both.get("experiments/get", ref)
    both.get("experiments/get", {"experiment_id": "abc"})
    for name in ("a", "größe 日本", "none", ""):
        both.get("experiments/get-by-name", {"experiment_name": name})
    both.get("experiments/get-by-name")
    both.post("experiments/set-experiment-tag", {"experiment_id": "{a}", "key": "t", "value": "1"})
    both.post("experiments/set-experiment-tag", {"experiment_id": "{a}", "key": "t", "value": "2"})
    both.post("experiments/set-experiment-tag", {"experiment_id": "{a}", "key": "empty", "value": ""})
    both.post("experiments/set-experiment-tag", {"experiment_id": "{a}", "key": "t"})
    both.post("experiments/set-experiment-tag", {"experiment_id": "{a}", "value": "2"})
    both.post("experiments/set-experiment-tag", {"experiment_id": "{a}", "key": "long", "value": "x" * 20001})
    both.post("experiments/set-experiment-tag", {"experiment_id": "{a}", "key": "../up", "value": "x"})
    both.post("experiments/set-experiment-tag", {"experiment_id": "99999", "key": "t", "value": "x"})
    both.get("experiments/get", {"experiment_id": "{a}"})
    both.post("experiments/delete-experiment-tag", {"experiment_id": "{a}", "key": "empty"})
    both.post("experiments/delete-experiment-tag", {"experiment_id": "{a}", "key": "none"})
    both.post("experiments/delete-experiment-tag", {"experiment_id": "99999", "key": "none"})
    both.post("experiments/update", {"experiment_id": "{a}", "new_name": "a2"})
    both.post("experiments/update", {"experiment_id": "{a}", "new_name": "größe 日本"})
    both.post("experiments/update", {"experiment_id": "{a}", "new_name": ""})
    both.post("experiments/update", {"experiment_id": "{a}"})
    both.post("experiments/update", {"experiment_id": "99999", "new_name": "z"})
    both.get("experiments/get", {"experiment_id": "{a}"})
    both.post("runs/create", {"experiment_id": "{a}", "run_name": "one", "start_time": 5}, keep={"r": "run.info.run_id"})
    both.post("runs/create", {"experiment_id": "{a}", "run_name": "two", "start_time": 6}, keep={"r2": "run.info.run_id"})
    both.post("runs/delete", {"run_id": "{r2}"})
    both.post("experiments/delete", {"experiment_id": "{a}"})
    both.post("experiments/delete", {"experiment_id": "{a}"})
    both.post("experiments/delete", {"experiment_id": "99999"})
    both.post("experiments/delete", {})
    both.get("experiments/get", {"experiment_id": "{a}"})
    both.get("experiments/get-by-name", {"experiment_name": "a2"})
    both.post("experiments/create", {"name": "a2"})
    both.post("experiments/update", {"experiment_id": "{a}", "new_name": "a3"})
    both.post("experiments/set-experiment-tag", {"experiment_id": "{a}", "key": "t", "value": "x"})
    both.post("runs/create", {"experiment_id": "{a}"})
    both.get("runs/get", {"run_id": "{r}"})
    both.post("runs/log-metric", {"run_id": "{r}", "key": "m", "value": 1, "timestamp": 1})
    for view in ("ACTIVE_ONLY", "DELETED_ONLY", "ALL"):
        both.post("experiments/search", {"view_type": view, "max_results": 50})
    both.post("experiments/restore", {"experiment_id": "{a}"})
    both.post("experiments/restore", {"experiment_id": "{a}"})
    both.post("experiments/restore", {"experiment_id": "99999"})
    both.get("runs/get", {"run_id": "{r}"})
    both.get("runs/get", {"run_id": "{r2}"})
    both.get("experiments/get", {"experiment_id": "{a}"})


@part
def experiment_search(both):
    for name, tags in (("s1", {"k": "x"}), ("s2", {"k": "y", "a b": "1"}), ("S3", {}), ("t4", {"k": "X"})):
        both.post("experiments/create", {"name": name, "tags": [{"key": k, "value": v} for k, v in tags.items()]}, keep={f"e_{name}": "experiment_id"})
        time.sleep(0.002)
    names = lambda answer: [e["name"] for e in answer.json().get("experiments", []) if e["name"][0].lower() in "st"]
    for text in (
        "name = 's1'", "name LIKE 's%'", "name ILIKE 's%'", "attribute.name = 's2'", "attributes.name != 's1'", "tags.k = 'x'",
        "tag.k LIKE 'x'", "tags.k ILIKE 'x'", "tags.k != 'x'", "tags.`a b` = '1'", "name = 's1' AND tags.k = 'x'", "name = 's1' and name = 's2'",
        "creation_time > 0", "last_update_time >= 1", "tags.k IS NULL", "tags.k IS NOT NULL", "experiment_id = '{e_s1}'",
        "experiment_id IN ('{e_s1}', '{e_s2}')", "name IN ('s1', 's2')", "tags.k IN ('x')",
    ):
        both.post("experiments/search", {"filter": text, "max_results": 50}, compare=names)
    for text in ("name", "name =", "name = s1", "name = 's1", "banana = 'x'", "metrics.a > 1", "params.a = '1'", "name > 's1'",
                 "name = 's1' OR name = 's2'", "creation_time LIKE 'x'", "creation_time = 'x'", "tags.k > 'x'", "name = 's1' name = 's2'"):
        both.post("experiments/search", {"filter": text, "max_results": 50})
    for order in (["name"], ["name DESC"], ["name ASC"], ["creation_time ASC"], ["creation_time DESC"], ["last_update_time DESC"], ["experiment_id ASC"], ["experiment_id DESC", "name"],
                  ["attribute.name"], ["attributes.name DESC"]):
        both.post("experiments/search", {"order_by": order, "max_results": 50}, compare=names)
    for order in (["tags.k"], ["banana"], ["name UP"], [""], ["name", "creation_time DESC", "banana"]):
        both.post("experiments/search", {"order_by": order, "max_results": 50}, compare=names)
    both.get("experiments/search", {"max_results": 50, "filter": "name LIKE 's%'", "order_by": ["name"]}, compare=names)
    both.post("experiments/search", {"max_results": 1, "order_by": ["name DESC"]}, keep={"token": "next_page_token"}, compare=names)
    both.post("experiments/search", {"max_results": 1, "order_by": ["name DESC"], "page_token": "{token}"}, compare=names)
    both.post("experiments/search", {"max_results": 1, "page_token": "nonsense"})
    for most in (0, -1, 50001, "x", "5", 2.5):
        both.post("experiments/search", {"max_results": most}, compare=lambda a: None)
    both.post("experiments/search", {})
    both.post("experiments/search", {"max_results": 5, "view_type": "SIDEWAYS"}, compare=lambda a: None)


@part
def runs(both):
    both.post("experiments/create", {"name": "runs"}, keep={"x": "experiment_id"})
    both.post("runs/create", {"experiment_id": "{x}", "run_name": "one", "start_time": 100, "user_id": "u", "tags": [{"key": "a", "value": "1"}]}, keep={"r": "run.info.run_id"})
    both.post("runs/create", {"experiment_id": "{x}", "start_time": "200", "tags": [{"key": "mlflow.runName", "value": "tagged"}]}, keep={"tagged": "run.info.run_id"})
    both.post("runs/create", {"experiment_id": "{x}", "run_name": "b", "tags": [{"key": "mlflow.runName", "value": "c"}]})
    both.post("runs/create", {"experiment_id": "{x}", "run_name": "b", "tags": [{"key": "mlflow.runName", "value": "b"}]}, keep={"b": "run.info.run_id"})
    both.post("runs/create", {"experiment_id": "99999"})
    both.post("runs/create", {"experiment_id": "{x}", "start_time": "x"})
    both.post("runs/create", {"experiment_id": "{x}", "tags": "x"})
    both.get("runs/get", {"run_id": "{r}"})
    both.get("runs/get", {"run_uuid": "{r}"})
    both.get("runs/get", {"run_id": "none"})
    both.get("runs/get")
    both.post("runs/update", {"run_id": "{r}", "status": "FINISHED", "end_time": 300})
    both.post("runs/update", {"run_id": "{r}", "run_name": "renamed"})
    both.post("runs/update", {"run_id": "{r}", "run_name": ""})
    both.post("runs/update", {"run_id": "{r}", "status": "BOGUS"})
    both.post("runs/update", {"run_id": "{r}", "status": "RUNNING"})
    both.post("runs/update", {"run_id": "{r}"})
    both.post("runs/update", {"run_id": "none", "status": "FINISHED"})
    both.post("runs/update", {"status": "FINISHED"})
    both.get("runs/get", {"run_id": "{r}"})
    both.post("runs/set-tag", {"run_id": "{r}", "key": "mlflow.runName", "value": "by tag"})
    both.get("runs/get", {"run_id": "{r}"})
    both.post("runs/set-tag", {"run_id": "{r}", "key": "t", "value": "x" * 9000})
    both.post("runs/set-tag", {"run_id": "{r}", "key": "t", "value": ""})
    both.post("runs/set-tag", {"run_id": "{r}", "key": "t"})
    both.post("runs/set-tag", {"run_id": "{r}", "key": "", "value": "x"})
    both.post("runs/set-tag", {"run_id": "{r}", "value": "x"})
    both.post("runs/set-tag", {"run_id": "none", "key": "t", "value": "x"})
    both.post("runs/set-tag", {"run_uuid": "{r}", "key": "uuid", "value": "x"})
    for key in ("a/b", "größe", "a b", "a:b", "a-b_c.d", "a#b", "a%b", "../a", "/a", "a//b", "a/", ".", "a/./b", "x" * 251, "x" * 250, "a\nb", "a=b"):
        both.post("runs/set-tag", {"run_id": "{r}", "key": key, "value": "x"})
        both.post("runs/log-parameter", {"run_id": "{r}", "key": key, "value": "x"})
        both.post("runs/log-metric", {"run_id": "{r}", "key": key, "value": 1, "timestamp": 1})
    both.get("runs/get", {"run_id": "{r}"})
    both.post("runs/delete-tag", {"run_id": "{r}", "key": "t"})
    both.post("runs/delete-tag", {"run_id": "{r}", "key": "t"})
    both.post("runs/delete-tag", {"run_id": "none", "key": "t"})
    both.post("runs/delete-tag", {"run_id": "{r}"})
    both.post("runs/log-parameter", {"run_id": "{r}", "key": "p", "value": "1"})
    both.post("runs/log-parameter", {"run_id": "{r}", "key": "p", "value": "1"})
    both.post("runs/log-parameter", {"run_id": "{r}", "key": "p", "value": "2"})
    both.post("runs/log-parameter", {"run_id": "{r}", "key": "long", "value": "x" * 6001})
    both.post("runs/log-parameter", {"run_id": "{r}", "key": "empty", "value": ""})
    both.post("runs/log-parameter", {"run_id": "{r}", "key": "novalue"})
    both.post("runs/log-parameter", {"run_id": "{r}", "key": "number", "value": 5})
    both.post("runs/log-parameter", {"run_id": "none", "key": "p", "value": "1"})
    both.post("runs/log-parameter", {"run_uuid": "{r}", "key": "uuid", "value": "1"})
    both.get("runs/get", {"run_id": "{r}"})
    both.post("runs/delete", {"run_id": "{r}"})
    both.post("runs/delete", {"run_id": "{r}"})
    both.post("runs/delete", {"run_id": "none"})
    both.post("runs/delete", {})
    both.get("runs/get", {"run_id": "{r}"})
    for path, body in (("log-parameter", {"key": "q", "value": "1"}), ("log-metric", {"key": "m", "value": 1, "timestamp": 1}), ("set-tag", {"key": "t", "value": "1"}),
                       ("delete-tag", {"key": "a"}), ("log-batch", {"metrics": []}), ("update", {"status": "FAILED"}),
                       ("log-batch", {"params": [{"key": "z", "value": "1"}]}),
                       ("log-inputs", {"datasets": [{"dataset": {"name": "d", "digest": "1", "source_type": "s", "source": "x"}}]}),
                       ("outputs", {"models": [{"model_id": "m-1", "step": 0}]})):
        both.post(f"runs/{path}", {"run_id": "{r}", **body})
    both.post("runs/restore", {"run_id": "{r}"})
    both.post("runs/restore", {"run_id": "{r}"})
    both.post("runs/restore", {"run_id": "none"})
    both.get("runs/get", {"run_id": "{r}"})
    both.post("runs/log-model", {"run_id": "{r}", "model_json": json.dumps({"run_id": "x", "artifact_path": "m", "flavors": {}, "utc_time_created": "2020-01-01"})})
    both.post("runs/log-model", {"run_id": "{r}", "model_json": "{"})
    both.post("runs/log-model", {"run_id": "{r}", "model_json": "{}"})
    both.post("runs/log-model", {"run_id": "{r}"})


@part
def metrics(both):
    both.post("experiments/create", {"name": "metrics"}, keep={"x": "experiment_id"})
    for n in (1, 2):
        both.post("runs/create", {"experiment_id": "{x}", "run_name": f"m{n}", "start_time": n}, keep={f"r{n}": "run.info.run_id"})
    points = [(1.0, 10, 0), (2.0, 20, 1), (0.5, 15, 1), (2.0, 20, 1), ("NaN", 30, 2), (7, 30, 2), (-1, 5, -3), (1e300, 40, 3), (4, "50", "4"), (9, 50, 4)]
    for value, at, step in points:
        both.post("runs/log-metric", {"run_id": "{r1}", "key": "m", "value": value, "timestamp": at, "step": step})
    both.post("runs/log-metric", {"run_id": "{r1}", "key": "nostep", "value": 1, "timestamp": 1})
    for body in ({"key": "m", "value": 1}, {"key": "m", "timestamp": 1}, {"value": 1, "timestamp": 1}, {"key": "m", "value": "x", "timestamp": 1}, {"key": "m", "value": None, "timestamp": 1},
                 {"key": "odd", "value": True, "timestamp": 1}, {"key": "m", "value": 1, "timestamp": -1}, {"key": "odd", "value": 1, "timestamp": 1.5}, {"key": "m", "value": 1, "timestamp": "x"},
                 {"key": "odd", "value": 1, "timestamp": 1, "step": 1.5}, {"key": "m", "value": 1, "timestamp": 1, "step": "x"}, {"key": "m", "value": [1], "timestamp": 1},
                 {"key": "", "value": 1, "timestamp": 1}):
        both.post("runs/log-metric", {"run_id": "{r1}", **body})
    both.post("runs/log-metric", {"run_id": "none", "key": "m", "value": 1, "timestamp": 1})
    both.get("runs/get", {"run_id": "{r1}"}, compare=lambda a: sorted(str(m) for m in a.json()["run"]["data"]["metrics"] if m["key"] != "odd"))
    both.get("metrics/get-history", {"run_id": "{r1}", "metric_key": "m"})
    both.get("metrics/get-history", {"run_id": "{r1}", "metric_key": "none"})
    both.get("metrics/get-history", {"run_id": "none", "metric_key": "m"})
    both.get("metrics/get-history", {"run_id": "{r1}"})
    both.get("metrics/get-history", {"metric_key": "m"})
    both.get("metrics/get-history", {"run_uuid": "{r1}", "metric_key": "nostep"})
    for most in (0, -1, "x", 100000):
        both.get("metrics/get-history", {"run_id": "{r1}", "metric_key": "m", "max_results": most})
    both.get("metrics/get-history", {"run_id": "{r1}", "metric_key": "m", "max_results": 4}, keep={"token": "next_page_token"})
    both.get("metrics/get-history", {"run_id": "{r1}", "metric_key": "m", "max_results": 4, "page_token": "{token}"})
    both.get("metrics/get-history", {"run_id": "{r1}", "metric_key": "m", "max_results": 4, "page_token": "nonsense"})
    batch = [{"key": "c", "value": n * 1.5, "timestamp": 1000 + n, "step": n} for n in range(50)]
    both.post("runs/log-batch", {"run_id": "{r2}", "metrics": batch})
    both.post("runs/log-batch", {"run_id": "{r1}", "metrics": batch[:10]})
    bulk = "/ajax-api/2.0/mlflow/metrics/get-history-bulk"
    both.get(bulk, {"run_id": ["{r1}"], "metric_key": "c"})
    both.get(bulk, {"run_id": ["{r1}"], "metric_key": "c", "max_results": 5})
    both.get(bulk, {"run_id": ["{r1}"], "metric_key": "none"})
    both.get(bulk, {"run_id": ["{r1}"]})
    both.get(bulk, {"metric_key": "c"})
    both.get(bulk, {"run_id": ["none"], "metric_key": "c"})
    both.get(bulk, {"run_id": ["r"] * 101, "metric_key": "c"})
    both.get(bulk, {"run_id": ["{r2}", "{r1}"], "metric_key": "c"}, compare=lambda a: len(a.json()["metrics"]))
    for prefix in ("/ajax-api/2.0/mlflow/", "/api/2.0/mlflow/"):
        interval = prefix + "metrics/get-history-bulk-interval"
        both.get(interval, {"run_ids": ["{r2}"], "metric_key": "c"})
    both.get(interval, {"run_ids": ["{r2}"], "metric_key": "c", "max_results": 7})
    both.get(interval, {"run_ids": ["{r2}"], "metric_key": "c", "max_results": 1})
    both.get(interval, {"run_ids": ["{r2}"], "metric_key": "c", "max_results": 2})
    both.get(interval, {"run_ids": ["{r1}", "{r2}"], "metric_key": "c", "max_results": 10})
    both.get(interval, {"run_ids": ["{r2}", "{r1}"], "metric_key": "c", "max_results": 3, "start_step": 5, "end_step": 30})
    both.get(interval, {"run_ids": ["{r2}"], "metric_key": "c", "start_step": 5, "end_step": 30, "max_results": 25})
    both.get(interval, {"run_ids": ["{r1}"], "metric_key": "m", "max_results": 4})
    both.get(interval, {"run_ids": ["{r2}"], "metric_key": "c", "start_step": 5})
    both.get(interval, {"run_ids": ["{r2}"], "metric_key": "c", "start_step": 30, "end_step": 5})
    both.get(interval, {"run_ids": ["{r2}"], "metric_key": "c", "start_step": 100, "end_step": 500})
    both.get(interval, {"run_ids": ["{r2}"], "metric_key": "none"})
    both.get(interval, {"run_ids": ["none"], "metric_key": "c"})
    both.get(interval, {"run_ids": ["{r2}"]})
    both.get(interval, {"metric_key": "c"})
    both.get(interval, {"run_ids": ["r"] * 101, "metric_key": "c"})
    for most in (0, 2501, -1, "x"):
        both.get(interval, {"run_ids": ["{r2}"], "metric_key": "c", "max_results": most})
    for value in ("Infinity", "-Infinity"):
        both.post("runs/log-metric", {"run_id": "{r2}", "key": "inf", "value": value, "timestamp": 1})
    both.get("metrics/get-history", {"run_id": "{r2}", "metric_key": "inf"}, why="infinities are kept, not turned into the greatest number",
             ours=lambda mine: [m["value"] for m in mine[1]["metrics"]] == ["-Infinity", "Infinity"])


@part
def batches(both):
    both.post("experiments/create", {"name": "batches"}, keep={"x": "experiment_id"})
    both.post("runs/create", {"experiment_id": "{x}", "run_name": "b", "start_time": 1}, keep={"r": "run.info.run_id"})
    def batch(**what):
        return both.post("runs/log-batch", {"run_id": "{r}", **what})
    metric = {"key": "m", "value": 1, "timestamp": 1}
    batch()
    batch(metrics=[metric], params=[{"key": "p", "value": "1"}], tags=[{"key": "t", "value": "1"}])
    batch(metrics=[metric], params=[{"key": "p", "value": "1"}], tags=[{"key": "t", "value": "2"}])
    batch(params=[{"key": "p", "value": "2"}])
    batch(params=[{"key": "q", "value": "1"}, {"key": "q", "value": "1"}])
    batch(params=[{"key": "q", "value": "1"}, {"key": "q", "value": "2"}])
    batch(tags=[{"key": "t", "value": "1"}, {"key": "t", "value": "2"}])
    batch(metrics=[{"key": "m", "value": 1}])
    batch(metrics=[{"key": "m", "timestamp": 1}])
    batch(metrics=[{"value": 1, "timestamp": 1}])
    batch(metrics=[{"key": "m", "value": "NaN", "timestamp": 2, "step": 1}])
    batch(metrics=[{"key": "m", "value": "x", "timestamp": 2, "step": 1}])
    batch(metrics=[{"key": "m", "value": 1, "timestamp": -2}])
    batch(metrics="x")
    batch(metrics=metric)
    batch(params=[{"key": "nov"}])
    batch(tags=[{"key": "nov"}])
    batch(params=[{"value": "nok"}])
    batch(params=[{"key": "../x", "value": "1"}])
    batch(params=[{"key": "long", "value": "x" * 6001}])
    batch(tags=[{"key": "long", "value": "x" * 8001}])
    batch(metrics=[{"key": f"k{n}", "value": 1, "timestamp": 1} for n in range(1001)])
    batch(params=[{"key": f"k{n}", "value": "1"} for n in range(101)])
    batch(tags=[{"key": f"k{n}", "value": "1"} for n in range(101)])
    batch(metrics=[{"key": f"k{n}", "value": 1, "timestamp": 1} for n in range(950)], params=[{"key": f"k{n}", "value": "1"} for n in range(51)])
    batch(metrics=[{"key": f"k{n % 7}", "value": n, "timestamp": n} for n in range(900)], params=[{"key": f"k{n}", "value": "1"} for n in range(100)])
    both.post("runs/log-batch", {"run_id": "none", "metrics": [metric]})
    both.post("runs/log-batch", {"metrics": [metric]})
    both.get("runs/get", {"run_id": "{r}"})
    both.post("runs/log-batch", {"run_id": "{r}", "metrics": [1, 2]}, why="a list of what is no metric is the caller's mistake, not a 500", ours=INVALID)


@part
def run_search(both):
    both.post("experiments/create", {"name": "search"}, keep={"x": "experiment_id"})
    rows = [
        ("r1", 100, {"mae": 1.0, "a b": 3}, {"lr": "0.1", "kind": "tree"}, {"team": "red"}, "FINISHED"),
        ("r2", 300, {"mae": 2.0}, {"lr": "0.2"}, {"team": "Red"}, "FAILED"),
        ("r3", 200, {"mae": "NaN"}, {"lr": "0.1", "kind": "Linear"}, {}, "RUNNING"),
        ("R4", 300, {}, {}, {"team": "blue", "x y": "1"}, "FINISHED"),
        ("r5", 50, {"mae": -1.5, "only": 1}, {"lr": "10"}, {"team": "red"}, "KILLED"),
    ]
    for name, start, ms, ps, ts, status in rows:
        both.post("runs/create", {"experiment_id": "{x}", "run_name": name, "start_time": start, "user_id": f"u{name}", "tags": [{"key": k, "value": v} for k, v in ts.items()]},
                  keep={name: "run.info.run_id"})
        both.post("runs/log-batch", {"run_id": "{%s}" % name, "metrics": [{"key": k, "value": v, "timestamp": 1} for k, v in ms.items()], "params": [{"key": k, "value": v} for k, v in ps.items()]})
        both.post("runs/update", {"run_id": "{%s}" % name, "status": status, "end_time": start + 10})
    for name, digest, context in (("d1", "1", "train"), ("d1", "2", "eval"), ("d2", "1", "train")):
        both.post("runs/log-inputs", {"run_id": "{r1}" if name == "d1" else "{r2}", "datasets": [{"dataset": {"name": name, "digest": digest, "source_type": "local", "source": "{}"}, "tags": [{"key": "mlflow.data.context", "value": context}]}]})
    # Runs of one start come in an order of their own on each side: their ids are random.
    names = lambda answer: sorted(r["info"]["run_name"] for r in answer.json().get("runs", []))
    ordered = lambda answer: [r["info"]["run_name"] for r in answer.json().get("runs", [])]

    def found(text, **kwargs):
        return both.post("runs/search", {"experiment_ids": ["{x}"], "filter": text}, compare=kwargs.pop("compare", names), **kwargs)

    for text in (
        "", "   ", "metrics.mae < 1.5", "metric.mae >= 1", "metrics.mae = 1", "metrics.mae != 1", "metrics.mae > -2 and params.lr = '0.1'", "metrics.`a b` = 3", 'metrics."a b" = 3',
        "metrics.mae = 1.0e0", "metrics.mae > -1e3", "metrics.none > 0", "params.lr = '0.1'", "param.lr != '0.1'", "parameters.kind LIKE 'tr%'", "params.kind LIKE 'T%'", "params.kind ILIKE 'T%'",
        "params.kind ilike 'lin%'", "params.kind IS NULL", "params.kind is not null", "params.kind LIKE '%e_%'", "tags.team = 'red'", "tag.team ILIKE 'RED'", "tags.`x y` = '1'", "tags.team != 'red'", "tags.team IS NULL",
        "tags.team IS NOT NULL", "attributes.status = 'FINISHED'", "attribute.status != 'FINISHED'", "attr.status LIKE 'F%'", "run.status = 'FAILED'", "status = 'KILLED'", "status ILIKE 'fin%'",
        "run_name = 'r1'", "attributes.run_name LIKE 'r%'", "run_name ILIKE 'r%'", "attributes.`run name` = 'r1'", "run_id = '{r1}'", "run_id != '{r1}'", "run_id IN ('{r1}', '{r2}')", "run_id NOT IN ('{r1}', '{r2}')",
        "attributes.run_id IN ('{r1}')", "run_id LIKE '%'", "user_id = 'ur1'", "artifact_uri LIKE '%artifacts'", "start_time > 100", "attributes.start_time <= 100", "start_time = 300", "created > 100", "end_time < 200", "start_time != 300",
        "datasets.name = 'd1'", "dataset.name LIKE 'd%'", "datasets.digest = '1'", "datasets.context = 'train'", "datasets.name = 'd1' and datasets.context = 'eval'", "datasets.name IN ('d1', 'd2')", "datasets.name ILIKE 'D%'",
        "datasets.context != 'train'", "tags.mlflow.runName = 'r1'", "tags.`mlflow.runName` = 'r1'", "metrics.mae < 1.5 AND metrics.mae > 0.5 AND tags.team = 'red'", "params.lr = \"0.1\"", "tags.team LIKE '%e%'",
        "params.lr IN ('0.1')", "tags.team IN ('red')", "status IN ('FINISHED')", "run_name IN ('r1')", "metrics.mae > +1",
    ):
        found(text)
    for text in (
        "metrics.mae", "metrics.mae <", "metrics.mae < 'x'", "metrics.mae < '1'", "metrics.mae LIKE '1'", "metrics. < 1", "params.lr = 0.1", "params.lr = bare", "params.lr > '0.1'", "params.lr = 'x", "banana = '1'", "banana.x = '1'",
        "status IS NULL", "run_id IN 'a'", "run_id IN ()", "run_id IN ('a' 'b')", "run_id IN (1)", "metrics.a > 1 OR metrics.b > 1", "(metrics.a > 1)", "metrics.a > 1 AND", "AND metrics.a > 1", "metrics.a > 1 metrics.b > 1",
        "start_time > '1'", "start_time LIKE '1'", "start_time > abc", "datasets.size = '1'", "datasets.name > '1'", "metrics.a > 1;", "metrics.a == 1", "metrics.a <> 1", "metrics.a > nan", "metrics.a > inf", "tags.a = 'x' AND AND tags.b = 'y'",
        "NOT metrics.a > 1", "metrics.mae IS NULL", "status > 'A'", "run_id > 'a'", "tags.team NOT LIKE 'x'", "1 < metrics.mae", "metrics.mae > metrics.other", "lifecycle_stage = 'active'", "experiment_id = '0'", "params.lr = 'a'b'",
        "tags.team =", "= 'x'", "''", "`metrics`.mae > 1", "tag", "metrics.mae > 1 -- comment", "metrics.mae > /* x */ 1", "metrics.mae > 1 AND (params.lr = '1')", "user = 'x'",
    ):
        found(text)
    for order in (["metrics.mae"], ["metrics.mae DESC"], ["metrics.mae ASC"], ["params.lr DESC", "start_time"], ["params.kind", "run_name"], ["tags.team DESC", "start_time ASC"], ["start_time", "run_name"], ["attributes.start_time DESC", "run_name"],
                  ["run_name"], ["attribute.run_name DESC"], ["status", "run_name"], ["end_time DESC", "run_name"], ["metrics.`a b`", "run_name"], ['metrics."a b" DESC', "run_name"], ["metrics.none", "run_name"], ["tags.`x y`", "run_name"],
                  ["created DESC", "run_name"], ["user_id"], ["Created DESC", "run_name"], ["attributes.`Run Name`"], ["metric.mae"], ["parameter.lr", "run_name"]):
        both.post("runs/search", {"experiment_ids": ["{x}"], "order_by": order}, compare=ordered)
    for order in (["banana"], ["metrics.mae UP"], ["metrics.mae DESC ASC"], [""], ["datasets.name"], ["metrics."], ["metrics.mae,params.lr"], "start_time", [5]):
        both.post("runs/search", {"experiment_ids": ["{x}"], "order_by": order}, compare=ordered)
    both.post("runs/search", {"experiment_ids": ["{x}"], "max_results": 2, "order_by": ["run_name"]}, keep={"token": "next_page_token"}, compare=ordered)
    both.post("runs/search", {"experiment_ids": ["{x}"], "max_results": 2, "order_by": ["run_name"], "page_token": "{token}"}, keep={"token": "next_page_token"}, compare=ordered)
    both.post("runs/search", {"experiment_ids": ["{x}"], "max_results": 2, "order_by": ["run_name"], "page_token": "{token}"}, compare=lambda a: (ordered(a), "next_page_token" in a.json()))
    both.post("runs/search", {"experiment_ids": ["{x}"], "max_results": 5, "order_by": ["run_name"]}, compare=lambda a: len(ordered(a)))
    both.post("runs/search", {"experiment_ids": ["{x}"], "page_token": "nonsense"})
    both.post("runs/search", {"experiment_ids": []})
    both.post("runs/search", {})
    both.post("runs/search", {"experiment_ids": ["99999"]})
    both.post("runs/search", {"experiment_ids": "x"})
    both.post("runs/search", {"experiment_ids": ["{x}", "0"]}, compare=names)
    for most in (0, -1, 50001, "x", 50000, "3"):
        both.post("runs/search", {"experiment_ids": ["{x}"], "max_results": most}, compare=lambda a: len(a.json().get("runs", [])))
    both.post("runs/delete", {"run_id": "{r1}"})
    for view in ("ACTIVE_ONLY", "DELETED_ONLY", "ALL"):
        both.post("runs/search", {"experiment_ids": ["{x}"], "run_view_type": view}, compare=names)
    both.post("runs/search", {"experiment_ids": ["{x}"], "run_view_type": "SIDEWAYS"}, compare=names)
    both.post("runs/restore", {"run_id": "{r1}"})
    both.post("runs/search", {"experiment_ids": ["{x}"], "filter": "run_name = 'r1'"})


@part
def random_searches(both):
    """Filters and orders by chance, the same ones every time, over things made by chance."""
    dice = random.Random(8)
    both.post("experiments/create", {"name": "by chance"}, keep={"x": "experiment_id"})
    words = ["red", "Red", "blue", "b_ue", "100%", "", "größe", "a b"]
    numbers = [-1.5, 0, 0.25, 1, 1e9]
    for n in range(24):
        both.post("runs/create", {"experiment_id": "{x}", "run_name": f"r{n:02}", "start_time": 1000 + dice.randrange(5), "user_id": dice.choice(["ada", "Bob"])}, keep={f"r{n}": "run.info.run_id"})
        some = lambda keys: [key for key in keys if dice.random() < 0.6]
        both.post("runs/log-batch", {
            "run_id": "{r%d}" % n,
            "metrics": [{"key": key, "value": dice.choice(numbers), "timestamp": 1} for key in some(["mae", "a b", "f/1"])],
            "params": [{"key": key, "value": dice.choice(words)} for key in some(["lr", "kind", "k.x"])],
            "tags": [{"key": key, "value": dice.choice(words)} for key in some(["team", "x y", "mlflow.note"])],
        })
        both.post("runs/update", {"run_id": "{r%d}" % n, "status": dice.choice(["FINISHED", "FAILED", "KILLED"]), "end_time": 2000 + dice.randrange(5)})
        if dice.random() < 0.5:
            both.post("runs/log-inputs", {"run_id": "{r%d}" % n, "datasets": [{"dataset": {"name": dice.choice(["d1", "d2"]), "digest": dice.choice("12"), "source_type": "local", "source": "{}"}, "tags": [{"key": "mlflow.data.context", "value": dice.choice(["train", "eval"])}]}]})

    def quoted(word):
        return f"'{word}'" if dice.random() < 0.7 else f'"{word}"'

    def pattern():
        return quoted(dice.choice(["%", "re%", "%e%", "_ed", "R%", "b_ue", "%0%", "gr%", "", "RED"]))

    def text(key):
        op = dice.choice(["=", "!=", "LIKE", "ILIKE", "like"])
        return f"{key} {op} {pattern() if 'LIKE' in op.upper() else quoted(dice.choice(words[:5] + words[6:]))}"

    def clause():
        kind = dice.randrange(7)
        if kind == 0:
            key = dice.choice(["metrics.mae", "metric.`a b`", 'metrics."a b"', "metrics.`f/1`", "metrics.none"])
            return f"{key} {dice.choice(['=', '!=', '<', '<=', '>', '>='])} {dice.choice(['-1.5', '0', '0.25', '1', '1e9', '.5', '-3'])}"
        if kind == 1:
            key = dice.choice(["params.lr", "param.kind", "parameters.`k.x`", "params.k.x"])
            return f"{key} IS {dice.choice(['', 'NOT '])}NULL" if dice.random() < 0.2 else text(key)
        if kind == 2:
            key = dice.choice(["tags.team", "tag.`x y`", "tags.mlflow.note", "tags.none"])
            return f"{key} is {dice.choice(['', 'not '])}null" if dice.random() < 0.2 else text(key)
        if kind == 3:
            return f"{dice.choice(['start_time', 'attributes.start_time', 'created'])} {dice.choice(['=', '!=', '<', '<=', '>', '>='])} {1000 + dice.randrange(6)}"
        if kind == 4:
            return f"status {dice.choice(['=', '!='])} '{dice.choice(['FINISHED', 'FAILED', 'RUNNING'])}'"
        if kind == 5:
            return dice.choice(["run_name LIKE 'r0%'", "attributes.run_name = 'r03'", "run_name ILIKE 'R1_'", "user_id = 'ada'", "user_id ILIKE 'BOB'", "run_id IN ('{r1}', '{r2}', 'x')", "run_id NOT IN ('{r1}', '{r2}')", "end_time >= 2002"])
        return dice.choice(["datasets.name = 'd1'", "dataset.name != 'd1'", "datasets.digest IN ('1')", "datasets.context = 'eval'", "datasets.name LIKE 'd%'", "datasets.digest NOT IN ('1')", "datasets.context ILIKE 'TRAIN'"])

    ordered = lambda answer: [r["info"]["run_name"] for r in answer.json().get("runs", [])]
    for _ in range(250):
        keys = ["metrics.mae", "metrics.`a b`", "params.lr", "params.kind", "tags.team", "tags.`x y`", "start_time", "end_time", "status", "user_id"]
        order = [f"{dice.choice(keys)} {dice.choice(['ASC', 'DESC', ''])}".strip(), dice.choice(["run_name", "run_name DESC"])]
        both.post("runs/search", {"experiment_ids": ["{x}"], "filter": " AND ".join(clause() for _ in range(dice.randrange(1, 4))), "order_by": order}, compare=ordered)


@part
def inputs_and_outputs(both):
    both.post("experiments/create", {"name": "inputs"}, keep={"x": "experiment_id"})
    both.post("runs/create", {"experiment_id": "{x}", "run_name": "i", "start_time": 1}, keep={"r": "run.info.run_id"})
    dataset = {"name": "d", "digest": "1", "source_type": "local", "source": "{}", "schema": "s", "profile": "p"}
    def inputs(*datasets, **more):
        return both.post("runs/log-inputs", {"run_id": "{r}", "datasets": list(datasets), **more})
    inputs({"dataset": dataset, "tags": [{"key": "mlflow.data.context", "value": "train"}]})
    inputs({"dataset": dataset, "tags": [{"key": "mlflow.data.context", "value": "eval"}]})
    inputs({"dataset": {**dataset, "digest": "2"}})
    inputs({"dataset": {**dataset, "name": None}})
    inputs({"dataset": {k: v for k, v in dataset.items() if k != "name"}})
    inputs({"dataset": {k: v for k, v in dataset.items() if k != "digest"}})
    inputs({"dataset": {k: v for k, v in dataset.items() if k != "source_type"}})
    inputs({"dataset": {k: v for k, v in dataset.items() if k != "source"}})
    inputs({"dataset": {**dataset, "name": ""}})
    inputs({"dataset": {**dataset, "name": "x" * 501}})
    inputs({"dataset": {**dataset, "digest": "x" * 37}})
    inputs({"tags": []})
    inputs({"dataset": {**dataset, "name": "t"}, "tags": [{"key": "k"}]})
    inputs({"dataset": {**dataset, "name": "t"}, "tags": [{"key": "k" * 256, "value": "v"}]})
    inputs({"dataset": {**dataset, "name": "t"}, "tags": [{"key": "k", "value": "v" * 501}]})
    inputs()
    both.post("runs/log-inputs", {"datasets": []})
    both.post("runs/log-inputs", {"run_id": "none", "datasets": [{"dataset": dataset}]})
    both.get("runs/get", {"run_id": "{r}"}, compare=lambda a: sorted((i["dataset"]["name"], i["dataset"]["digest"], str(i.get("tags"))) for i in a.json()["run"]["inputs"]["dataset_inputs"] if i["dataset"]["name"] and i["dataset"]["digest"]))
    both.post("logged-models", {"experiment_id": "{x}", "name": "m", "source_run_id": "{r}"}, keep={"m": "model.info.model_id"})
    both.post("runs/log-inputs", {"run_id": "{r}", "models": [{"model_id": "{m}"}]})
    both.post("runs/outputs", {"run_id": "{r}", "models": [{"model_id": "{m}", "step": 3}]})
    both.post("runs/outputs", {"run_id": "{r}", "models": [{"model_id": "{m}", "step": 3}]})
    both.post("runs/outputs", {"run_id": "{r}", "models": [{"model_id": "{m}", "step": 4}]})
    both.post("runs/outputs", {"run_id": "{r}", "models": [{"step": 4}]})
    both.post("runs/outputs", {"run_id": "none", "models": [{"model_id": "{m}", "step": 3}]})
    both.post("runs/outputs", {"run_id": "{r}"})
    both.get("runs/get", {"run_id": "{r}"}, compare=lambda a: (a.json()["run"]["inputs"].get("model_inputs") is not None, len(a.json()["run"]["outputs"].get("model_outputs", []))))
    search = "/ajax-api/2.0/mlflow/experiments/search-datasets"
    key = lambda s: (s["name"], s["digest"], s.get("context", ""))
    both.post(search, {"experiment_ids": ["{x}"]}, compare=lambda a: sorted(map(str, (key(s) for s in a.json().get("dataset_summaries", []) if s["name"] and s["digest"]))))
    both.post(search, {"experiment_ids": []})
    both.post(search, {})
    both.post(search, {"experiment_ids": ["99999"]})
    both.post(search, {"experiment_ids": [str(n) for n in range(21)]})


@part
def logged_models(both):
    both.post("experiments/create", {"name": "logged"}, keep={"x": "experiment_id"})
    both.post("runs/create", {"experiment_id": "{x}", "run_name": "l", "start_time": 1}, keep={"r": "run.info.run_id"})
    def create(name, **more):
        return both.post("logged-models", {"experiment_id": "{x}", "name": name, **more}, keep={name: "model.info.model_id"} if name else None)
    create("m0", source_run_id="{r}", model_type="agent", tags=[{"key": "a", "value": "1"}], params=[{"key": "p", "value": "1"}])
    create("m1", model_type="Agent", params=[{"key": "p", "value": "2"}])
    create("m2", source_run_id="{r}")
    for bad in ("a/b", "a:b", "a.b", "a%b", 'a"b', "a'b"):
        create(bad)
    both.post("logged-models", {"experiment_id": "{x}"}, compare=lambda a: bool(a.json()["model"]["info"]["name"]), keep={"spare": "model.info.model_id"})
    both.post("logged-models", {"name": "x"})
    both.post("logged-models", {"experiment_id": "99999", "name": "x"})
    both.post("logged-models", {"experiment_id": "{x}", "name": "x", "source_run_id": "none"}, keep={"orphan": "model.info.model_id"})
    both("DELETE", "logged-models/{spare}")
    both("DELETE", "logged-models/{orphan}")
    both("DELETE", "logged-models/{orphan}")
    both("DELETE", "logged-models/m-none")
    both.get("logged-models/{orphan}")
    both.get("logged-models/{orphan}", {"allow_deleted": "true"})
    both.get("logged-models/{m0}")
    both.get("logged-models/m-none")
    both("PATCH", "logged-models/{m0}", {"model_id": "{m0}", "status": "LOGGED_MODEL_READY"})
    both("PATCH", "logged-models/{m1}", {"model_id": "{m1}", "status": 3})
    both("PATCH", "logged-models/{m2}", {"model_id": "{m2}", "status": "2"})
    both("PATCH", "logged-models/{m0}", {"model_id": "{m0}"})
    both("PATCH", "logged-models/m-none", {"model_id": "m-none", "status": "LOGGED_MODEL_READY"})
    both.get("logged-models/{m1}")
    both.post("logged-models/{m0}/params", {"model_id": "{m0}", "params": [{"key": "q", "value": "3"}]})
    both.post("logged-models/{m0}/params", {"model_id": "{m0}", "params": [{"key": "p", "value": "1"}]})
    both.post("logged-models/{m0}/params", {"model_id": "{m0}", "params": [{"key": "p", "value": "9"}]})
    both.post("logged-models/m-none/params", {"model_id": "m-none", "params": [{"key": "q", "value": "3"}]})
    both("PATCH", "logged-models/{m0}/tags", {"tags": [{"key": "b", "value": "2"}, {"key": "a", "value": "3"}]}, compare=lambda a: None)
    both("PATCH", "logged-models/m-none/tags", {"tags": [{"key": "b", "value": "2"}]})
    both("DELETE", "logged-models/{m0}/tags/b")
    both("DELETE", "logged-models/{m0}/tags/b")
    both("DELETE", "logged-models/m-none/tags/b")
    both.get("logged-models/{m0}")
    for model, value, dataset in (("m0", 1, None), ("m1", 3, None), ("m2", 2, None), ("m0", 9, "d"), ("m1", 5, "d")):
        more = {"dataset_name": dataset, "dataset_digest": "1"} if dataset else {}
        both.post("runs/log-metric", {"run_id": "{r}", "key": "score", "value": value, "timestamp": 5, "step": value, "model_id": "{%s}" % model, **more})
    both.post("runs/log-metric", {"run_id": "{r}", "key": "score", "value": 1, "timestamp": 5, "model_id": "m-none"})
    both.post("runs/log-batch", {"run_id": "{r}", "metrics": [{"key": "loss", "value": 0.5, "timestamp": 5, "step": 1, "model_id": "{m0}"}, {"key": "loss", "value": 0.25, "timestamp": 6, "step": 2, "model_id": "{m0}"}]})
    both.get("logged-models/{m0}", compare=lambda a: sorted(json.dumps({k: m.get(k) for k in ("key", "value", "step", "dataset_name", "dataset_digest")}, sort_keys=True) for m in a.json()["model"]["data"]["metrics"] if m["key"] != "loss"))
    both.get("runs/get", {"run_id": "{r}"}, compare=lambda a: sorted((m["key"], m["value"]) for m in a.json()["run"]["data"]["metrics"]))
    names = lambda answer: sorted(m["info"]["name"] for m in answer.json().get("models", []))
    ordered = lambda answer: [m["info"]["name"] for m in answer.json().get("models", [])]

    def search(compare=names, **body):
        return both.post("logged-models/search", {"experiment_ids": ["{x}"], **body}, compare=compare)

    search()
    for text in ("name = 'm0'", "name LIKE 'm%'", "name ILIKE 'M%'", "name != 'm0'", "attributes.name = 'm0'", "model_id = '{m0}'", "model_type = 'agent'", "model_type ILIKE 'agent'", "source_run_id = '{r}'", "creation_timestamp > 0", "creation_time > 0",
                 "last_updated_timestamp > 5", "metrics.score > 1", "metrics.score = 3", "metrics.score >= 9", "metrics.score < 2", "metrics.loss = 0.25", "metrics.loss = 0.5", "params.p = '1'", "params.p != '1'", "params.p LIKE '%'", "tags.a = '3'", "tags.a = '1'", "tags.a != '1'",
                 "tags.none = 'x'", "name = 'm0' AND metrics.score > 0", "params.p IN ('1', '2')", "name IN ('m0', 'm1')", "name NOT IN ('m0')", "tags.`a` = '3'", "model_id IN ('{m0}')"):
        search(filter=text)
    for text in ("banana = 'x'", "name", "name > 'x'", "metrics.score = 'x'", "params.p > '1'", "metrics.score LIKE 'x'", "name = 'a' OR name = 'b'", "creation_timestamp = 'x'", "name = 'm0"):
        search(filter=text)
    for order in ([{"field_name": "metrics.score"}], [{"field_name": "metrics.score", "ascending": False}], [{"field_name": "metrics.score", "ascending": False, "dataset_name": "d"}], [{"field_name": "metrics.score", "ascending": True, "dataset_name": "d", "dataset_digest": "1"}],
                  [{"field_name": "name", "ascending": False}], [{"field_name": "name"}], [{"field_name": "creation_timestamp", "ascending": True}], [{"field_name": "creation_timestamp"}], [{"field_name": "model_type"}, {"field_name": "name"}],
                  [{"field_name": "last_updated_timestamp", "ascending": False}]):
        search(ordered, order_by=order)
    for order in ([{"field_name": "banana"}], [{"ascending": True}], [{"field_name": "params.p"}], [{"field_name": "tags.a"}], [{"field_name": "metrics.score", "dataset_digest": "1"}], [{"field_name": "name", "dataset_name": "d"}], ["name"]):
        search(ordered, order_by=order)
    search(datasets=[{"dataset_name": "d"}], filter="metrics.score > 6")
    search(datasets=[{"dataset_name": "d", "dataset_digest": "1"}], filter="metrics.score > 4")
    search(datasets=[{"dataset_name": "none"}], filter="metrics.score > 4")
    search(datasets=[{"dataset_name": "d"}])
    search(datasets=[{"dataset_digest": "1"}])
    both.post("logged-models/search", {"experiment_ids": ["{x}"], "max_results": 1, "order_by": [{"field_name": "name"}]}, keep={"token": "next_page_token"}, compare=ordered)
    both.post("logged-models/search", {"experiment_ids": ["{x}"], "max_results": 1, "order_by": [{"field_name": "name"}], "page_token": "{token}"}, compare=ordered)
    both.post("logged-models/search", {"experiment_ids": ["{x}"], "max_results": 1, "page_token": "{token}"})
    both.post("logged-models/search", {"experiment_ids": ["{x}"], "filter": "name = 'm0'", "order_by": [{"field_name": "name"}], "page_token": "{token}"})
    both.post("logged-models/search", {"experiment_ids": ["0", "{x}"], "order_by": [{"field_name": "name"}], "page_token": "{token}"})
    both.post("logged-models/search", {"experiment_ids": ["{x}"], "page_token": "nonsense"})
    both.post("logged-models/search", {})
    both.post("logged-models/search", {"experiment_ids": []})
    both.post("logged-models/search", {"experiment_ids": ["99999"]})
    search(max_results=0)
    search(max_results=-1)
    both("PATCH", "logged-models/{m2}", {"model_id": "{m2}", "status": "NONSENSE"})
    base = "/api/2.0/mlflow-artifacts/artifacts/{x}/models/{m0}/artifacts/"
    both("PUT", base + "MLmodel", b"flavors: {}")
    both("PUT", base + "sub/a.txt", b"abc")
    both.get("logged-models/{m0}/artifacts/directories")
    both.get("logged-models/{m0}/artifacts/directories", {"artifact_directory_path": "sub"})
    both.get("logged-models/{m0}/artifacts/directories", {"artifact_directory_path": "none"})
    both.get("logged-models/{m0}/artifacts/directories", {"artifact_directory_path": "../.."})
    both.get("logged-models/m-none/artifacts/directories")
    files = "/ajax-api/2.0/mlflow/logged-models/{m0}/artifacts/files"
    both.get(files, {"artifact_file_path": "MLmodel"})
    both.get(files, {"artifact_file_path": "sub/a.txt"})
    both.get(files, {"artifact_file_path": "../../x"})
    both.get(files)
    both.get(files.replace("{m0}", "m-none"), {"artifact_file_path": "MLmodel"})


@part
def registered_models(both):
    name = "reg"
    both.post("registered-models/create", {"name": name, "tags": [{"key": "a", "value": "1"}], "description": "what"})
    both.post("registered-models/create", {"name": name})
    for bad in ({}, {"name": ""}, {"name": "a/b"}, {"name": "a:b"}, {"name": "."}, {"name": ".."}, {"name": 5}, {"name": "ok name", "tags": [{"key": "k" * 251, "value": "v"}]}):
        both.post("registered-models/create", bad)
    both.post("registered-models/create", {"name": "größe 日本"})
    for ref in ({"name": name}, {"name": "none"}, {}, {"name": "größe 日本"}, {"name": "a/b"}):
        both.get("registered-models/get", ref)
    both("PATCH", "registered-models/update", {"name": name, "description": "other"})
    both("PATCH", "registered-models/update", {"name": name})
    both("PATCH", "registered-models/update", {"name": "none", "description": "x"})
    both.post("registered-models/set-tag", {"name": name, "key": "t", "value": "1"})
    both.post("registered-models/set-tag", {"name": name, "key": "t", "value": ""})
    both.post("registered-models/set-tag", {"name": name, "key": "t"})
    both.post("registered-models/set-tag", {"name": name, "value": "t"})
    both.post("registered-models/set-tag", {"name": name, "key": "long", "value": "x" * 9000})
    both.post("registered-models/set-tag", {"name": name, "key": "a#b", "value": "x"})
    both.post("registered-models/set-tag", {"name": "none", "key": "t", "value": "1"})
    both("DELETE", "registered-models/delete-tag", {"name": name, "key": "t"})
    both("DELETE", "registered-models/delete-tag", {"name": name, "key": "t"})
    both("DELETE", "registered-models/delete-tag", {"name": name})
    both("DELETE", "registered-models/delete-tag", {"name": "none", "key": "t"})
    both.get("registered-models/get", {"name": name}, compare=lambda a: sorted((t["key"], len(t["value"])) for t in a.json()["registered_model"]["tags"]))
    both.post("registered-models/rename", {"name": name, "new_name": "reg2"})
    both.post("registered-models/rename", {"name": "reg2", "new_name": "größe 日本"})
    both.post("registered-models/rename", {"name": "reg2", "new_name": "a/b"})
    both.post("registered-models/rename", {"name": "reg2", "new_name": ""})
    both.post("registered-models/rename", {"name": "reg2"})
    both.post("registered-models/rename", {"name": "none", "new_name": "z"})
    both.get("registered-models/get", {"name": name})
    both.get("registered-models/get", {"name": "reg2"}, compare=lambda a: a.json()["registered_model"]["name"])
    for n, tags in (("sa", {"k": "x"}), ("sb", {"k": "y"}), ("SC", {}), ("sp", {"mlflow.prompt.is_prompt": "true", "k": "x"})):
        both.post("registered-models/create", {"name": n, "tags": [{"key": k, "value": v} for k, v in tags.items()]})
        time.sleep(0.002)
    names = lambda answer: [m["name"] for m in answer.json().get("registered_models", [])]

    def search(compare=names, **body):
        return both.get("registered-models/search", body, compare=compare)

    search()
    for text in ("name = 'sa'", "name LIKE 's%'", "name ILIKE 's%'", "name != 'sa'", "tags.k = 'x'", "tags.k != 'x'", "tag.k LIKE '%'", "tags.k ILIKE 'X'", "name IN ('sa', 'sb')", "tags.`mlflow.prompt.is_prompt` = 'true'", "tags.`mlflow.prompt.is_prompt` = 'false'", "tags.`mlflow.prompt.is_prompt` != 'true'", "tags.mlflow.prompt.is_prompt = 'true'",
                 "name = 'sa' AND tags.k = 'x'", "tags.k = 'x' and name LIKE 's%'", "tags.k = 'x' and tags.`mlflow.prompt.is_prompt` = 'true'"):
        search(filter=text)
    for text in ("banana = 'x'", "name", "name > 'x'", "name = x", "name = 'a' OR name = 'b'", "creation_timestamp > 0", "tags.k IS NULL", "metrics.a = 1", "run_id = 'x'", "tags.k IN ('x')", "attributes.name = 'sa'", "name = 'sa"):
        search(filter=text)
    for order in (["name"], ["name DESC"], ["name ASC"], ["last_updated_timestamp"], ["last_updated_timestamp DESC"], ["timestamp DESC"], ["creation_timestamp DESC"], ["creation_timestamp ASC", "name DESC"], ["banana"], ["name UP"], [""], ["tags.k"]):
        search(order_by=order)
    both.get("registered-models/search", {"max_results": 2, "order_by": "name DESC"}, keep={"token": "next_page_token"}, compare=names)
    both.get("registered-models/search", {"max_results": 2, "order_by": "name DESC", "page_token": "{token}"}, compare=names)
    search(page_token="nonsense")
    for most in (-1, 1001, "x", 1000):
        search(max_results=most)
    both.get("registered-models/search", {"max_results": 0}, why="a page of nothing would go on for ever", ours=INVALID)
    both("DELETE", "registered-models/delete", {"name": "sa"})
    both("DELETE", "registered-models/delete", {"name": "sa"})
    both("DELETE", "registered-models/delete", {})
    both("DELETE", "registered-models/delete", {"name": "a/b"})


@part
def versions(both):
    name = "ver"
    both.post("experiments/create", {"name": "versions"}, keep={"x": "experiment_id"})
    both.post("runs/create", {"experiment_id": "{x}", "run_name": "v", "start_time": 1}, keep={"r": "run.info.run_id", "uri": "run.info.artifact_uri"})
    both.post("logged-models", {"experiment_id": "{x}", "name": "m", "source_run_id": "{r}"}, keep={"m": "model.info.model_id"})
    both.post("registered-models/create", {"name": name})
    def create(**body):
        return both.post("model-versions/create", {"name": name, **body})
    create(source="{uri}/model", run_id="{r}", tags=[{"key": "n", "value": "1"}], description="first")
    create(source="models:/{m}", model_id="{m}", run_id="{r}")
    both.get("logged-models/{m}")
    create(source="runs:/{r}/model", run_id="{r}")
    create(source="mlflow-artifacts:/../../etc", run_id="{r}")
    create(source="{uri}/../x", run_id="{r}")
    create(source="/etc/passwd", run_id="{r}")
    create(source="file:///etc/passwd", run_id="{r}")
    create(source="models:/m-none", model_id="m-none")
    both.post("registered-models/create", {"name": "lenient"})
    for source, more in (("mlflow-artifacts:/other/place", {"run_id": "{r}"}), ("{uri}/model", {}), ("runs:/none/model", {"run_id": "none"}), ("models:/{m}", {}), ("s3://bucket/x", {}), ("https://host/x", {"run_id": "{r}"})):
        both.post("model-versions/create", {"name": "lenient", "source": source, **more}, compare=lambda a: a.json()["model_version"]["source"])
    both("DELETE", "registered-models/delete", {"name": "lenient"})
    create()
    create(source="")
    both.post("model-versions/create", {"source": "{uri}/model", "run_id": "{r}"})
    both.post("model-versions/create", {"name": "none", "source": "{uri}/model", "run_id": "{r}"})
    create(source="models:/ver/1")
    create(source="models:/ver/99")
    create(source="models:/none/1")
    for ref in ({"name": name, "version": "1"}, {"name": name, "version": "2"}, {"name": name, "version": "3"}, {"name": name, "version": "4"}, {"name": name, "version": "99"}, {"name": name, "version": "x"}, {"name": name, "version": "0"}, {"name": name, "version": "-1"}, {"name": "none", "version": "1"}, {"name": name}, {"version": "1"},
                {"name": name, "version": ""}, {"name": name, "version": "1.0"}):
        both.get("model-versions/get", ref)
    for ref in ({"name": name, "version": "1"}, {"name": name, "version": "2"}, {"name": name, "version": "3"}, {"name": name, "version": "99"}, {"name": name, "version": "x"}, {"name": name}):
        both.get("model-versions/get-download-uri", ref)
    both("PATCH", "model-versions/update", {"name": name, "version": "1", "description": "better"})
    both("PATCH", "model-versions/update", {"name": name, "version": "1"})
    both("PATCH", "model-versions/update", {"name": name, "version": "99", "description": "x"})
    both.post("model-versions/set-tag", {"name": name, "version": "1", "key": "t", "value": "1"})
    both.post("model-versions/set-tag", {"name": name, "version": "1", "key": "t"})
    both.post("model-versions/set-tag", {"name": name, "version": "1", "value": "t"})
    both.post("model-versions/set-tag", {"name": name, "version": "99", "key": "t", "value": "1"})
    both.post("model-versions/set-tag", {"name": name, "version": "x", "key": "t", "value": "1"})
    both("DELETE", "model-versions/delete-tag", {"name": name, "version": "1", "key": "t"})
    both("DELETE", "model-versions/delete-tag", {"name": name, "version": "1", "key": "t"})
    both("DELETE", "model-versions/delete-tag", {"name": name, "version": "99", "key": "t"})
    for stage in ("Staging", "production", "NONE", "Archived"):
        both.post("model-versions/transition-stage", {"name": name, "version": "1", "stage": stage})
    both.post("model-versions/transition-stage", {"name": name, "version": "1", "stage": "Production"})
    both.post("model-versions/transition-stage", {"name": name, "version": "2", "stage": "Production", "archive_existing_versions": True})
    both.get("registered-models/get", {"name": name}, compare=lambda a: sorted((v["version"], v["current_stage"]) for v in a.json()["registered_model"]["latest_versions"]))
    both.post("model-versions/transition-stage", {"name": name, "version": "1", "stage": "banana"})
    both.post("model-versions/transition-stage", {"name": name, "version": "99", "stage": "Staging"})
    both.post("model-versions/transition-stage", {"name": name, "version": "1"})
    both.post("model-versions/transition-stage", {"name": name, "version": "1", "stage": "Archived", "archive_existing_versions": True}, compare=lambda a: None)
    both.post("model-versions/transition-stage", {"name": name, "version": "1", "stage": "None", "archive_existing_versions": True}, compare=lambda a: None)
    latest = lambda answer: sorted((v["version"], v["current_stage"]) for v in answer.json().get("model_versions", []))
    for body in ({"name": name}, {"name": name, "stages": ["Production"]}, {"name": name, "stages": ["production", "None"]}, {"name": name, "stages": ["Staging"]}, {"name": name, "stages": ["banana"]}, {"name": "none"}, {}):
        both.post("registered-models/get-latest-versions", body, compare=latest)
        both.get("registered-models/get-latest-versions", body, compare=latest)
    alias = "registered-models/alias"
    both.post(alias, {"name": name, "alias": "best", "version": "1"})
    both.post(alias, {"name": name, "alias": "best", "version": "2"})
    both.post(alias, {"name": name, "alias": "also", "version": "2"})
    for bad in ("latest", "Latest", "v1", "V2", "a b", "a/b", "", "x" * 256, "größe", "a.b", "va", "v", "1", "x" * 255):
        both.post(alias, {"name": name, "alias": bad, "version": "1"})
    both.post(alias, {"name": name, "alias": "best", "version": "99"})
    both.post(alias, {"name": name, "alias": "best", "version": "x"})
    both.post(alias, {"name": "none", "alias": "best", "version": "1"})
    both.post(alias, {"name": name, "alias": "best"})
    both.get(alias, {"name": name, "alias": "best"})
    both.get(alias, {"name": name, "alias": "none"})
    both.get(alias, {"name": "none", "alias": "best"})
    both.get(alias, {"name": name})
    both.get(alias, {"name": name, "alias": "latest"})
    both.get("registered-models/get", {"name": name}, compare=lambda a: sorted((x["alias"], x["version"]) for x in a.json()["registered_model"]["aliases"]))
    both.get("model-versions/get", {"name": name, "version": "2"})
    create(source="models:/ver@best")
    create(source="models:/ver@none")
    both("DELETE", alias, {"name": name, "alias": "also"})
    both("DELETE", alias, {"name": name, "alias": "also"})
    both("DELETE", alias, {"name": "none", "alias": "also"})
    both("DELETE", alias, {"name": name})
    found = lambda answer: sorted((v["name"], int(v["version"])) for v in answer.json().get("model_versions", []))
    ordered = lambda answer: [(v["name"], int(v["version"])) for v in answer.json().get("model_versions", [])]
    both.post("registered-models/create", {"name": "ver-b"})
    both.post("model-versions/create", {"name": "ver-b", "source": "{uri}/b", "run_id": "{r}", "tags": [{"key": "n", "value": "1"}]})

    def search(compare=found, **body):
        return both.get("model-versions/search", body, compare=compare)

    search()
    for text in ("name = 'ver'", "name LIKE 'ver%'", "name ILIKE 'VER%'", "name != 'ver'", "name IN ('ver', 'ver-b')", "run_id = '{r}'", "run_id IN ('{r}')", "run_id IN ('{r}', 'x')", "run_id = 'none'", "run_id != 'none'", "source_path LIKE '%model'", "source_path = '{uri}/b'", "source_path ILIKE '%MODEL'", "version_number = 1", "version_number > 1", "version_number != 1",
                 "version_number = '1'", "tags.n = '1'", "tags.n != '1'", "tag.n LIKE '%'", "tags.t ILIKE 'x'", "name = 'ver' AND version_number >= 2", "name = 'ver' and tags.n = '1'", "tags.`mlflow.prompt.is_prompt` = 'false'", "name LIKE '%b' AND run_id = '{r}'"):
        search(filter=text)
    for text in ("banana = 'x'", "name", "name > 'x'", "name = x", "run_id > 'a'", "run_id IN ()", "run_id IN ('a'", "version_number = 'x'", "version_number LIKE '1'", "source_path > 'x'", "creation_timestamp > 0", "tags.n IS NULL", "name = 'a' OR name = 'b'", "name IN 'ver'", "tags.n IN ('1')", "run_id NOT IN ('x')", "attributes.name = 'ver'"):
        search(filter=text)
    for order in (["name"], ["name DESC", "version_number"], ["version_number"], ["version_number DESC", "name"], ["creation_timestamp", "name", "version_number"], ["last_updated_timestamp DESC"], ["banana"], ["source_path"], ["run_id"], ["version_number UP"], ["tags.n"], [""]):
        search(ordered if order not in (["version_number"], ["name"]) else found, order_by=order)
    search(ordered)
    both.get("model-versions/search", {"max_results": 2, "order_by": ["name", "version_number"]}, keep={"token": "next_page_token"}, compare=ordered)
    both.get("model-versions/search", {"max_results": 2, "order_by": ["name", "version_number"], "page_token": "{token}"}, compare=ordered)
    search(page_token="nonsense")
    for most in (-1, 200001, "x", 200000):
        search(max_results=most)
    both("DELETE", "model-versions/delete", {"name": name, "version": "3"})
    both("DELETE", "model-versions/delete", {"name": name, "version": "3"})
    both("DELETE", "model-versions/delete", {"name": name, "version": "x"})
    both("DELETE", "model-versions/delete", {"name": name})
    create(source="{uri}/model", run_id="{r}")
    both("DELETE", "model-versions/delete", {"name": name, "version": "2"})
    both.get(alias, {"name": name, "alias": "best"})
    both.get("registered-models/get", {"name": name}, compare=lambda a: a.json()["registered_model"].get("aliases"))
    both.post("registered-models/rename", {"name": name, "new_name": "ver-new"}, compare=lambda a: a.json()["registered_model"]["name"])
    both.get("model-versions/get", {"name": "ver-new", "version": "1"})
    both.get("model-versions/get", {"name": name, "version": "1"})
    both("PUT", "/api/2.0/mlflow-artifacts/artifacts/{x}/{r}/artifacts/model/MLmodel", b"hallo")
    both.get("/model-versions/get-artifact", {"name": "ver-new", "version": "1", "path": "MLmodel"})
    both.get("/model-versions/get-artifact", {"name": "ver-new", "version": "99", "path": "MLmodel"})
    both.get("/model-versions/get-artifact", {"name": "ver-new", "version": "1", "path": "../../x"})
    both.get("/model-versions/get-artifact", {"name": "ver-new", "version": "1"}, why="a missing parameter is said in JSON", ours=INVALID)


@part
def prompts(both):
    tags = [{"key": "mlflow.prompt.is_prompt", "value": "true"}]
    both.post("registered-models/create", {"name": "greet", "tags": tags, "description": "how to greet"})
    text = tags + [{"key": "mlflow.prompt.text", "value": "Hello {{name}}"}]
    both.post("model-versions/create", {"name": "greet", "source": "dummy-source", "tags": text})
    both.post("model-versions/create", {"name": "greet", "source": "dummy-source", "tags": text, "description": "second"})
    both.post("model-versions/create", {"name": "greet", "source": "s3://x/y", "tags": text})
    both.get("model-versions/get", {"name": "greet", "version": "1"})
    both.get("registered-models/get", {"name": "greet"}, compare=lambda a: a.json()["registered_model"]["description"])
    both.get("registered-models/search", {"filter": "tags.`mlflow.prompt.is_prompt` = 'true'"}, compare=lambda a: [m["name"] for m in a.json().get("registered_models", []) if m["name"] == "greet"])
    both.get("registered-models/search", {}, compare=lambda a: [m["name"] for m in a.json().get("registered_models", []) if m["name"] == "greet"])
    both.get("registered-models/search", {"filter": "name = 'greet'"}, compare=lambda a: [m["name"] for m in a.json().get("registered_models", [])])
    both.get("model-versions/search", {"filter": "name = 'greet'"}, compare=lambda a: [m["version"] for m in a.json().get("model_versions", [])])
    both.get("model-versions/search", {"filter": "name = 'greet' AND tags.`mlflow.prompt.is_prompt` = 'true'"}, compare=lambda a: [m["version"] for m in a.json().get("model_versions", [])])
    both.post("registered-models/alias", {"name": "greet", "alias": "prod", "version": "1"})
    both.get("registered-models/alias", {"name": "greet", "alias": "prod"})
    both.post("registered-models/create", {"name": "plain"})
    both.post("model-versions/create", {"name": "plain", "source": "dummy-source", "tags": text})
    both.post("model-versions/create", {"name": "greet", "source": "models:/greet/1"})
    both.get("model-versions/get-download-uri", {"name": "greet", "version": "1"})


@part
def artifacts(both):
    both.post("experiments/create", {"name": "artifacts"}, keep={"x": "experiment_id"})
    both.post("runs/create", {"experiment_id": "{x}", "run_name": "f", "start_time": 1}, keep={"r": "run.info.run_id"})
    proxy = "/api/2.0/mlflow-artifacts/artifacts"
    root = proxy + "/{x}/{r}/artifacts"
    data = bytes(range(256)) * 8
    both("PUT", f"{root}/a.bin", data)
    both("PUT", f"{root}/sub/b.txt", b"hallo")
    both("PUT", f"{root}/sub/deep/c.json", b'{"a": 1}')
    both("PUT", f"{root}/gr%C3%B6%C3%9Fe%20x.txt", "ß".encode())
    both("PUT", f"{root}/empty", b"")
    content = lambda answer: (answer.content.hex(), answer.headers.get("content-disposition"), answer.headers.get("x-content-type-options"))
    for name in ("a.bin", "sub/b.txt", "sub/deep/c.json", "gr%C3%B6%C3%9Fe%20x.txt", "empty"):
        both.get(f"{root}/{name}", compare=content)
    both.get(f"{root}/none")
    both.get(f"{root}/sub", why="a folder is not a file; the genuine server says so too, with another code", ours=NOT_FOUND) if False else both.get(f"{root}/sub")
    both.get(f"/ajax-api/2.0/mlflow-artifacts/artifacts/{{x}}/{{r}}/artifacts/sub/b.txt", compare=content)
    for span in ("bytes=0-9", "bytes=100-", "bytes=-10", "bytes=5-5", "bytes=2000-5000", "bytes=5000-", "bytes=9-5", "bananas=1-2", "bytes=0-0,5-6", "bytes=", "bytes=a-b"):
        both.get(f"{root}/a.bin", headers={"Range": span}, compare=lambda a: (a.content.hex(), a.headers.get("content-range")))
    for path in (None, "", "sub", "sub/", "sub/deep", "none", "a.bin", "..", "../..", "/etc", "a%2e%2e", "sub/../..", "%2e%2e/x", "a#b"):
        both.get("artifacts/list", {"run_id": "{r}", **({} if path is None else {"path": path})})
    both.get("artifacts/list", {"run_uuid": "{r}"})
    both.get("artifacts/list", {"run_id": "none"})
    both.get("artifacts/list")
    names = lambda answer: sorted((f["path"], f["is_dir"], f.get("file_size") or 0) for f in answer.json().get("files", []))
    for path in ("{x}/{r}/artifacts", "{x}/{r}/artifacts/sub", "none", "..", "/etc", "a/../b", "%2e%2e", "%252e%252e"):
        both.get(proxy, {"path": path}, compare=names)
    for path in ("..%2F..%2Fetc%2Fpasswd", "%2Fetc%2Fpasswd", "%252e%252e/x", "%252e%252e%252fx", "a%23b", "a/..%2f..%2fb", "%2e%2e/x", "..%5c..%5cx", "C:%5cx", "file:%2F%2F%2Fetc%2Fpasswd"):
        both.get(f"{proxy}/{path}")
        both("PUT", f"{proxy}/{path}", b"x")
        both("DELETE", f"{proxy}/{path}")
    get = "/get-artifact"
    both.get(get, {"run_id": "{r}", "path": "a.bin"}, compare=content)
    both.get(get, {"run_uuid": "{r}", "path": "sub/b.txt"}, compare=content)
    both.get(get, {"run_id": "{r}", "path": "none"})
    both.get(get, {"run_id": "none", "path": "a.bin"})
    both.get(get, {"run_id": "{r}", "path": "../../x"})
    both.get(get, {"run_id": "{r}", "path": "%2e%2e/%2e%2e/x"})
    both.get(get, {"run_id": "{r}"}, why="a missing parameter is said in JSON", ours=INVALID)
    upload = "/ajax-api/2.0/mlflow/upload-artifact"
    both("POST", f"{upload}?run_uuid={{r}}&path=up/x.json", b"[1]", compare=lambda a: a.text)
    both("POST", f"{upload}?run_uuid={{r}}&path=../x", b"[1]")
    both("POST", f"{upload}?run_uuid={{r}}&path=y", b"")
    both("POST", f"{upload}?run_uuid={{r}}", b"[1]")
    both("POST", f"{upload}?path=y", b"[1]")
    both("POST", f"{upload}?run_uuid=none&path=y", b"[1]")
    both("POST", f"{upload}?run_uuid={{r}}&path=big", b"x" * (10 * 1024 * 1024 + 1))
    both.get("artifacts/list", {"run_id": "{r}", "path": "up"})
    both("DELETE", f"{root}/a.bin", {})
    both.get(f"{root}/a.bin")
    both("DELETE", f"{root}/a.bin", {})
    both("DELETE", f"{root}/sub", {})
    both.get("artifacts/list", {"run_id": "{r}"}, compare=names)
    for step in ("create", "complete", "abort"):
        both.post(f"/api/2.0/mlflow-artifacts/mpu/{step}/{{x}}/{{r}}/artifacts", {"path": "big.bin", "num_parts": 2, "upload_id": "u", "parts": [{"part_number": 1, "etag": "e", "url": "u"}]})
    both.post("/api/2.0/mlflow-artifacts/mpu/create/..%2fx", {"path": "big.bin", "num_parts": 2})
    both.post("/api/2.0/mlflow-artifacts/mpu/create/x", {})
    both.get("/api/2.0/mlflow-artifacts/presigned/{x}/{r}/artifacts/a.bin")


@part
def evaluation_datasets(both):
    base = "/api/3.0/mlflow/datasets"
    both.post("experiments/create", {"name": "evaluation"}, keep={"x": "experiment_id"})
    both.post("experiments/create", {"name": "evaluation 2"}, keep={"y": "experiment_id"})
    both.post(f"{base}/create", {"name": "qa", "experiment_ids": ["{x}"], "tags": json.dumps({"team": "red"})}, keep={"d": "dataset.dataset_id"})
    both.post(f"{base}/create", {"name": "plain"}, keep={"p": "dataset.dataset_id"})
    both.post(f"{base}/create", {"name": ""})
    both.post(f"{base}/create", {})
    both.post(f"{base}/create", {"name": "bad", "tags": "{"}, why="tags that are no JSON are the caller's mistake, not a 500", ours=INVALID)
    both.post(f"{base}/create", {"name": "bad", "experiment_ids": ["99999"]}, keep={"bad": "dataset.dataset_id"})
    both.get(f"{base}/{{d}}")
    both.get(f"{base}/d-none")
    records = [{"inputs": {"q": "what?"}, "expectations": {"a": "that"}, "tags": {"k": "v"}}, {"inputs": {"q": "who?"}}]
    both.post(f"{base}/{{d}}/records", {"records": json.dumps(records)})
    both.post(f"{base}/{{d}}/records", {"records": json.dumps([{"inputs": {"q": "who?"}, "expectations": {"a": "she"}}, {"inputs": {"q": "when?"}}])})
    both.post(f"{base}/{{d}}/records", {"records": "[]"})
    both.post(f"{base}/{{d}}/records", {"records": "["}, why="records that are no JSON are the caller's mistake, not a 500", ours=INVALID)
    both.post(f"{base}/{{d}}/records", {})
    both.post(f"{base}/d-none/records", {"records": json.dumps(records)})
    def rows(answer):
        found = json.loads(answer.json()["records"])
        return sorted(json.dumps({k: r.get(k) for k in ("inputs", "outputs", "expectations", "tags", "source_type", "source")}, sort_keys=True) for r in found)
    both.get(f"{base}/{{d}}/records", compare=rows)
    both.get(f"{base}/{{d}}/records", {"max_results": 1}, compare=lambda a: (len(json.loads(a.json()["records"])), "next_page_token" in a.json()), keep={"token": "next_page_token"})
    both.get(f"{base}/{{d}}/records", {"max_results": 5, "page_token": "{token}"}, compare=lambda a: (len(json.loads(a.json()["records"])), "next_page_token" in a.json()))
    both.get(f"{base}/d-none/records")
    both.get(f"{base}/{{d}}", compare=lambda a: {k: v for k, v in a.json()["dataset"].items() if k == "name"} | {k: json.loads(a.json()["dataset"][k]) for k in ("profile", "schema", "tags")})
    both("PATCH", f"{base}/{{d}}/tags", {"tags": json.dumps({"team": "blue", "more": "1"})})
    both("PATCH", f"{base}/{{d}}/tags", {})
    both("PATCH", f"{base}/d-none/tags", {"tags": json.dumps({"team": "blue"})})
    both.get(f"{base}/{{d}}", compare=lambda a: json.loads(a.json()["dataset"]["tags"]))
    both("DELETE", f"{base}/{{d}}/tags/more")
    both("DELETE", f"{base}/{{d}}/tags/more")
    both.get(f"{base}/{{d}}/experiment-ids")
    both.get(f"{base}/d-none/experiment-ids")
    both.post(f"{base}/{{d}}/add-experiments", {"experiment_ids": ["{y}"]}, compare=lambda a: a.json()["dataset"]["name"])
    both.post(f"{base}/{{d}}/add-experiments", {"experiment_ids": ["{y}"]}, compare=lambda a: a.json()["dataset"]["name"])
    both.post(f"{base}/{{d}}/add-experiments", {"experiment_ids": ["99999"]})
    both.post(f"{base}/d-none/add-experiments", {"experiment_ids": ["{y}"]})
    both.post(f"{base}/{{d}}/remove-experiments", {"experiment_ids": ["{x}"]}, compare=lambda a: a.json()["dataset"]["name"])
    both.post(f"{base}/{{d}}/remove-experiments", {"experiment_ids": ["{x}"]}, compare=lambda a: None)
    both.post(f"{base}/d-none/remove-experiments", {"experiment_ids": ["{x}"]})
    names = lambda answer: [d["name"] for d in answer.json().get("datasets", []) if d["name"] != "bad"]
    search = f"{base}/search"
    for body in ({}, {"experiment_ids": ["{y}"]}, {"experiment_ids": ["99999"]}, {"filter_string": "name = 'qa'"}, {"filter_string": "name LIKE 'q%'"}, {"filter_string": "tags.team = 'blue'"}, {"filter_string": "tags.team != 'blue'"}, {"filter_string": "created_time > 0"}, {"filter_string": "banana = 'x'"}, {"filter_string": "name"},
                 {"order_by": ["name"]}, {"order_by": ["name DESC"]}, {"order_by": ["created_time ASC"]}, {"order_by": ["banana"]}, {"max_results": 1, "order_by": ["name DESC"]}, {"max_results": -1}, {"page_token": "nonsense"}):
        both.post(search, body, compare=names)
    both("DELETE", f"{base}/{{d}}/records", {"dataset_record_ids": ["dr-none"]})
    both("DELETE", f"{base}/{{p}}")
    both("DELETE", f"{base}/{{p}}")
    both.get(f"{base}/{{p}}")


@part
def webhooks(both):
    hook = {"name": "hook", "url": "https://1.1.1.1/hook", "events": [{"entity": "MODEL_VERSION", "action": "CREATED"}]}
    both.post("webhooks", hook, keep={"w": "webhook.webhook_id"})
    both.post("webhooks", {**hook, "name": "second", "description": "d", "secret": "s3cret", "status": "DISABLED", "events": [{"entity": "REGISTERED_MODEL", "action": "CREATED"}, {"entity": "MODEL_VERSION_ALIAS", "action": "DELETED"}]}, keep={"w2": "webhook.webhook_id"})
    for bad in ({"name": ""}, {"name": None}, {"url": ""}, {"url": "ftp://1.1.1.1/x"}, {"url": "http://1.1.1.1/x"}, {"url": "https://localhost/x"}, {"url": "https://127.0.0.1/x"}, {"url": "https://10.0.0.1/x"}, {"url": "nonsense"}, {"events": []}, {"events": [{"entity": "MODEL_VERSION"}]}, {"events": [{"entity": "BANANA", "action": "CREATED"}]},
                {"events": [{"entity": "REGISTERED_MODEL", "action": "DELETED"}]}, {"status": "BANANA"}, {"name": "x" * 300}):
        both.post("webhooks", {**hook, **bad})
    both.get("webhooks/{w}")
    both.get("webhooks/{w2}")
    both.get("webhooks/none")
    listed = lambda answer: sorted({w["name"] for w in answer.json().get("webhooks", [])})
    both.get("webhooks", compare=listed)
    both.get("webhooks", {"max_results": 1}, keep={"token": "next_page_token"}, compare=lambda a: len(listed(a)))
    both.get("webhooks", {"max_results": 1, "page_token": "{token}"}, compare=lambda a: len(listed(a)))
    for most in (0, -1, 1001, "x"):
        both.get("webhooks", {"max_results": most}, compare=listed)
    both("PATCH", "webhooks/{w}", {"description": "new", "status": "DISABLED"})
    both("PATCH", "webhooks/{w}", {"events": [{"entity": "REGISTERED_MODEL", "action": "CREATED"}], "url": "https://1.1.1.1/other"})
    both("PATCH", "webhooks/{w}", {"url": "ftp://x"})
    both("PATCH", "webhooks/{w}", {})
    both("PATCH", "webhooks/none", {"description": "new"})
    both.get("webhooks/{w}")
    both.post("webhooks/none/test", {})
    both("DELETE", "webhooks/{w}")
    both("DELETE", "webhooks/{w}")
    both.get("webhooks/{w}")


@part
def odd_requests(both):
    both.get("/health")
    both.get("/version")
    both.get("/api/3.0/mlflow/server-info")
    both.get("/ajax-api/3.0/mlflow/server-info")
    unknown = dict(why="an unknown route is said in JSON; clients read it as the same", ours=(404, "ENDPOINT_NOT_FOUND"))
    both.get("no/such/route", **unknown)
    both.post("no/such/route", {}, **unknown)
    both.get("runs/create", why="a wrong verb is an unknown route", ours=(404, "ENDPOINT_NOT_FOUND"))
    both("POST", "experiments/create", "{not json", headers={"Content-Type": "application/json"})
    both("POST", "experiments/create", "", headers={"Content-Type": "application/json"})
    both("POST", "experiments/create", '"{\\"name\\": \\"double\\"}"', headers={"Content-Type": "application/json"}, compare=lambda a: None)
    both("POST", "experiments/create", "name=x", headers={"Content-Type": "application/x-www-form-urlencoded"})
    both("POST", "experiments/create", '{"name": "plain"}', headers={"Content-Type": "text/plain"})
    both("POST", "experiments/create", '{"name": "charset"}', headers={"Content-Type": "application/json; charset=utf-8"}, compare=lambda a: None)
    both("POST", "experiments/create", "null", headers={"Content-Type": "application/json"})
    both("POST", "experiments/create", "[1]", headers={"Content-Type": "application/json"}, why="a list is no message; not a 500", ours=INVALID)
    both("POST", "experiments/create", "5", headers={"Content-Type": "application/json"}, why="a number is no message; not a 500", ours=INVALID)
    both.post("experiments/create", {"name": "extra", "unknown": {"a": [1]}}, compare=lambda a: None)
    both.post("experiments/create", {"name": "camel", "artifactLocation": "s3://a/b"}, keep={"camel": "experiment_id"}, compare=lambda a: None)
    both.get("experiments/get", {"experiment_id": "{camel}"})
    both.post("experiments/create", {"name": "both", "artifactLocation": "s3://a/b", "artifact_location": "s3://c"})
    both.post("experiments/search", {"maxResults": 3}, compare=lambda a: len(a.json()["experiments"]))
    both("POST", "/ajax-api/2.0/mlflow/experiments/create", {"name": "ajax"}, compare=lambda a: None)


def main():
    target, python = sys.argv[1], (sys.argv[2] if len(sys.argv) > 2 else sys.executable)
    only = set(filter(None, os.environ.get("PARTS", "").split(",")))
    started = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            genuine_url = os.environ.get("GENUINE_URL")
            if not genuine_url:
                started.append(Genuine(python, folder))
                genuine_url = started[-1].url
            if target.startswith("http"):
                url = target
            else:
                started.append(Server(target, Path(folder) / "home"))
                url = started[-1].url
            both = Both(Side("genuine", genuine_url), Side("ours", url.rstrip("/")))
            for function in PARTS:
                if only and function.__name__ not in only:
                    continue
                both.part = function.__name__
                for side in both.sides:
                    side.known = {}
                try:
                    function(both)
                except Exception as error:
                    both.fail(function.__name__, f"broke off: {type(error).__name__}: {error}", "", "")
        finally:
            for server in started:
                server.stop()
    used = {why for _, why in both.explained}
    for pattern, _, why in EXPLAINED:
        if not only and why not in used:
            both.fail(pattern, f"explains nothing: {why}", "", "")
    reasons = {}
    for _, why in both.explained:
        reasons[why] = reasons.get(why, 0) + 1
    for why, count in reasons.items():
        print(f"explained ({count}): {why}")
    print(f"{both.passed} passed, {both.failed} failed")
    sys.exit(1 if both.failed else 0)


main()
