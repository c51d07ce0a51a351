#!/usr/bin/env bash
# Runs a Linux program on an emulated processor with AVX-512, for cargo to test on where the machine has none: CARGO_TARGET_..._RUNNER.
# It sees `tests`, `data` and `fuzz/corpus` of the project, the variable SOFTMIX_CASES, and the libraries it links.
# Needs bochs, bochsbios, isolinux, syslinux-common, xorriso, cpio and busybox-static of Debian, and SOFTMIX_KERNEL, the file of a Linux
# kernel. Usage: bochs.sh program [argument...]; its output comes when it has ended.
set -euo pipefail
project="$(cd "$(dirname "$0")/.." && pwd)"
program="$(realpath "$1")"
shift
here="$(mktemp -d)"
trap 'rm -rf "$here"' EXIT
cd "$here"

# A root of the program and what it needs, each at its own place.
mkdir -p root/bin root/proc root/sys root/dev root/tmp "root$project" disc/isolinux
cp /bin/busybox root/bin/
cp -r "$project/tests" "$project/data" "root$project/"
mkdir "root$project/fuzz"
cp -r "$project/fuzz/corpus" "root$project/fuzz/"
cp "$program" root/program
for library in $(ldd "$program" | grep -o '/[^ ]*'); do
    mkdir -p "root$(dirname "$library")"
    cp -L "$library" "root$library"
done
cat > root/init <<EOF
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t devtmpfs dev /dev
cd "$project"
export RUST_TEST_THREADS=1 ${SOFTMIX_CASES:+SOFTMIX_CASES=$SOFTMIX_CASES}
grep -q avx512f /proc/cpuinfo && echo "begins" && /program $(printf '%q ' "$@") 2>&1
echo "ends with \$?"
sleep 1
poweroff -f
EOF
chmod +x root/init
(cd root && find . | cpio --quiet -o -H newc | gzip -1) > disc/isolinux/root

cp "$SOFTMIX_KERNEL" disc/isolinux/kernel
cp /usr/lib/ISOLINUX/isolinux.bin /usr/lib/syslinux/modules/bios/ldlinux.c32 disc/isolinux/
# The emulator tells a wrong size of compacted register states, without which Linux does without wide registers.
cat > disc/isolinux/isolinux.cfg <<'EOF'
default linux
label linux
 kernel /isolinux/kernel
 append initrd=/isolinux/root console=ttyS0 quiet loglevel=1 mitigations=off nokaslr lpj=1000000 tsc=reliable clearcpuid=xsaves,xsavec
EOF
xorriso -as mkisofs -quiet -o disc.iso -b isolinux/isolinux.bin -c isolinux/catalog -no-emul-boot -boot-load-size 4 -boot-info-table \
    disc 2> /dev/null
cat > bochsrc <<'EOF'
plugin_ctrl: serial=1
megs: 2048
cpu: model=corei7_skylake_x, count=1, ips=50000000, reset_on_triple_fault=0, ignore_bad_msrs=1
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
ata0-master: type=cdrom, path=disc.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=serial
log: log
panic: action=fatal
display_library: rfb, options="timeout=0"
EOF
# The emulator of Debian begins in its debugger: `c` goes on.
echo c > continue
bochs -q -f bochsrc -rc continue > bochs 2>&1 || true
tr -d '\r' < serial 2> /dev/null | sed -n '/^begins$/,/^ends with/p' | sed '1d;$d'
ended="$(tr -d '\r' < serial | sed -n 's/^ends with //p')"
[ -n "$ended" ] || { echo "the emulator did not come to the end"; tail -5 serial log; exit 1; }
exit "$ended"
