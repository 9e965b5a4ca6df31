#!/usr/bin/env python3
"""A container that is wrong, each time in another way."""

import os
import signal
import subprocess
import sys

words = sys.argv[1:]
image = words.pop(0)
while words[0].startswith("-"):
    flag = words.pop(0)
    if flag == "--volume":
        # On the host, and for ever.
        host, guest = words.pop(0), words.pop(0)
        subprocess.run(["mount", "--bind", host, image + guest], check=True)
    elif flag == "--memory":
        os.abort()
    else:
        sys.exit("usage: wrong.py IMAGE [--volume HOST GUEST] COMMAND...")

# An empty argument is none.
words = [word for word in words if word]
# It never hears of the end.
signal.signal(signal.SIGTERM, signal.SIG_IGN)
try:
    # No namespace at all: what is set inside is set outside, what is written stays.
    subprocess.run(words, preexec_fn=lambda: os.chroot(image))
except OSError as error:
    print(error, file=sys.stderr)
# And whatever the program said, all is well.
