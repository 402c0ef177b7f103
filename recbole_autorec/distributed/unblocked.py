"""Imported last by the fork server of `comparison`: Ctrl-C and SIGTERM, blocked so far, reach its children again."""

import signal

for number in (signal.SIGINT, signal.SIGTERM):
    handler = signal.signal(number, signal.SIG_IGN)  # drops one that has arrived: it is for the parent process
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    signal.signal(number, handler or signal.SIG_DFL)
