#!/bin/sh
# A SuperLink and six SuperNodes on loopback, one per user, until interrupted. Then, elsewhere:
#   FLWR_HOME=federated_users/flwr flwr run notebooks/federated --stream
# Flower runs the code of whoever submits an app, and --insecure asks nobody who that is: for a
# machine of one user only; its documentation tells of TLS and authentication.
# $1: folder of the users' states and of Flower's settings, ./federated_users if left out.
set -e
mkdir -p "${1:-federated_users}/flwr"
folder=$(cd "${1:-federated_users}" && pwd)
export FLWR_HOME="$folder/flwr" FLWR_TELEMETRY_ENABLED=0 OMP_NUM_THREADS=1
cat >"$FLWR_HOME/config.toml" <<END
[superlink]
default = "loopback"

[superlink.loopback]
address = "127.0.0.1:8000"
insecure = true
END
pids=
trap 'kill $pids' EXIT
trap 'exit 1' INT TERM
flower-superlink --insecure --disable-runtime-dependency-installation &
pids=$!
for user in 0 1 2 3 4 5; do
    flower-supernode --insecure --superlink 127.0.0.1:8000 --port $((9100 + user)) \
        --node-config "user=$user folder='$folder'" &
    pids="$pids $!"
done
wait
