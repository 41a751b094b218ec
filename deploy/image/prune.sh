#!/bin/sh
# Removes what the server never loads from the packages of an environment: tests, type stubs, headers, static libraries,
# and the parts of ONNX Runtime that prepare models. Usage: prune.sh ENVIRONMENT
set -eu
cd "$1"/lib/python3.*/site-packages
find . -type d \( -name tests -o -name include \) -prune -exec rm -rf {} +
find . -type f \( -name '*.pyi' -o -name '*.h' -o -name '*.hpp' -o -name '*.a' \) -delete
rm -rf onnxruntime/transformers onnxruntime/quantization onnxruntime/tools onnxruntime/datasets
