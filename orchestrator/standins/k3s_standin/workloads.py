"""What is to be said of workloads and their pods as of now, faults included."""

from __future__ import annotations

import time
from typing import Any

from k3s_standin.kinds import wanted_replicas
from k3s_standin.machine import faults, now


def object_fault(value: dict[str, Any]) -> dict[str, Any]:
    """What is switched on for an object, by ``Kind/name`` or by its name."""
    switched = faults().get("objects", {})
    name = value.get("metadata", {}).get("name", "")
    found = switched.get(f"{value.get('kind', '')}/{name}", switched.get(name, {}))
    return found if isinstance(found, dict) else {"reason": str(found)}


def pod_status(pod: dict[str, Any], owner: dict[str, Any]) -> dict[str, Any]:
    """Waiting, running, ended or failed, as of now."""
    fault = object_fault(owner)
    if not fault and owner.get("kind") == "Job":
        chart = next((o for o in owner["metadata"].get("ownerReferences", []) if o["kind"] == "HelmChart"), None)
        fault = object_fault({"kind": "HelmChart", "metadata": chart}) if chart else {}
    containers = pod["spec"].get("containers", [])
    reason, message = str(fault.get("reason", "")), str(fault.get("message", ""))
    status: dict[str, Any] = {"phase": "Pending", "conditions": [], "startTime": pod["metadata"]["creationTimestamp"]}
    if not pod["spec"].get("nodeName"):
        scheduled = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": message or "0 nodes are available",
        }
        return {**status, "conditions": [scheduled]}
    done = time.time() - pod["standin"]["changed"] >= float(faults().get("object_delay", 1))
    state: dict[str, Any] = {"waiting": {"reason": "ContainerCreating"}}
    restarts = 0
    if reason == "CrashLoopBackOff":
        restarts, status["phase"] = 3, "Running"
        state = {"waiting": {"reason": reason, "message": message or "back-off 40s restarting failed container"}}
    elif reason in {"JobFailed", "Failed"}:
        status["phase"] = "Failed"
        state = {"terminated": {"reason": "Error", "exitCode": 1, "message": message}}
    elif reason and reason != "FailedScheduling":
        image = containers[0].get("image", "") if containers else ""
        state = {"waiting": {"reason": reason, "message": message or f'Back-off pulling image "{image}"'}}
    elif done and owner.get("kind") == "Job":
        status["phase"] = "Succeeded"
        state = {"terminated": {"reason": "Completed", "exitCode": 0}}
    elif done:
        status["phase"] = "Running"
        state = {"running": {"startedAt": now()}}
    ready = status["phase"] == "Running" and "running" in state
    status["conditions"] = [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": str(ready)}]
    status["containerStatuses"] = [
        {
            "name": c.get("name", ""),
            "image": c.get("image", ""),
            "ready": ready,
            "restartCount": restarts,
            "state": state,
        }
        for c in containers
    ]
    return status


def workload_status(value: dict[str, Any], pods: list[dict[str, Any]]) -> dict[str, Any]:
    """How far a workload has come."""
    ready = sum(any(c["type"] == "Ready" and c["status"] == "True" for c in p["conditions"]) for p in pods)
    status: dict[str, Any] = {"observedGeneration": value["metadata"]["generation"]}
    if value["kind"] == "DaemonSet":
        names = ("desiredNumberScheduled", "currentNumberScheduled", "updatedNumberScheduled")
        return {**status, **dict.fromkeys(names, len(pods)), "numberReady": ready, "numberAvailable": ready}
    if value["kind"] == "Job":
        ended = [p["phase"] for p in pods if p["phase"] in {"Succeeded", "Failed"}]
        limit = int(value.get("spec", {}).get("backoffLimit", 6))
        status = {
            "active": len(pods) - len(ended),
            "succeeded": ended.count("Succeeded"),
            "failed": ended.count("Failed"),
        }
        if ended.count("Succeeded") >= int(value.get("spec", {}).get("completions", 1)):
            return {**status, "conditions": [{"type": "Complete", "status": "True"}], "completionTime": now()}
        if "Failed" in ended and limit < 1000:
            message = "Job has reached the specified backoff limit"
            return {
                **status,
                "conditions": [
                    {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": message}
                ],
            }
        return status
    status.update(replicas=len(pods), updatedReplicas=len(pods), readyReplicas=ready, availableReplicas=ready)
    if value["kind"] == "StatefulSet":
        return {**status, "currentRevision": "1", "updateRevision": "1", "currentReplicas": len(pods)}
    complete = ready == wanted_replicas(value)
    available = {
        "type": "Available",
        "status": str(complete),
        "reason": "MinimumReplicasAvailable" if complete else "MinimumReplicasUnavailable",
    }
    late = object_fault(value).get("deadline_exceeded")
    progress = {
        "type": "Progressing", "status": "False" if late else "True",
        "reason": "ProgressDeadlineExceeded" if late else "NewReplicaSetAvailable" if complete else "ReplicaSetUpdated",
    }  # fmt: skip
    return {**status, "unavailableReplicas": wanted_replicas(value) - ready, "conditions": [available, progress]}
