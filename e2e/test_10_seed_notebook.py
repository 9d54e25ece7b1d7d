"""The published "Sync overview" notebook, step by step, by the acceptance script that lives beside the project.

The script is not ours and not in the repository; it is run unchanged.
"""
import os
import subprocess
import sys

import harness as h


@h.test
def the_seed_notebook_runs_unchanged():
    script = os.path.join(os.environ.get("HAVERSACK_SHARED", ""), "acceptance", "seed_notebook.py")
    if not os.path.isfile(script):
        raise h.Skipped("seed_notebook.py is not beside the checkout (../shared/acceptance)")
    server = h.Server()
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=400, cwd=h.folder(),
        env={**os.environ, "BASE_URL": server.https + "/arcgis", "PORTAL_USER": server.USER, "PORTAL_PASSWORD": server.PASSWORD},
    )
    lines = [line for line in done.stdout.splitlines() if line[:4].strip() in ("ok", "FAIL", "SKIP")]
    for line in lines:
        if line.startswith("ok"):
            h.ok("notebook" + line[4:])
        elif line.startswith("SKIP"):
            h.skip("notebook", line[5:])
    if done.returncode:
        raise AssertionError((done.stdout + done.stderr)[-3000:])
    h.check("it says PASS", "PASS seed_notebook" in done.stdout)


h.run()
