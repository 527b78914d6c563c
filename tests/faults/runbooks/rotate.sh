#!/bin/sh
# New keys, nothing stopped: the issuer's, which signs tokens, and Base A's data key, which seals new rows.
#
#     sh tests/faults/runbooks/rotate.sh HOME
#
# Tokens of the old key are good until they end, an hour at most, and rows sealed with the old data key open as before.
# After a leak rotate the token key twice, an hour apart: the key that leaked may have been the next one.
set -eu
home=$1
consumidor keys rotate token --home "$home"
consumidor keys rotate data --home "$home"
consumidor token --client acme --home "$home" >/dev/null
consumidor audit verify --home "$home"
