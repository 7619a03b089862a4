#!/usr/bin/env bash
# A Slurm of this machine alone, for tests: tools/slurm_here.sh start|stop DIR
# Its clients need SLURM_CONF=DIR/slurm.conf. Partitions: main, and high, which preempts it.
set -euo pipefail
[[ $# -eq 2 && "$1" =~ ^(start|stop)$ ]] || { echo "usage: $0 start|stop DIR" >&2; exit 2; }
mkdir -p "$2"
D=$(cd "$2" && pwd)
export SLURM_CONF="$D/slurm.conf" PATH="$PATH:/usr/sbin"

stop() {
  scancel --user="$(id -un)" 2> /dev/null || true
  for _ in $(seq 150); do  # the tasks end while there is someone to end them
    [[ -z "$(squeue -h 2> /dev/null)" ]] && break
    sleep 0.1
  done
  for name in slurmd slurmctld munged; do
    [[ -f "$D/$name.pid" ]] && kill "$(cat "$D/$name.pid")" 2> /dev/null || true
  done
}
if [[ "$1" == stop ]]; then stop; exit; fi

for program in slurmctld slurmd munged sinfo; do
  command -v "$program" > /dev/null || { echo "error: there is no $program; apt-get install" \
    "--no-install-recommends slurmctld slurmd slurm-client munge" >&2; exit 2; }
done
mkdir -p "$D"/{state,spool,log}
HOST=$(hostname -s)
MEMORY=$(slurmd -C | grep -o 'RealMemory=[0-9]*')
PORT=$((20000 + RANDOM % 10000))
cat > "$SLURM_CONF" << EOF
ClusterName=test
SlurmctldHost=$HOST(127.0.0.1)
SlurmctldPort=$PORT
SlurmdPort=$((PORT + 1))
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
StateSaveLocation=$D/state
SlurmdSpoolDir=$D/spool
SlurmctldPidFile=$D/slurmctld.pid
SlurmdPidFile=$D/slurmd.pid
SlurmctldLogFile=$D/log/slurmctld.log
SlurmdLogFile=$D/log/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
KillWait=5
MinJobAge=300
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SchedulerParameters=bf_interval=1,sched_interval=1,sched_min_interval=100000
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$D/munge.socket
NodeName=$HOST NodeAddr=127.0.0.1 CPUs=$(nproc) $MEMORY State=UNKNOWN
PartitionName=main Nodes=$HOST Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=high Nodes=$HOST MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
EOF
dd if=/dev/urandom of="$D/munge.key" bs=1024 count=1 status=none
chmod 400 "$D/munge.key"
munged --force --socket="$D/munge.socket" --key-file="$D/munge.key" --pid-file="$D/munged.pid" \
  --log-file="$D/log/munged.log" --seed-file="$D/munged.seed"
slurmctld -c
slurmd -c
for _ in $(seq 200); do
  [[ "$(sinfo -h -p main -o %t 2> /dev/null)" == idle ]] && exit
  sleep 0.1
done
echo "error: Slurm did not start; see $D/log" >&2
stop
exit 1
