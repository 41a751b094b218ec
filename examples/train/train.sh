#!/usr/bin/env bash
# Train a model on a folder of scores, serve it and generate a piece: examples/train/train.sh FOLDER NAME [OPTION...]
#
# Run `make setup` first. The training can take hours; if it is interrupted, the same command continues it. OPTIONs go to
# the training, for example `--set training.epochs=5` for a quick trial.
set -euo pipefail
folder=$1
name=$2
shift 2
port=${PORT:-50051}
PATH=$PWD/.venv/bin:$PATH

# Read the scores, train, export the bundle models/NAME and evaluate it.
python -m training pipeline "$folder" --name "$name" "$@"

python -m server --models "models/$name" --port "$port" --metrics-port 0 &
trap 'kill $!; wait $! || true' EXIT
fantasia --server "localhost:$port" --wait generate --bars 8 --seed 7 -o "$name.mid"
