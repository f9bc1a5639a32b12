#!/bin/bash
# Makes the reference captures in this folder: what util-linux 2.38.1 `blkzone` and libzbd 2.0.4 `zbd`
# print on a real kernel (6.12) with null_blk and scsi_debug, every zone condition among the zones.
# Run it as root on a machine that may load those modules, with a writable folder as $1:
#
#     ./capture.sh OUT
#
# Each disk gets NAME.blkzone, NAME.zbd (reports) and NAME.transcript (commands, output, exit codes).
# `state` prepares the disk; the tests bring an emulated disk into the same state and compare bytes.
set -u
out=${1:-/job}
modprobe null_blk nr_devices=0

block() { # block DEVICE ZONE_START_MIB COUNT_4K [SKIP_4K]
  dd if=/dev/zero of="$1" bs=4k seek=$(($2 * 256 + ${4:-0})) count="$3" oflag=direct conv=notrunc status=none
}

run() { # run NAME COMMAND...: one entry of the transcript
  local name=$1 rc
  shift
  printf '$ %s\n' "$*" >>"$out/$name.transcript"
  "$@" >"$out/.o" 2>"$out/.e"
  rc=$?
  sed 's/^/1: /' "$out/.o" >>"$out/$name.transcript"
  [[ -s $out/.o && -n $(tail -c1 "$out/.o") ]] && echo '  (no newline)' >>"$out/$name.transcript"
  sed 's/^/2: /' "$out/.e" >>"$out/$name.transcript"
  echo "= $rc" >>"$out/$name.transcript"
  rm -f "$out/.o" "$out/.e"
}

null_blk() { # null_blk NUMBER SIZE_MIB ZONE_MIB CAPACITY_MIB CONVENTIONAL OPEN ACTIVE
  local d=/sys/kernel/config/nullb/nullb$1
  mkdir "$d"
  echo 1 >"$d/zoned"
  echo "$3" >"$d/zone_size"
  echo "$4" >"$d/zone_capacity"
  echo "$2" >"$d/size"
  echo "$5" >"$d/zone_nr_conv"
  echo 4096 >"$d/blocksize"
  echo 1 >"$d/memory_backed"
  echo "$6" >"$d/zone_max_open"
  echo "$7" >"$d/zone_max_active"
  echo 1 >"$d/power"
}

sector() { echo $(($1 * 8192)); } # first 512-byte sector of 4 MiB zone $1

state() { # state DEVICE FIRST: zones FIRST.. get every condition a healthy drive knows
  local dev=$1 z=$2
  block "$dev" $((4 * z)) 2                        # +0 implicitly open, 8 KiB (closed by hand below)
  blkzone close -o "$(sector "$z")" -c 1 "$dev"    #    -> closed
  blkzone open -o "$(sector $((z + 1)))" -c 1 "$dev" # +1 explicitly open, nothing written
  blkzone open -o "$(sector $((z + 2)))" -c 1 "$dev"
  block "$dev" $((4 * (z + 2))) 3                  # +2 explicitly open, 12 KiB
  block "$dev" $((4 * (z + 3))) "$3"               # +3 full, by writing to its capacity
  block "$dev" $((4 * (z + 4))) 3
  blkzone finish -o "$(sector $((z + 4)))" -c 1 "$dev" # +4 full, by FINISH behind 12 KiB
  blkzone finish -o "$(sector $((z + 5)))" -c 1 "$dev" # +5 full, by FINISH while empty
  block "$dev" $((4 * (z + 6))) 5                  # +6 implicitly open, 20 KiB
  block "$dev" $((4 * (z + 7))) 1
  blkzone reset -o "$(sector $((z + 7)))" -c 1 "$dev"  # +7 empty again
}

reports() { # reports NAME DEVICE
  blkzone report "$2" >"$out/$1.blkzone"
  zbd report -csv "$2" >"$out/$1.zbd"
}

ranges() { # ranges NAME DEVICE: what -o, -l, -c and -v mean
  local c
  for c in "report -o 0x4000 -c 2" "report -o 0x4001 -c 2" "report -o 16384 -l 8192" "report -o 16384 -l 8193" \
           "report -o 0x5fff -l 1" "report -o 16K -l 8K" "report -c 1" "report -l 1" "report -c 0 -o 0x1a000" \
           "report -l 0 -o 0x1a000" "report -o 0x1c000 -c 100" "report -v -c 2" \
           "report -o 0x20000" "report -o 1T" "report -c 1 -l 1" "report -c x" "report -o x" "report -o -1" "report -c 4294967296" \
           "capacity" "capacity -o 0x4000" "capacity -c 3" "capacity -l 1" "capacity -o 0x4001 -l 8193" "capacity -o 0x20000" "capacity -v -c 2" \
           "reset -o 1" "reset -o 0x4000 -l 1" "reset -o 0x4000 -l 8193" "reset -o 0x20000" "reset -o 0x22000" "reset -o 0x4000 -c 1 -l 1" \
           "open -o 0 -c 1" "close -o 0 -c 1" "finish -o 0 -c 1" "reset -o 0 -c 1" "open" "close" "finish" \
           "open -v -o 0x4000 -c 1" "close -v -o 0x4000 -l 8192" "finish -o 0x1e000 -c 100" "reset -o 0x1e000 -l 100M" "reset -v" "report"; do
    run "$1" blkzone $c "$2"
  done
}

# Two disks with a zone in every condition. READ_ONLY and OFFLINE come from configfs, as a sector number.
null_blk 0 64 4 4 2 0 0
state /dev/nullb0 2 1024
block /dev/nullb0 40 3
sector 10 >/sys/kernel/config/nullb/nullb0/zone_readonly
sector 11 >/sys/kernel/config/nullb/nullb0/zone_offline
reports nullblk /dev/nullb0

null_blk 1 64 4 3 2 0 0   # capacity 3 MiB
state /dev/nullb1 2 768
block /dev/nullb1 40 3
sector 10 >/sys/kernel/config/nullb/nullb1/zone_readonly
sector 11 >/sys/kernel/config/nullb/nullb1/zone_offline
reports nullblk-capacity /dev/nullb1

null_blk 2 62 4 4 2 0 0   # the last zone is 2 MiB
state /dev/nullb2 2 1024
block /dev/nullb2 60 1
reports nullblk-last /dev/nullb2
blkzone reset /dev/nullb2
ranges nullblk-last /dev/nullb2

null_blk 3 64 4 3 0 4 6   # limits; no conventional zones
ranges nullblk-limits /dev/nullb3

modprobe sd_mod
modprobe scsi_debug dev_size_mb=64 zbc=managed zone_size_mb=4 zone_nr_conv=2 zone_max_open=6 sector_size=4096
for _ in $(seq 50); do ls /dev/sd? >/dev/null 2>&1 && break; sleep 0.2; done
dev=$(ls /dev/sd? | head -n 1)
state "$dev" 2 1024
reports scsi-debug "$dev"
blkzone reset "$dev"
ranges scsi-debug "$dev"
