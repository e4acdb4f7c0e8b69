#!/bin/bash
# One machine, a process for each of its GPUs (or cores):
#   bash benchmarks/launch/torchrun.sh 'zigzag(steps=50)' --model sdxl --prompts drawbench --seeds 0-3
# The arguments are those of `harness generate`. Run it again to continue.
set -euo pipefail
trap '' USR1 # torchrun would end at this signal; a process of the harness prints its status
exec torchrun --standalone --nproc-per-node="${PROCESSES:-auto}" -m harness generate "$@"
