"""Imported last by a fork server: what every run would find out for itself, and all of them alike.

The state of the code, which is recorded with each run, is that of the moment when the server had imported it: the code
that its runs are made of.
"""

import contextlib
import subprocess

from transformers.conversion_mapping import get_checkpoint_conversion_mapping

from harness.provenance import code_state

with contextlib.suppress(subprocess.TimeoutExpired):  # each run then asks again, and fails where it is as slow
    code_state()
get_checkpoint_conversion_mapping("qwen2")  # patterns of all architectures, compiled at the first question
