"""Makes an ONNX copy of a scikit-learn model beside it, and proves that the copy answers as the model does.

    python -c PROGRAM FOLDER

FOLDER is an MLflow model. Prints one line of JSON: `library` (the runtime's shared library), `model` (the copy, if there is one), `rows` and
`difference` (how many rows were compared, and the greatest relative difference), `why` (why there is no copy). A model that is ONNX already
is its own copy.
"""

import glob
import json
import os
import sys

ROWS = 256
# Of numbers: |theirs - ours| <= TOLERANCE * max(1, |theirs|). Labels must be equal.
TOLERANCE = 1e-5


def sample(frame, numpy, pandas):
    """The input example, and rows made from it: numbers moved about, texts drawn from those that there are, some numbers missing."""
    random = numpy.random.default_rng(1)
    columns = {}
    for name in frame.columns:
        values = frame[name].to_numpy()
        drawn = values[random.integers(0, len(values), ROWS)]
        if frame[name].dtype.kind in "fiu":
            spread = float(numpy.nanstd(values.astype(float))) or max(abs(float(numpy.nanmean(values.astype(float)))), 1.0)
            moved = drawn.astype(float) + random.normal(0, spread, ROWS)
            drawn = moved if frame[name].dtype.kind == "f" else numpy.rint(moved)
            if frame[name].dtype.kind in "iu":
                drawn = drawn.astype(frame[name].dtype)
        columns[name] = drawn
    return pandas.concat([frame, pandas.DataFrame(columns)], ignore_index=True)


def compare(theirs, ours, numpy):
    """The greatest relative difference; None for labels that are not the same."""
    theirs, ours = numpy.asarray(theirs).reshape(-1), numpy.asarray(ours).reshape(-1)
    if theirs.shape != ours.shape:
        return None
    if theirs.dtype.kind != "f":
        return 0.0 if (theirs.astype(str) == ours.astype(str)).all() else None
    theirs, ours = theirs.astype(float), ours.astype(float)
    if (numpy.isnan(theirs) != numpy.isnan(ours)).any():
        return None
    difference = numpy.abs(theirs - ours) / numpy.maximum(1.0, numpy.abs(theirs))
    return float(numpy.nanmax(difference)) if len(difference) else 0.0


def selects_columns(model):
    """Whether a column transformer in it picks columns by their names."""
    steps = [step for _, step in getattr(model, "steps", [])] or [model]
    return any(type(step).__name__ == "ColumnTransformer" for step in steps)


def feeds(frame, session, numpy):
    """What the copy takes: one matrix, or a column each."""
    types = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(int64)": "int64", "tensor(bool)": "bool"}
    inputs = session.get_inputs()
    if len(inputs) == 1 and inputs[0].name == "X":
        return {"X": frame.to_numpy(dtype=types[inputs[0].type])}
    as_typed = lambda one: frame[one.name].astype(str).to_numpy(dtype=object) if one.type == "tensor(string)" else frame[one.name].to_numpy(dtype=types[one.type])
    return {one.name: as_typed(one).reshape(-1, 1) for one in inputs}


def main():
    folder = sys.argv[1]
    told = {"library": None, "model": None, "rows": 0, "difference": None, "why": None}
    try:
        told.update(convert(folder))
    except ImportError as error:
        told["why"] = f"{error.name} is not installed in the project's environment"
    except Exception as error:  # whatever is wrong, the model is served by a worker
        told["why"] = f"{type(error).__name__}: {error}"
    print("\n" + json.dumps(told))


def convert(folder):
    import onnxruntime

    found = sorted(glob.glob(os.path.join(os.path.dirname(onnxruntime.__file__), "capi", "libonnxruntime.[sd]*")))
    if not found:
        return {"why": "the onnxruntime package has no shared library"}
    library = {"library": found[0]}
    import yaml

    with open(os.path.join(folder, "MLmodel")) as file:
        flavors = yaml.safe_load(file)["flavors"]
    if "onnx" in flavors:
        return {**library, "model": os.path.join(folder, flavors["onnx"]["data"])}
    if "sklearn" not in flavors:
        return {**library, "why": f"only scikit-learn models are converted; this is {', '.join(sorted(set(flavors) - {'python_function'}))}"}
    if flavors.get("python_function", {}).get("predict_fn", "predict") != "predict":
        return {**library, "why": "the model answers by another method than predict"}
    import mlflow.models
    import mlflow.sklearn
    import numpy
    import pandas
    import skl2onnx
    from skl2onnx.common import data_types

    model = mlflow.sklearn.load_model(folder)
    example = mlflow.models.Model.load(folder).load_input_example(folder)
    if not isinstance(example, pandas.DataFrame) or example.empty:
        return {**library, "why": "it has no table as its input example to be compared on; log it with input_example="}
    rows = sample(example, numpy, pandas)
    theirs = model.predict(rows)
    by_column = selects_columns(model)
    texts = [name for name in rows.columns if rows[name].dtype.kind not in "fiub"]
    if texts and not by_column:
        return {**library, "why": f"the column {texts[0]} is text, and no column transformer says what becomes of it"}
    differences = []
    for real in (data_types.FloatTensorType, data_types.DoubleTensorType):
        if by_column:
            whole = lambda name: data_types.Int64TensorType if rows[name].dtype.kind in "iu" else real
            kind = lambda name: data_types.StringTensorType if name in texts else whole(name)
            types = [(name, kind(name)([None, 1])) for name in rows.columns]
        else:
            types = [("X", real([None, len(rows.columns)]))]
        options = {"zipmap": False} if hasattr(model, "classes_") else None
        try:
            copy = skl2onnx.convert_sklearn(model, initial_types=types, options=options and {id(model): options})
            session = onnxruntime.InferenceSession(copy.SerializeToString(), providers=["CPUExecutionProvider"])
            ours = session.run(None, feeds(rows, session, numpy))[0]
        except Exception as error:  # the other type of number may do
            differences.append(f"{real.__name__}: {type(error).__name__}: {str(error).splitlines()[0][:160]}")
            continue
        difference = compare(theirs, ours, numpy)
        if difference is not None and difference <= TOLERANCE:
            path = os.path.join(folder, "trimtab.onnx")
            with open(path + ".part", "wb") as file:
                file.write(copy.SerializeToString())
            os.replace(path + ".part", path)
            return {**library, "model": path, "rows": len(rows), "difference": difference}
        differences.append(f"{real.__name__}: " + ("other labels" if difference is None else f"a relative difference of {difference:.2g}"))
    return {**library, "rows": len(rows), "why": f"its ONNX copy does not answer as it does ({'; '.join(differences)})"[:500]}


main()
