"""The Kubernetes objects of the drift detector."""

from __future__ import annotations

from orchestrator.production.dialects.sites import ACCESS_KEY
from orchestrator.production.dialects.text import render_documents

_NAME = "drift-detector"


def drift_detector_spec(image: str, influx_token: str, bucket: str, store_bucket: str, store_key: str) -> str:
    """Namespace and deployment as YAML text; both addresses are inside the cluster.

    Args:
        image: Of the detector.
        influx_token: Token of the cluster's InfluxDB.
        bucket: Bucket of the measurements.
        store_bucket: Bucket of the object store that it keeps its findings in.
        store_key: Secret key of the object store.
    """
    variables = {
        "DRIFT_DETECTOR_INFLUXDB_URL": "http://ai-sprint-monit-influxdb.ai-sprint-monitoring:8086",
        "DRIFT_DETECTOR_INFLUXDB_TOKEN": influx_token,
        "BUCKET_NAME": bucket,
        "DRIFT_DETECTOR_MINIO_BUCKET": store_bucket,
        "DRIFT_DETECTOR_MINIO_URL": "http://minio.minio:9000",
        "DRIFT_DETECTOR_MINIO_AK": ACCESS_KEY,
        "DRIFT_DETECTOR_MINIO_SK": store_key,
    }
    container = {
        "name": _NAME,
        "image": image,
        "env": [{"name": name, "value": value} for name, value in variables.items()],
    }
    labels = {"app": _NAME}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": _NAME, "namespace": _NAME},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": _NAME}}
    return render_documents([namespace, deployment])
