"""Trains the hourly demand model and registers it."""

import argparse

import mlflow
import pandas as pd
from mlflow.models import infer_signature
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.metrics import mean_absolute_error

FEATURES = ["hr", "weekday", "workingday", "holiday", "weather_code", "temp", "hum", "windspeed"]
LABEL = "bikers"

parser = argparse.ArgumentParser()
parser.add_argument("--data", required=True)
parser.add_argument("--max-iter", type=int, default=100)
args = parser.parse_args()

rows = pd.read_parquet(args.data)
X, y = rows[FEATURES].astype("float64"), rows[LABEL]

with mlflow.start_run():
    model = HistGradientBoostingRegressor(loss="poisson", max_iter=args.max_iter, learning_rate=0.1, random_state=0)
    model.fit(X, y)
    mlflow.log_params({"max_iter": args.max_iter, "learning_rate": 0.1, "loss": "poisson", "rows": len(rows)})
    mlflow.log_metric("train_mae", mean_absolute_error(y, model.predict(X)))
    for month, part in rows.assign(error=(y - model.predict(X)).abs()).groupby(rows["ts"].dt.month):
        mlflow.log_metric("train_mae_by_month", part["error"].mean(), step=int(month))
    mlflow.sklearn.log_model(
        model,
        name="model",
        registered_model_name="demand",
        signature=infer_signature(X, y.astype("float64")),
        serialization_format="cloudpickle",  # the client's default format refuses this kind of model
        pip_requirements=["scikit-learn", "pandas"],
    )
