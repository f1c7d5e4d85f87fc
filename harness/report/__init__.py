"""Writes `reports/<name>/` from a journal: tables, figures, one page. Knows neither torch nor MLflow."""

from harness.report.write import headline, report_study, results_of, write, write_latex

__all__ = ["headline", "report_study", "results_of", "write", "write_latex"]
