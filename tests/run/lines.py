"""Command lines of zone tools and ordinary programs on a zoned block device, and what each gives.

Started with the device's path as its argument: under Linux 6.12's null_blk (data/nullblk-lines.txt was captured so, on the disk
of calls.py), and by ``zonedctl run`` on an emulated disk of the same kind. A line: its exit status, then what it printed. The
programs are Debian 12's. Left out is what null_blk has of its own (the largest request), and what waits in a page cache that
a run has not. Uses the standard library only.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

DEVICE = sys.argv[1]

REPORTS = """
blkzone report $d
blkzone report -c 3 $d
blkzone report -o 16384 $d
blkzone report -o 16384 -c 2 $d
blkzone report -o 16385 -c 1 $d
blkzone report -o 131072 $d
blkzone report -o 131072 -c 1 $d
blkzone report -o 999999 $d
blkzone report -o 16384 -l 8192 $d
blkzone capacity $d
blkzone capacity -o 16384 -c 2 $d
zbd report -csv $d
zbd report -i $d
zbd report -ro ex $d
zbd report -ro full $d
zbd report -ofst 8388608 -len 4194304 $d
zbd report -n $d
blkzone report /dev/null
blkzone report /nowhere
"""

COMMANDS = """
blkzone open -o 16384 -c 1 $d
blkzone open -o 0 -c 1 $d
blkzone open -o 16385 -c 1 $d
blkzone open -o 131072 -c 1 $d
blkzone open -o 24576 -c 3 $d
blkzone open -o 24576 -c 4 $d
blkzone report -o 16384 -c 6 $d
blkzone close -o 16384 -c 2 $d
blkzone close -o 0 -c 1 $d
blkzone close -o 16384 -c 14 $d
blkzone report -o 16384 -c 6 $d
blkzone finish -o 32768 -c 1 $d
blkzone finish -o 16384 -c 2 $d
blkzone finish -o 0 -c 1 $d
blkzone finish -o 131072 -c 1 $d
blkzone report -o 16384 -c 6 $d
blkzone reset -o 16384 -c 1 $d
blkzone reset -o 16384 -l 8192 $d
blkzone reset -o 16384 -l 8191 $d
blkzone reset -o 0 -c 1 $d
blkzone reset -o 131072 -c 1 $d
blkzone reset -c 99 $d
blkzone reset -v -o 16384 -c 1 $d
blkzone reset $d
zbd open -ofst 8388608 -len 4194304 $d
zbd close -ofst 8388608 -len 4194304 $d
zbd finish -ofst 8388608 -len 4194304 $d
zbd reset -ofst 8388608 -len 4194304 $d
zbd reset -ofst 0 -len 4194304 $d
zbd finish -ofst 62914560 -len 8388608 $d
zbd reset $d
zbd report -csv $d
"""

WRITES = """
dd if=$f of=$d bs=4k count=1 seek=2048 oflag=direct status=none
dd if=$f of=$d bs=4k count=1 seek=2048 oflag=direct status=none
dd if=$f of=$d bs=4k count=2 seek=2049 oflag=direct status=none
dd if=$f of=$d bs=512 count=1 seek=16408 oflag=direct status=none
dd if=$f of=$d bs=4k count=1 seek=3073 oflag=direct status=none
dd if=$f of=$d bs=1M count=5 seek=3 oflag=direct status=none
dd if=$f of=$d bs=4M count=1 seek=3 oflag=direct status=none
dd if=$f of=$d bs=4k count=1 seek=3072 oflag=direct status=none
dd if=$f of=$d bs=4k count=1 seek=16384 oflag=direct status=none
dd if=$f of=$d bs=4k count=1 seek=16384 status=none
dd if=$f of=$d bs=4k count=2 seek=16383 oflag=direct status=none
dd if=$f of=$d bs=64k count=4 oflag=direct,dsync status=none
dd if=$f of=$d bs=64k count=4 conv=notrunc,fsync status=none
dd if=$f of=$d bs=64k count=4 conv=excl status=none
dd if=$f of=$d bs=64k count=4 oflag=nofollow,nonblock status=none
dd if=$f of=$d bs=64k count=1 oflag=directory status=none
dd if=$f of=$d bs=1000 count=3 oflag=append conv=notrunc status=none
blkzone report -o 16384 -c 3 $d
dd if=$d of=/dev/null bs=4k skip=16384 status=none
dd if=$d of=/dev/null bs=4k skip=16385 status=none
dd if=$d bs=4k skip=2048 count=3 iflag=direct status=none | md5sum
dd if=$d bs=1000 skip=1 count=1 iflag=direct status=none | md5sum
dd if=$d bs=3000 skip=2796 count=5 status=none | md5sum
blkzone reset $d
"""

FILES = """
cp $f $d
cmp -n 5242880 $f $d
cp --reflink=auto $f $d
cp --reflink=always $f $d
cp --sparse=always $f $d
cp --no-clobber $f $d
cp --update $d copy; cmp $d copy
cp --reflink=always $d copy
cp --remove-destination $f copy; cmp $f copy
cat $f >$d
cat $d | md5sum
cat <$d | wc -c
echo hello >>$d; head -c 6 $d
head -c 100000 $f | tee $d | md5sum
tail -c 4096 $d | md5sum
wc -c $d
wc -c <$d
od -A d -N 32 $d
cmp $d $d
truncate -s 0 $d
truncate -s +4096 $d
fallocate -l 4096 $d
fallocate -p -o 0 -l 4096 $d
fallocate -z -o 0 -l 4096 $d
fallocate -d $d
shred -n 1 -s 4096 $d
sync $d
sync -d $d
sync -f $d
test -b $d
test -c $d
test -f $d
test -s $d
test -w $d
stat -c %F:%s:%B:%h $d
find $d -type b
ls -d $d/
cat $d/x
mkdir $d
ln -s x $d
rmdir $d
ln $d link
touch $d
touch -c $d
"""

DISKS = """
blockdev --getsz --getsize64 --getss --getpbsz --getbsz --getro --getra --getiomin --getioopt --getalignoff $d
blockdev --getdiscardzeroes $d
blockdev --flushbufs $d
blockdev --rereadpt $d
blockdev --setbsz 512 $d
blockdev --setbsz 4096 $d
blockdev --setro $d; dd if=$f of=$d bs=4k count=1 oflag=direct status=none; blockdev --getro $d; blockdev --setrw $d
blockdev --setra 512 $d; blockdev --getra $d; blockdev --setra 256 $d
blkdiscard $d
blkdiscard -s $d
blkdiscard -z -o 0 -l 4096 $d
blkdiscard -z -o 8388608 -l 4096 $d
blkdiscard -z -o 512 -l 4096 $d
lsblk -nrbdo SIZE,ZONED,RO,TYPE,LOG-SEC,PHY-SEC,MIN-IO,OPT-IO,ALIGNMENT,DISC-GRAN,DISC-MAX,DISC-ZERO,RM,HOTPLUG $d
lsblk -nrbdo ZONE-SZ,ZONE-WGRAN,ZONE-NR,ZONE-OMAX,ZONE-AMAX $d
blkid -p $d
wipefs $d
flock -n $d true
flock -n $d flock -n $d true
sg_inq $d
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/file", "wb") as file:
            file.write(b"".join(at.to_bytes(4, "big") * 256 for at in range(5 << 10)))
        for line in (REPORTS + COMMANDS + WRITES + FILES + DISKS).split("\n"):
            if not line:
                continue
            done = subprocess.run(
                ["sh", "-c", line],
                cwd=folder,
                env={**os.environ, "d": DEVICE, "f": f"{folder}/file", "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                check=False,
            )
            print(f"$ {line} -> {done.returncode}")
            told = done.stdout.decode("ascii", "backslashreplace")
            for one in told.replace(DEVICE, "$d").replace(folder, "$t").splitlines():
                print(f"  {one}")


main()
