#!/bin/sh
# First program of a local machine. Does what firmware and boot loader do on a real one, then becomes systemd.
#
# Every machine gets a boot identifier of its own, new at each start, so that a reboot can be told from none.
# With a file /usr/lib/machine-firmware/model the machine behaves like a Raspberry Pi of that model: the firmware takes
# the kernel's command line from the first line of /boot/firmware/cmdline.txt and puts `cgroup_disable=memory` before
# it; the memory cgroup is there only if the line says `cgroup_enable=memory`; model and serial number can be read where
# the real board shows them. With a file /boot/firmware/does-not-boot it is on and does nothing, as after a bad update.
#
# What a kernel shows is replaced by mounting files over it, in this container alone; the kernel below is not touched.
set -eu

shown=/run/machine-firmware
board=/usr/lib/machine-firmware/model
node=/usr/lib/machine-firmware/kubernetes-node
cgroups=/sys/fs/cgroup

show() { # FILE OVER: whoever reads OVER reads FILE
    mount --bind "$1" "$2"
}

new_boot_id() {
    cat /proc/sys/kernel/random/uuid > "$shown/boot_id"
    show "$shown/boot_id" /proc/sys/kernel/random/boot_id
}

writable_cgroups() { # engines mount the unified hierarchy read-only, and systemd has to make groups in it
    if [ -f "$cgroups/cgroup.controllers" ]; then
        mount -o remount,rw "$cgroups"
    fi
}

read_command_line() { # sets command_line and memory (0 or 1)
    line=
    if [ -f /boot/firmware/cmdline.txt ]; then
        read -r line < /boot/firmware/cmdline.txt || [ -n "$line" ] || line=
    fi
    command_line="coherent_pool=1M 8250.nr_uarts=1 cgroup_disable=memory $line"
    memory=0
    for word in $command_line; do
        case ",${word#*=}," in
            *,memory,*)
                case "$word" in
                    cgroup_disable=*) memory=0 ;;
                    cgroup_enable=*) memory=1 ;;
                esac
                ;;
        esac
    done
}

show_command_line() {
    printf '%s\n' "$command_line" > "$shown/cmdline"
    show "$shown/cmdline" /proc/cmdline
}

show_memory_cgroup() {
    awk -v on="$memory" '
        BEGIN { OFS = "\t" }
        $1 == "memory" { $4 = on; seen = 1 }
        { print }
        END { if (!seen) print "memory", 0, 1, on }' /proc/cgroups > "$shown/cgroups"
    show "$shown/cgroups" /proc/cgroups
    if [ -f "$cgroups/cgroup.controllers" ]; then
        offered=$(cat "$cgroups/cgroup.controllers")
        names=
        for name in $offered; do
            [ "$name" = memory ] || names="$names$name "
        done
        [ "$memory" = 0 ] || names="${names}memory "
        printf '%s\n' "${names% }" > "$shown/cgroup.controllers"
        show "$shown/cgroup.controllers" "$cgroups/cgroup.controllers"
    elif [ "$memory" = 0 ] && grep -q " $cgroups/memory " /proc/self/mountinfo; then
        umount "$cgroups/memory"
    fi
}

show_board() {
    model=$(cat "$board")
    serial=$(md5sum < /etc/hostname | cut -c 1-16)
    {
        cat /proc/cpuinfo
        printf 'Revision\t: c03114\nSerial\t\t: %s\nModel\t\t: %s\n' "$serial" "$model"
    } > "$shown/cpuinfo"
    show "$shown/cpuinfo" /proc/cpuinfo
    tree="$shown/firmware/devicetree/base"
    mkdir -p "$tree"
    printf '%s\0' "$model" > "$tree/model"
    printf '%s\0' "$serial" > "$tree/serial-number"
    printf 'raspberrypi,4-model-b\0brcm,bcm2711\0' > "$tree/compatible"
    show "$shown/firmware" /sys/firmware
}

# A real machine's mounts are seen by all of its name spaces; volumes of pods rely on it.
mount --make-rshared /
mkdir -p "$shown"
new_boot_id
writable_cgroups
if [ -f "$node" ]; then # forwarding and bridges are set by writing there
    mount -o remount,bind,rw /proc/sys
fi
# Empty in the image, so that each machine gets an identifier of its own; systemd would take the one that D-Bus brought.
[ -s /etc/machine-id ] || rm -f /var/lib/dbus/machine-id
if [ -f /boot/firmware/does-not-boot ]; then
    exec sleep infinity
fi
if [ -f "$board" ]; then
    read_command_line
    show_command_line
    show_memory_cgroup
    show_board
fi
exec /sbin/init
