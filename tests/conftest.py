"""What holds for all tests, and the browser that some need.

Where there is none, they are skipped, and one line says so; where ``FLOWCTL_BROWSER_REQUIRED`` is 1, that is
a failure.
"""

import os
import shutil
import signal

import pytest

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # A shell starts what it puts into the background so, and the processes of the tests would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

NO_BROWSER = "there is no chromium here (Debian: apt-get install chromium)"


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of the browser."""
    found = shutil.which("chromium")
    if found is not None:
        return found
    if os.environ.get("FLOWCTL_BROWSER_REQUIRED") == "1":
        pytest.fail(NO_BROWSER)
    pytest.skip(NO_BROWSER)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was not tested, in whatever process that was found out."""
    skipped = terminalreporter.stats.get("skipped", ())
    if any(NO_BROWSER in str(report.longrepr) for report in skipped):
        terminalreporter.write_line(f"the dashboard was not tested in a browser: {NO_BROWSER}")
