#!/bin/bash
# Many machines that see one folder of results, or a bucket. The same line on each of them:
#   HEAD=node0 MACHINES=4 bash benchmarks/launch/torchrun-machines.sh \
#     'zigzag(steps=50)' --model sdxl --prompts drawbench --seeds 0-3 --results s3://bucket/drawbench
# HEAD is the first machine, by the name that it has itself; where it is an address that its name
# does not resolve to, also PET_RDZV_CONF=is_host=1 there, and is_host=0 on the others.
# MACHINES=1:4 starts with one, and takes in up to three more while it runs. A machine may go and
# come back; HEAD must stay. What is complete is kept, so a restart costs the shards in hand.
set -euo pipefail
: "${HEAD:?the name or address of the first machine}" "${MACHINES:?how many machines, 4 or 1:4}"
# Without this, a second agent that joins under torch 2.14 waits for ever: the agents and their
# processes share one connection to the store, in which the one's wait holds up the other.
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
trap '' USR1 # torchrun would end at this signal; a process of the harness prints its status
exec torchrun --nnodes="$MACHINES" --nproc-per-node="${PROCESSES:-auto}" --max-restarts=3 \
  --rdzv-id="${JOB:-harness}" --rdzv-backend=c10d --rdzv-endpoint="$HEAD:${PORT:-29400}" \
  -m harness generate "$@"
