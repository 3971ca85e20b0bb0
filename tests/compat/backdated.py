"""Run a service as if now were then: `python backdated.py MODULE SECONDS`, which is how much its clock is off."""

import runpy
import sys
import time

if __name__ == "__main__":
    module, offset, clock = sys.argv[1], float(sys.argv[2]), time.time
    # Before anything of the service is imported, since its parts take the clock over as they are defined.
    time.time = lambda: clock() + offset
    runpy.run_module(module, run_name="__main__")
