"""A model worker: loads one MLflow model and answers frames (4 bytes of length, big-endian, then JSON) on stdin and stdout.

What libraries print goes to the log, not between the frames. The end of stdin ends the worker, so none outlives its server.
"""

import json
import math
import os
import struct
import sys

frames_out = os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)
frames_in = os.fdopen(os.dup(0), "rb")


def read_frame():
    head = frames_in.read(4)
    if len(head) < 4:
        return None
    (length,) = struct.unpack(">I", head)
    body = frames_in.read(length)
    return json.loads(body, object_hook=number) if len(body) == length else None


def number(value):
    """NaN and the infinities come as {"number": "NaN"}."""
    return float(value["number"]) if set(value) == {"number"} and isinstance(value["number"], str) else value


def write_frame(value):
    body = json.dumps(value, allow_nan=False).encode()
    frames_out.write(struct.pack(">I", len(body)) + body)
    frames_out.flush()


def column(values):
    """Nulls among numbers are NaN, so that a column of numbers stays one."""
    present = [value for value in values if value is not None]
    if len(present) < len(values) and all(isinstance(value, (int, float)) for value in present):
        return [math.nan if value is None else float(value) for value in values]
    return values


def fit_to_signature(frame, model):
    """Whole numbers that JSON made of floats, and floats of whole numbers, become what the signature says."""
    schema = model.metadata.get_input_schema()
    if schema is not None and schema.is_tensor_spec() and not schema.has_input_names():
        tensor = schema.inputs[0]
        table = frame.to_numpy(dtype=tensor.type)
        return table[:, 0] if len(tensor.shape) == 1 else table
    if schema is None or not schema.has_input_names():
        return frame
    for spec in schema.inputs:
        name, wanted = spec.name, str(spec.type)
        if name not in frame:
            continue
        kind = frame[name].dtype.kind
        if wanted == "DataType.double" and kind in "iub":
            frame[name] = frame[name].astype("float64")
        elif wanted == "DataType.float":
            frame[name] = frame[name].astype("float32")
        elif wanted == "DataType.integer" and kind in "ib":
            frame[name] = frame[name].astype("int32")
        elif wanted == "DataType.long" and kind == "f" and (frame[name] % 1 == 0).all():
            frame[name] = frame[name].astype("int64")
        elif wanted == "DataType.boolean" and kind in "iu":
            frame[name] = frame[name].astype("bool")
    return frame


def predict(model, rows, params):
    """MLflow lets params that the signature does not know fall with a warning that the caller never sees."""
    if not params:
        return model.predict(rows)
    schema = model.metadata.get_params_schema()
    known = [param.name for param in schema.params] if schema is not None else []
    unknown = ", ".join(sorted(set(params) - set(known)))
    if unknown:
        raise ValueError(f"no param {unknown}; the model's signature has {', '.join(known) or 'none'}")
    return model.predict(rows, params=params)


def warm_up(model, folder):
    """A first answer imports and compiles what only answers need: the example that the model was logged with, if there is one, pays for that."""
    try:
        example = model.metadata.load_input_example(folder)
        if example is not None:
            model.predict(example)
    except Exception as error:  # an example proves nothing of the model
        print(f"the model's example was not answered: {type(error).__name__}: {error}", file=sys.stderr, flush=True)


def plain(value):
    """A value as JSON has it."""
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return {"number": str(value)}
    return value if isinstance(value, (bool, int, float, str)) or value is None else str(value)


def said(answer, pandas):
    """`values`, one a row; or `rows` of several values, with the `names` that a table or dicts give them."""
    names = None
    if isinstance(answer, pandas.DataFrame):
        names = [str(name) for name in answer.columns]
        answer = list(zip(*(answer.iloc[:, place] for place in range(len(names))))) if names else []
    elif len(answer) and all(isinstance(row, dict) for row in answer):
        names = list(answer[0])
        if any(list(row) != names for row in answer):
            raise ValueError("the model answers dicts of different keys")
        names, answer = [str(name) for name in names], [list(row.values()) for row in answer]
    several = lambda row: isinstance(row, (list, tuple)) or getattr(row, "ndim", 0) > 0  # noqa: E731
    rows = [list(row) if several(row) else [row] for row in answer]
    if any(several(value) or isinstance(value, dict) for row in rows for value in row):
        raise ValueError("the model answers lists within the values of a row, which are not served")
    rows = [[plain(value) for value in row] for row in rows]
    if all(len(row) == 1 for row in rows):
        return {"values": [row[0] for row in rows]}
    if any(len(row) != len(rows[0]) for row in rows):
        raise ValueError("the model answers another number of values for another row")
    return {"rows": rows, "names": names}


def main():
    import pandas

    try:
        import mlflow.pyfunc
        import sklearn  # noqa: F401  (most models need it, and the spare worker has the time)
        import sklearn.ensemble  # noqa: F401
    except ImportError:
        pass
    model = None
    write_frame({"ready": True})
    while (request := read_frame()) is not None:
        try:
            if "load" in request:
                model = mlflow.pyfunc.load_model(request["load"])
                warm_up(model, request["load"])
                write_frame({"values": []})
                continue
            columns, params = request["columns"]
            frame = pandas.DataFrame({name: column(values) for name, values in columns.items()})
            answer = predict(model, fit_to_signature(frame, model), params)
            found = said(answer, pandas)
            count = len(found.get("values") or found.get("rows") or [])
            if count != len(frame):
                raise ValueError(f"the model answers {count} values for {len(frame)} rows")
            write_frame(found)
        except Exception as error:  # whatever a model raises is the answer, and the worker lives on
            write_frame({"error": f"{type(error).__name__}: {error}"})


main()
