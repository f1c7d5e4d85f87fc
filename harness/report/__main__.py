"""`python -m harness.report.write studies/depth`."""

import sys

from harness.__main__ import one_line, report_app

if __name__ == "__main__":
    sys.exit(one_line(report_app, sys.argv[1:]))
