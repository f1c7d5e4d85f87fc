"""Writes `reports/<name>/`: tables, pictures, one page. Knows neither torch nor MLflow."""

from harness.report.write import findings_of, report_study, write

__all__ = ["findings_of", "report_study", "write"]
