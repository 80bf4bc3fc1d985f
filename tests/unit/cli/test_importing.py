"""What must not be loaded before a command says how."""

import subprocess
import sys


def test_govctl_does_not_load_the_metrics_before_up_says_where_they_are_shared():
    # prometheus_client decides when it is loaded whether counters are shared between processes.
    probe = "import sys, gateway.cli; print('prometheus_client' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "False"
