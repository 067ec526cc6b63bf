"""What holds for all tests."""

import signal

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # A shell starts what it puts into the background so, and the processes of the tests would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
