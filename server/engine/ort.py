"""ONNX Runtime, told to keep to itself; the engine imports it from here and nowhere else."""

import os

# Its Linux wheels report to Microsoft unless told not to, and only what is set before the import is heard in time.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime

__all__ = ["onnxruntime"]
