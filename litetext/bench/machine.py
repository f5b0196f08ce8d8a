"""The machine that something was measured on: without it a number of seconds says nothing."""

import os
import platform
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

_LIBRARIES = ("torch", "numpy", "scipy", "tokenizers", "transformers", "onnxruntime", "pycocotools", "lightning")
_SETS = ("avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16", "asimd", "sve")
"""Instruction sets that decide how fast matrix products are, as Linux names them."""
_LOWERED = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS", "ORT_DISABLE_AVX512")
"""Variables that keep libraries from using what the processor has."""


def machine(threads: int | None = None) -> dict[str, Any]:
    """What a measurement here depends on; call it before measuring, so that the load is that of others.

    Args:
        threads: CPU threads of the measurement; None for those that torch uses.

    Returns:
        `processor`; `kind`, the short name that results of like processors share; `instruction_sets`; `cores` that
        this process may use; `threads`; `load`, processes that ran or waited in the last minute, None where the system
        does not say; `lowered`, variables that keep libraries below the processor; `device`, the accelerator or None;
        `system`; `versions`; `date` in UTC.
    """
    import torch

    sets = _instruction_sets()
    return {
        "processor": _processor(),
        "kind": kind(sets),
        "instruction_sets": sets,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": threads or torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "lowered": {name: os.environ[name] for name in _LOWERED if name in os.environ},
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "versions": {"litetext": _version("litetext"), **{name: _version(name) for name in _LIBRARIES}},
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }


def kind(instruction_sets: list[str]) -> str:
    """The name under which like processors are compared.

    Args:
        instruction_sets: Names as Linux gives them.

    Returns:
        One of amx, avx512-bf16, avx512-vnni, avx512, avx2-vnni, avx2, arm64, other: the best that matrix products can
        use.
    """
    has = set(instruction_sets)
    if {"amx_int8", "amx_bf16"} <= has:
        return "amx"
    if "avx512f" in has:
        return "avx512-bf16" if "avx512_bf16" in has else "avx512-vnni" if "avx512_vnni" in has else "avx512"
    if "avx2" in has:
        return "avx2-vnni" if "avx_vnni" in has else "avx2"
    return "arm64" if "asimd" in has or platform.machine().lower() in ("arm64", "aarch64") else "other"


def describe(facts: dict[str, Any]) -> str:
    """One line about a machine for people.

    Args:
        facts: What `machine` returned.
    """
    load = "load not known" if facts["load"] is None else f"load {facts['load']:.1f} at the start"
    lowered = "".join(f", {name}={value}" for name, value in facts["lowered"].items())
    threads = "1 thread" if facts["threads"] == 1 else f"{facts['threads']} threads"
    return (
        f"{facts['processor']} ({facts['kind']}), {threads} of {facts['cores']} cores, {load}{lowered}, "
        f"torch {facts['versions']['torch']}"
    )


def _instruction_sets() -> list[str]:
    flags = _cpuinfo("flags", "Features").split()
    if flags:
        return [name for name in _SETS if name in flags]
    import torch  # elsewhere only what torch uses is known

    capability = torch.backends.cpu.get_cpu_capability().lower()
    return {"avx2": ["avx2", "fma"], "avx512": ["avx2", "fma", "avx512f"]}.get(capability, [])


def _processor() -> str:
    return _cpuinfo("model name", "CPU part", "Model") or platform.processor() or platform.machine()


def _cpuinfo(*names: str) -> str:
    """The first of these fields of Linux's /proc/cpuinfo, empty where there is none."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in reversed(lines))}
    return next((fields[name] for name in names if fields.get(name)), "")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
