"""What people call samplers and number formats elsewhere, in our words."""

from __future__ import annotations

import re

from methods.errors import unknown_name

DTYPES = ("auto", "float32", "float16", "bfloat16")
SCHEDULERS = ("ddim", "euler", "dpmpp")

_DTYPES = {"fp32": "float32", "f32": "float32", "full": "float32", "fp16": "float16", "f16": "float16"}
_DTYPES |= {"half": "float16", "bf16": "bfloat16"}
_SCHEDULERS = {
    "keuler": "euler",
    "eulerdiscrete": "euler",
    "eulerdiscretescheduler": "euler",
    "ddimscheduler": "ddim",
    "dpmpp": "dpmpp",
    "dpmpp2m": "dpmpp",
    "kdpmpp2m": "dpmpp",
    "dpmsolver": "dpmpp",
    "dpmsolvermultistep": "dpmpp",
    "dpmsolvermultistepscheduler": "dpmpp",
}
"""Without case, spaces and signs; only names of the very same sampler."""


def dtype_name(given: str) -> str:
    """`fp16`, `torch.bfloat16` and the like as ours. Raises UsageError for an unknown one."""
    plain = given.strip().lower().removeprefix("torch.")
    name = _DTYPES.get(plain, plain)
    if name not in DTYPES:
        raise unknown_name("dtype", given, DTYPES)
    return name


def scheduler_name(given: str) -> str:
    """`DPM++ 2M`, `k_euler` and the like as ours. Raises UsageError for an unknown one."""
    plain = re.sub(r"[\s_.-]", "", given.lower().replace("++", "pp"))
    name = _SCHEDULERS.get(plain, plain)
    if name not in SCHEDULERS:
        raise unknown_name("scheduler", given, SCHEDULERS)
    return name
