"""What K3s leaves on a machine, made for real where it runs as root on a machine of its own."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import subprocess
from pathlib import Path
from typing import Any

from k3s_standin.machine import write_private
from k3s_standin.process import VERSION


class Traces:
    """What K3s leaves on a machine: programs, sockets, interfaces, packet filter rules, mounts, processes of pods."""

    def __init__(self, data: Path, backend: str) -> None:
        self._data = data
        self._backend = backend
        digest = hashlib.sha256(VERSION.encode()).hexdigest()
        self._programs = data / "data" / digest / "bin"
        self._pod = hashlib.sha256(b"svclb" + str(data).encode()).hexdigest()

    def make(self) -> None:
        """Everything, each thing only if it is not there."""
        self._write_files()
        self._make_interfaces()
        self._make_rules()
        self._make_mounts()
        self._start_shim()

    def _run(self, *command: str, text: str = "") -> bool:
        try:
            done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=30, check=False)
        except (OSError, subprocess.SubprocessError):
            return False
        return done.returncode == 0

    def _write_files(self) -> None:
        self._programs.mkdir(parents=True, exist_ok=True)
        for name in ("k3s", "containerd", "runc", "containerd-shim-runc-v2"):
            if not (self._programs / name).is_symlink():
                (self._programs / name).symlink_to("/bin/sh")
        current = self._data / "data" / "current"
        if not current.is_symlink():
            current.symlink_to(self._programs.parent)
        network = {"name": "cbr0", "cniVersion": "1.0.0", "plugins": [{"type": "flannel"}, {"type": "portmap"}]}
        # K3s has its own place; other plug-ins and older releases use the common one.
        for folder in (self._data / "agent" / "etc" / "cni" / "net.d", Path("/etc/cni/net.d")):
            write_private(folder / "10-flannel.conflist", json.dumps(network))
        Path("/run/flannel").mkdir(exist_ok=True)
        write_private(
            Path("/run/flannel/subnet.env"), "FLANNEL_NETWORK=10.42.0.0/16\nFLANNEL_SUBNET=10.42.0.1/24\n", 0o644
        )
        write_private(Path("/var/lib/cni/networks/cbr0/10.42.0.2"), self._pod)
        write_private(Path("/var/lib/kubelet/cpu_manager_state"), "{}")
        Path("/run/k3s/containerd").mkdir(parents=True, exist_ok=True)
        Path("/var/log/pods").mkdir(exist_ok=True)
        Path("/var/log/containers").mkdir(exist_ok=True)
        write_private(Path(f"/var/log/pods/kube-system_svclb_{self._pod[:8]}/lb/0.log"), "")

    def _make_interfaces(self) -> None:
        if not Path("/sys/class/net/cni0").exists():
            self._run("ip", "link", "add", "cni0", "type", "bridge")
            self._run("ip", "address", "add", "10.42.0.1/24", "dev", "cni0")
            self._run("ip", "link", "set", "cni0", "up")
        name = {"vxlan": "flannel.1", "wireguard-native": "flannel-wg"}.get(self._backend)
        if name and not Path(f"/sys/class/net/{name}").exists():
            made = self._run("ip", "link", "add", name, "type", "vxlan", "id", "1", "dstport", "8472", "nolearning")
            if not made:
                self._run("ip", "link", "add", name, "type", "dummy")
            self._run("ip", "link", "set", name, "up")
        if not Path("/sys/class/net/veth0a1b2c3d").exists():
            self._run("ip", "link", "add", "veth0a1b2c3d", "type", "veth", "peer", "name", "veth0a1b2c3e")
            self._run("ip", "link", "set", "veth0a1b2c3d", "master", "cni0")

    def _make_rules(self) -> None:
        for tool in ("iptables", "ip6tables"):
            try:
                done = subprocess.run([f"{tool}-save"], capture_output=True, text=True, timeout=30, check=False)
            except OSError:
                continue
            if ":KUBE-SERVICES" not in done.stdout:
                self._run(f"{tool}-restore", "--noflush", text=RULES) or self._run(
                    f"{tool}-restore", "--noflush", text=re.sub(r" -m comment --comment \"[^\"]*\"", "", RULES)
                )

    def _make_mounts(self) -> None:
        with Path("/proc/self/mounts").open() as stream:
            mounted = {line.split()[1] for line in stream}
        pod = "-".join((self._pod[:8], self._pod[8:12], self._pod[12:16], self._pod[16:20], self._pod[20:32]))
        for place in (
            f"/var/lib/kubelet/pods/{pod}/volumes/kubernetes.io~projected/kube-api-access-x2k4v",
            f"/run/k3s/containerd/io.containerd.grpc.v1.cri/sandboxes/{self._pod}/shm",
            f"/run/k3s/containerd/io.containerd.runtime.v2.task/k8s.io/{self._pod}/rootfs",
        ):
            if place not in mounted:
                Path(place).mkdir(parents=True, exist_ok=True)
                self._run("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place)
        space = f"/run/netns/cni-{pod}"
        if space not in mounted:
            write_private(Path(space), "")
            self._run("unshare", f"--net={space}", "true")

    def _start_shim(self) -> None:
        """The process that keeps a pod's containers; it survives the service, whose unit says KillMode=process."""
        note = Path(f"/run/k3s/containerd/io.containerd.runtime.v2.task/k8s.io/{self._pod}/shim.pid")
        with contextlib.suppress(OSError, ValueError):
            if b"containerd-shim" in Path(f"/proc/{note.read_text()}/cmdline").read_bytes():
                return
        shim = str(self._programs / "containerd-shim-runc-v2")
        script = "sleep infinity & wait"
        words = [
            "-c",
            script,
            "-namespace",
            "k8s.io",
            "-id",
            self._pod,
            "-address",
            "/run/k3s/containerd/containerd.sock",
        ]
        quiet: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
        child = subprocess.Popen([shim, *words], executable="/bin/sh", start_new_session=True, cwd="/", **quiet)
        write_private(note, str(child.pid))


RULES = """*mangle
:KUBE-KUBELET-CANARY - [0:0]
COMMIT
*filter
:KUBE-FORWARD - [0:0]
:KUBE-FIREWALL - [0:0]
:FLANNEL-FWD - [0:0]
-A INPUT -j KUBE-FIREWALL
-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-A FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD
COMMIT
*nat
:KUBE-SERVICES - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-MARK-MASQ - [0:0]
:CNI-HOSTPORT-DNAT - [0:0]
:CNI-HOSTPORT-MASQ - [0:0]
:CNI-7f1d2c3b4a596877665544aa - [0:0]
:FLANNEL-POSTRTG - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A POSTROUTING -m comment --comment "CNI portfwd requiring masquerade" -j CNI-HOSTPORT-MASQ
-A POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG
-A POSTROUTING -s 10.42.0.2/32 -m comment --comment "name: \\"cbr0\\" id: \\"5f\\"" -j CNI-7f1d2c3b4a596877665544aa
-A CNI-HOSTPORT-MASQ -j MASQUERADE
-A KUBE-SERVICES -j KUBE-MARK-MASQ
COMMIT
"""
