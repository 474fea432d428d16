"""What holds for every test: the laws are tried without a clock, for the machines that run them are shared.

One commit gets one verdict: the examples of a law are drawn from its own source. `make explore` draws others, and more.
"""

import os

from hypothesis import HealthCheck, settings

SHARED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("check", SHARED, derandomize=True)
settings.register_profile("explore", SHARED, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "check"))
