#!/usr/bin/env bash
# A real job on an emulated 15 TB disk: put a tree of files on it, look at it from a second process
# meanwhile, get the files back, break three rules, and tidy up. `make demo` runs it; every command is
# printed before its output. Works in ./demo (needs about 1 GB there for a moment) and removes it again.
set -euo pipefail
cd "$(dirname "$0")/.."
project=$PWD
work=$project/demo
began=$SECONDS

if ! command -v zonedctl >/dev/null 2>&1; then
    echo "demo: zonedctl is not on the PATH; run it as: make demo" >&2
    exit 1
fi
free=$(df --output=avail -k . | tail -n 1)
if ((free < 1500000)); then
    echo "demo: needs 1.5 GB of free space in $project, and there are $((free / 1000)) MB" >&2
    exit 1
fi
rm -rf "$work"
mkdir "$work"
trap 'rm -rf "$work"' EXIT
cd "$work"

if [[ -t 1 && -z ${NO_COLOR:-} ]]; then
    bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'
else
    bold='' dim='' plain=''
fi
note() {
    printf '\n'
    printf "$dim# %s$plain\n" "$@"
}
show() { printf '%s$ %s%s\n' "$bold" "$*" "$plain"; }
run() {
    show "$1"
    eval "$1"
}
refused() {
    show "$1"
    if eval "$1"; then
        echo "demo: this should have been refused" >&2
        exit 1
    fi
}

# Real files that every machine has, enough for more than one zone of 256 MiB.
trees=("$project")
size=0
for tree in "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" \
    /usr/include /usr/lib/gcc /usr/lib/x86_64-linux-gnu /usr/lib/aarch64-linux-gnu /usr/share /usr/lib; do
    ((size < 320)) || break
    [[ -d $tree && -r $tree ]] || continue
    trees+=("$tree")
    size=$((size + $(du -sm --apparent-size --exclude=site-packages --exclude=__pycache__ "$tree" 2>/dev/null | cut -f1)))
done
pack=(tar -c --ignore-failed-read --warning=none --exclude-vcs --exclude=site-packages --exclude=__pycache__
    --exclude="$project"/{.venv,build,dist,demo} -P "${trees[@]}")

note "A Western Digital HC620: 15 TB, 55,880 zones of 256 MiB, the first 524 of them conventional."
run "zonedctl create hc620.img --profile hc620"
run "ls -sh hc620.img"

note "A tar of ${#trees[@]} real trees (this project, Python's own library, system headers, ...) goes into zone 524" \
    "and on into the next ones. A copy is kept to compare with."
show "tar -c ... | tee tree.tar | zonedctl write hc620.img --zone 524 --follow --pad &"
"${pack[@]}" 2>/dev/null | tee tree.tar | zonedctl write hc620.img --zone 524 --follow --pad &
writer=$!
while kill -0 "$writer" 2>/dev/null; do
    [[ -n $(zonedctl report hc620.img --zones 524 --condition implicit-open --format csv | tail -n +2) ]] && break
done

note "Meanwhile, a second process looks at the same disk:"
run "zonedctl report hc620.img --zones 523-526"
if kill -0 "$writer" 2>/dev/null; then
    note "(The first one, process $writer, is still writing.) And once more when it is done:"
else
    note "And once more, now that the first one is done:"
fi
if ! wait "$writer"; then
    echo "demo: writing failed" >&2
    exit 1
fi
run "zonedctl report hc620.img --zones 523-526"
bytes=$(stat -c %s tree.tar)

note "Read it back and compare: $bytes bytes."
run "zonedctl read hc620.img --zone 524 --follow --length $bytes | cmp - tree.tar && echo identical"
run "zonedctl read hc620.img --zone 524 --follow --length $bytes | tar -tP | tail -n 2"

note "Three rules, and what is said when they are broken."
dd if=/dev/zero of=block bs=4096 count=1 status=none
start=$((600 * 256 * 1024 * 1024))
refused "zonedctl write hc620.img block --offset $((start + 8192))"
refused "zonedctl write hc620.img block --zone 524"
refused "zonedctl open hc620.img --zones 600-730"

note "Close what that opened, empty the disk, and look again."
run "zonedctl close hc620.img --zones 600-730"
run "zonedctl reset hc620.img --all -f"
run "zonedctl report hc620.img --zones 523-526"
run "zonedctl check hc620.img"

printf '\n%sShown%s: %d MB of files written to zones of a 15 TB disk, watched from a second process, read back\n' \
    "$bold" "$plain" $((bytes / 1000000))
printf 'identical; three broken rules named; zones reset; the image checked. %d seconds.\n' $((SECONDS - began))
printf 'Go on with: PATH="%s/.venv/bin:$PATH" zonedctl --help\n' "$project"
