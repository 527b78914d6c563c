#!/bin/sh
# Once the cause of dead letters is mended (their reasons say what it was): send them back, and see what comes of it.
#
#     sh tests/faults/runbooks/redrive.sh HOME people-requests
#
# What cannot be answered still, is back among the dead letters after that, with its reason: look at the last list.
set -eu
home=$1 queue=$2
consumidor dlq list "$queue" --home "$home"
consumidor dlq redrive "$queue" --home "$home"
python -m tests.faults.runbooks.drain "$home" 120
consumidor dlq list "$queue" --home "$home"
