"""The tracker "mlflow" of the catalogue: all that is MLflow's, its names and its words, is in this folder."""
