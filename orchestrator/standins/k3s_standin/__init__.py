"""Takes the place of the k3s binary: speaks its command line, its join protocol and a little of its API; runs no pods.

Standard library and the openssl command only. Settings that K3s does not have:

* ``K3S_STANDIN_ROOT``: folder that stands for ``/`` (files, ``/proc/cgroups``), so that it can run beside itself.
* ``/etc/k3s-standin.json``: faults, e.g. ``{"start_delay": 5, "fail": "disk is full", "fail_join": "…",
  "not_ready": "container runtime is down", "heartbeat_interval": 1.5, "grace_period": 5, "built_for": "arm64",
  "certificate_days": 3, "traces": false, "drain_blocked": true, "object_delay": 1, "objects": {"Deployment/web":
  {"reason": "ImagePullBackOff", "message": "…"}}}``; reasons are also CrashLoopBackOff, FailedScheduling, JobFailed.

Of a cluster's servers each keeps the state, and a majority decides, as with etcd; it is not Raft. As root on a machine
of its own a node makes what K3s makes there: interfaces, packet filter rules, mounts, processes that outlive it.

What ``site.yml`` and ``upgrade.yml`` ask of it besides, as K3s does it: ``config.yaml.d/*.yaml`` read after
``config.yaml`` (a key there takes the place of the one before); ``cluster-init`` makes ``server/db/etcd``, a further
server joins by ``server`` and the token, and ``kubectl`` on each server shows all nodes; labels and taints of the
configuration count only when a node registers; ``kubectl label|annotate node N k=v k- --overwrite``, ``taint node N
k=v:E k:E- --overwrite``, ``cordon|uncordon N``, ``drain N --ignore-daemonsets --delete-emptydir-data --timeout=60s``.

Machines get it as one file, which ``orchestrator/standin_files.py`` packs. A play may put another in its place while a
server or an agent runs from it, so that these load every module before they begin.
"""
